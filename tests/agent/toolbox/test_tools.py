"""What the tools answer, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from luthier.agent.approvals import Approvals
from luthier.agent.happenings import happenings
from luthier.agent.toolbox.box import GUARDED, TOOLS, Result, Toolbox
from luthier.agent.toolbox.declaring import MOST_CHARACTERS, bounded, visible
from luthier.agent.toolbox.desk import Desk
from luthier.agent.toolbox.explaining import curve_features

from ..conftest import Lab

TRAIN = """\
import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01, help="learning rate")
p.add_argument("--seed", type=int, default=1)
for epoch in range(3):
    print(f"epoch {epoch} val_acc={acc:.4f} val_loss={loss:.4f}")
"""
DRAFT = {"script": "train.py", "metric": "val_acc", "direction": "maximize", "trials": 8}


@pytest.fixture
def box(lab: Lab) -> Toolbox:
    """A toolbox in the lab's folder, with a training script."""
    project = lab.folder / "project"
    project.mkdir()
    (project / "train.py").write_text(TRAIN, encoding="utf-8")
    desk = Desk(lab.workspace, project, person="ada")
    store = desk.conversations
    return Toolbox(desk, Approvals(store, store.begin("ada"), "ada"))


def answer(box: Toolbox, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = box.call(tool, arguments)
    assert not result.failed, result.answer
    assert len(result.text) <= MOST_CHARACTERS
    return result.answer


def error(box: Toolbox, tool: str, /, **arguments: Any) -> str:
    result = box.call(tool, arguments)
    assert result.failed
    return str(result.answer["error"])


def test_every_tool_describes_itself_and_each_of_its_arguments() -> None:
    for tool in TOOLS:
        assert tool.description()
        schema = tool.declaration()
        for name, field in schema.get("properties", {}).items():
            assert field.get("description"), f"{tool.tool_name()}.{name}"
        assert ("a person is asked first" in tool.description()) == (tool.effect in GUARDED)


def test_a_script_is_read_and_not_run(box: Toolbox) -> None:
    read = answer(box, "look_at_script", script="train.py")

    assert read["parameters"] == {"lr": "float 0.0003..0.3 log, default 0.01"}
    assert {"name": "val_acc", "direction": "maximize"} in read["metrics"]
    assert read["seed_argument"] == "--seed"


def test_data_is_described_without_its_values(box: Toolbox) -> None:
    table = pd.DataFrame({"age": [31, None, 47, 47], "left": ["secret-yes", "no", "no", "no"]})
    table.to_csv(box.desk.project / "people.csv", index=False)
    told = answer(box, "look_at_data", data="people.csv", target="left")

    assert told["rows"] == 4
    assert told["described"]["age"] == {"type": "float64", "missing": 1, "different_values": 2}
    assert told["target"] == {"classes": 2, "shares": [0.75, 0.25]}
    assert "secret" not in json.dumps(told)
    assert "did you mean" in error(box, "look_at_data", data="people.csv", target="lefd")


def test_arrays_are_described_by_shape(box: Toolbox) -> None:
    np.savez(box.desk.project / "images.npz", X=np.zeros((5, 8, 8)), y=np.zeros(5))

    assert answer(box, "look_at_data", data="images.npz")["arrays"]["X"]["shape"] == [5, 8, 8]


@pytest.mark.parametrize("path", ["../outside.py", "/etc/passwd", "link.py", "a\0b", "x" * 5000])
def test_what_lies_outside_the_project_is_not_read(box: Toolbox, path: str) -> None:
    (box.desk.project.parent / "outside.py").write_text(TRAIN, encoding="utf-8")
    (box.desk.project / "link.py").symlink_to("../outside.py")

    said = error(box, "look_at_script", script=path)
    assert "lies outside the project folder" in said or "is no path" in said


def test_a_folder_that_the_person_allowed_is_read(box: Toolbox, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.py").write_text(TRAIN, encoding="utf-8")
    allowed = Toolbox(Desk(box.desk.workspace, box.desk.project, (other,)), box.approvals)

    assert answer(allowed, "look_at_script", script=str(other / "train.py"))["parameters"]


def test_a_draft_is_a_whole_spec_that_says_what_it_takes(box: Toolbox) -> None:
    drafted = answer(box, "draft_from_script", **DRAFT)

    assert drafted["spec"]["metrics"] == {"val_acc": "maximize", "val_loss": "watch"}
    assert drafted["spec"]["budget"] == {"trials": 8}
    assert drafted["estimate"]["trials"] == 8
    kept = box.desk.conversations.draft(drafted["draft"])
    assert kept is not None
    assert kept.folder == box.desk.project
    assert "seed_argument='--seed'" in repr(kept.spec.objective)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "val_ac"}, "prints val_acc, val_loss"),
        ({"trials": None}, "ask the person how much may be spent"),
        ({"trials": 0}, "greater than or equal to 1"),
        ({"direction": "up"}, "'maximize' or 'minimize', but got 'up'"),
        ({"script": "tain.py"}, "there is no file 'tain.py'"),
        ({"name": "../../x"}, "use at most 100 letters"),
    ],
)
def test_a_draft_that_makes_no_sense_is_refused_with_what_would(
    box: Toolbox, changes: dict[str, Any], said: str
) -> None:
    assert said in error(box, "draft_from_script", **DRAFT | changes)


def test_a_changed_draft_is_another_one_and_says_what_differs(box: Toolbox) -> None:
    first = answer(box, "draft_from_script", **DRAFT)["draft"]
    changed = answer(
        box, "change_draft", draft=first, changes={"space.lr.high": 0.1, "budget.trials": 3}
    )

    assert len(changed["changes"]) == 2
    assert changed["draft"] != first
    assert changed["spec"]["space"]["lr"].startswith("float 0.0003..0.1 log")
    assert answer(box, "show_draft", draft=first)["spec"]["budget"] == {"trials": 8}
    assert "nothing changes" in error(box, "change_draft", draft=first, changes={})
    assert "there is no" in error(box, "change_draft", draft=first, changes={"a.b": 1})


def test_data_without_a_script_is_drafted_for_a_recipe(box: Toolbox) -> None:
    drafted = answer(box, "draft_from_data", data="wine", task="classification", trials=5)

    assert drafted["spec"]["runs"]["kind"] == "recipe"
    assert drafted["spec"]["metrics"] == {"val_acc": "maximize"}


def test_what_spends_does_not_begin_without_an_approval(box: Toolbox) -> None:
    draft = answer(box, "draft_from_script", **DRAFT)["draft"]

    assert "nobody gave" in error(box, "start_study", draft=draft)
    assert box.desk.ledger.studies() == []


def test_a_call_that_cannot_work_is_not_asked_about(box: Toolbox) -> None:
    for name, arguments in (
        ("start_study", {"draft": "none@0"}),
        ("stop_study", {}),
        ("resume_study", {"study": "none"}),
        ("start_study", {"draft": "none@0", "approved": True}),
    ):
        with pytest.raises(Exception, match="there is no|unknown|Extra inputs"):
            box.consent(name, arguments, "1")
    assert box.approvals.all() == []


def test_an_approval_names_the_study_that_is_the_newest_now(lab: Lab, box: Toolbox) -> None:
    lab.run(lab.create(budget={"trials": 1}))
    asked = box.consent("resume_study", {"trials": 2}, "1")
    assert asked is not None
    assert asked.arguments["study"] == "small"
    box.approvals.approve(asked.id, asked.digest, "ada")
    lab.create(name="newer")

    assert "nobody gave" in error(box, "resume_study", trials=2)


def test_a_study_is_explained(lab: Lab, box: Toolbox) -> None:
    study = lab.create(
        "for step in range(1, 5): report(step=step, loss=x / step)", budget={"trials": 12}
    )
    lab.run(study)
    best = study.best()
    assert best is not None

    status = answer(box, "study_status")
    assert status["trials"] == {"complete": 12}
    assert status["budget"]["trials"] == {"used": 12.0, "of": 12}
    top = answer(box, "best_trials")
    assert top["best"][0]["trial"] == best.number
    assert top["may_be_claimed"].startswith("A single run")
    shown = answer(box, "show_trial", trial=best.number)
    assert shown["why"]["proposed_by"] == "random"
    assert "the last one is 11" in error(box, "show_trial", trial=12)
    compared = answer(box, "compare_trials", trials=[0, 1])
    assert compared["differing_parameters"].keys() == {"x"}
    curve = answer(box, "read_curve", trial=0)
    assert (curve["points"], curve["best_step"], curve["still_improves"]) == (4, 4, True)
    assert "it has loss" in error(box, "read_curve", trial=0, metric="acc")
    important = answer(box, "parameter_importance")
    assert important["importance"] == {"x": 1.0}
    assert important["best_quarter"]["x"][0] == pytest.approx(best.configuration["x"], rel=1e-5)
    assert answer(box, "list_studies")["studies"][0]["state"] == "finished"
    (news,) = happenings(box.desk, study)
    assert "Study small is finished" in news[1]
    assert f"trial {best.number}" in news[1]


def test_the_machine_is_shown_with_who_holds_it(box: Toolbox) -> None:
    assert answer(box, "look_at_machine")["trials_at_a_time"] >= 1


def test_a_curve_with_gaps_and_infinities_has_features() -> None:
    told = curve_features({1: 0.5, 2: float("nan"), 5: 0.9, 9: 0.7}, maximize=True)

    assert (told["best"], told["best_step"], told["not_finite"]) == (0.9, 5, 1)
    assert told["slope_at_the_end"] == pytest.approx(-0.05)
    assert curve_features({1: float("inf")}, maximize=False) == {"points": 1, "not_finite": 1}


def test_an_answer_of_any_size_stays_bounded_json() -> None:
    huge = {"rows": [{"name": "x" * 5000, "n": i} for i in range(5000)], "k" * 9000: "v"}

    assert len(bounded(huge)) <= MOST_CHARACTERS
    assert json.loads(bounded(huge))["rows"]
    assert json.loads(Result({"error": "x"}).text) == {"error": "x"}


def test_text_of_strangers_is_one_visible_line() -> None:
    assert visible("a\n\x1b[31mb\u202ec\u2028d") == "a [31mb c d"
    assert visible("x" * 200) == "x" * 99 + "…"


def test_a_branch_takes_over_the_trials_that_are_still_valid(lab: Lab, box: Toolbox) -> None:
    lab.run(lab.create(budget={"trials": 2}))
    changes = {"space.x.high": 3.0, "name": "wider", "budget.trials": 4}
    draft = answer(box, "change_draft", draft="small", changes=changes)["draft"]

    assert answer(box, "branch_study", study="small", draft=draft) == {
        "study": "wider",
        "taken_over": 2,
        "state": "created",
    }
    assert len(box.desk.study("wider").trials()) == 2
    assert "there is a study named" in error(box, "branch_study", study="small", draft=draft)


def test_the_winner_is_written_as_a_file(box: Toolbox, lab: Lab) -> None:
    study = lab.create(name="small")
    assert "no trial of 'small' is complete yet" in error(box, "export_winner", study="small")
    lab.run(study)
    (path,) = answer(box, "export_winner")["files"]
    assert Path(path).parent == lab.workspace.reports
    (best,) = json.loads(Path(path).read_text(encoding="utf-8"))
    assert best["configuration"] == study.best().configuration


def test_what_would_be_tried_next_is_said_and_nothing_is_run(box: Toolbox, lab: Lab) -> None:
    lab.run(lab.create(budget={"trials": 3}))
    before = box.desk.study(None).trials(curves=False)
    told = answer(box, "propose_trials", count=4)

    proposed = [tuple(proposal["values"].values()) for proposal in told["proposals"]]
    assert len(set(proposed)) == 4
    assert all(proposal["reason"] for proposal in told["proposals"])
    assert box.desk.study(None).trials(curves=False) == before


def test_an_argument_that_may_be_left_out_is_declared_without_null() -> None:
    for tool in TOOLS:
        for name, field in tool.declaration().get("properties", {}).items():
            assert {"type": "null"} not in field.get("anyOf", []), f"{tool.tool_name()}.{name}"
