"""The guide to a first study: what it makes of a form."""

from pathlib import Path

import pytest
from luthier.agent.toolbox.desk import Desk
from luthier.app.ui.guide import Form, Guide, written
from luthier.tools.spec import StudySpec
from luthier.tools.workspace import Workspace

TRAIN = """\
import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01)
p.add_argument("--layers", type=int, default=3)
p.add_argument("--optimizer", choices=["adam", "sgd"], default="sgd")
args = p.parse_args()
print(f"val_acc={args.lr:.4f}")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    return Desk(Workspace(tmp_path / "home"), tmp_path)


@pytest.fixture
def guide(desk: Desk) -> Guide:
    return Guide(desk)


def drafted(desk: Desk, form: Form) -> StudySpec:
    assert form.errors == {}
    draft = desk.conversations.draft(form.draft)
    assert draft is not None
    return draft.spec


def test_a_script_alone_is_enough_for_a_plan(guide: Guide, desk: Desk) -> None:
    spec = drafted(desk, guide.walk({"source": "train.py"}, 4))

    assert spec.objectives == {"val_acc": "maximize"}
    assert set(spec.space) == {"lr", "layers", "optimizer"}
    assert spec.budget.trials == 50


def test_what_was_chosen_is_in_the_plan(guide: Guide, desk: Desk) -> None:
    chosen = {
        "source": "train.py",
        "of": "train.py",
        "metric": "val_acc",
        "direction": "minimize",
        "low:lr": "1e-3",
        "high:lr": "0.005",
        "tune:layers": "",
        "choice:optimizer:1": "",
        "trials": "7",
        "time": "30m",
        "name": "mine",
    }
    spec = drafted(desk, guide.walk(chosen, 4))

    assert spec.name == "mine"
    assert spec.objectives == {"val_acc": "minimize"}
    assert set(spec.space) == {"lr", "optimizer"}
    lr, optimizer = spec.space["lr"].model_dump(), spec.space["optimizer"].model_dump()
    assert (lr["low"], lr["high"], lr["default"]) == (1e-3, 0.005, None)
    assert optimizer["choices"] == ["adam"]
    assert (spec.budget.trials, spec.budget.wall_seconds) == (7, 1800.0)


def test_data_of_ones_own_needs_a_column(guide: Guide, desk: Desk, tmp_path: Path) -> None:
    rows = "\n".join(f"{n},{n % 7},{n % 2}" for n in range(60))
    (tmp_path / "people.csv").write_text(f"age,visits,left\n{rows}\n", encoding="utf-8")

    assert guide.walk({"source": "people.csv"}, 4).errors == {
        "target": "say what to predict; the columns are age, visits, left"
    }
    spec = drafted(desk, guide.walk({"source": "people.csv", "target": "left"}, 4))
    assert spec.objective.kind == "recipe"


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"source": ""}, "source", "name a training script"),
        ({"source": "gone.py"}, "source", "there is no file 'gone.py'"),
        ({"source": "../outside.py"}, "source", "lies outside the project folder"),
        ({"metric": "loss"}, "metric", "does not print 'loss'; it prints val_acc"),
        ({"metric": "blub", "pattern": "x={value}"}, "direction", "large or small"),
        ({"low:lr": "small"}, "low:lr", "write a number, such as 1e-4, but got 'small'"),
        ({"low:layers": "1.5"}, "low:layers", "write a whole number"),
        ({"low:lr": "1", "high:lr": "0.1"}, "high:lr", "low < high"),
        ({"low:lr": "nan"}, "high:lr", "finite"),
        (
            {"choice:optimizer:0": "", "choice:optimizer:1": ""},
            "low:optimizer",
            "at least one value",
        ),
        (
            {"tune:lr": "", "tune:layers": "", "tune:optimizer": ""},
            "space",
            "nothing would be tuned",
        ),
        ({"trials": "many"}, "trials", "whole number from 1 to 100,000, but got 'many'"),
        ({"trials": "-3"}, "trials", "but got '-3'"),
        ({"time": "soon"}, "time", "30m, 2h or 90s, but got 'soon'"),
        ({"name": "a/b"}, "name", "a/b"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    guide: Guide, values: dict[str, str], field: str, words: str
) -> None:
    form = guide.walk({"source": "train.py", "of": "train.py"} | values, 4)

    assert list(form.errors) == [field]
    assert words in form.errors[field]
    assert words.replace("<", "&lt;").replace("'", "&#39;") in written(form)


def test_the_ranges_of_another_script_are_forgotten(guide: Guide, desk: Desk) -> None:
    values = {"source": "train.py", "of": "other.py", "low:lr": "0.09", "tune:layers": ""}
    assert set(drafted(desk, guide.walk(values, 4)).space) == {"lr", "layers", "optimizer"}


def test_what_a_script_and_a_person_wrote_stays_text(guide: Guide, tmp_path: Path) -> None:
    tag = "<img src=x onerror=hacked()>"
    (tmp_path / "odd.py").write_text(
        TRAIN.replace("default=0.01)", f"default=0.01, help={tag!r})"), encoding="utf-8"
    )
    form = guide.walk({"source": "odd.py", "name": f'"{tag}', "trials": tag}, 4)

    assert tag not in written(form)
