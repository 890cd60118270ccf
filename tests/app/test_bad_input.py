"""Bad input gets one sentence and exit code 2, before anything is started or written."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Luthier, Run

Write = Callable[..., Path]

X = {"type": "float", "low": 0.5, "high": 2.0}
LOSS = {"pattern": "step {step} loss={value}"}
CASES = {
    "unknown field": ({"sampelr": {}}, "unknown field 'sampelr'; did you mean 'sampler'?"),
    "unknown parameter": ({"constraints": ["xx < 1"]}, "unknown parameter 'xx'; did you mean 'x'?"),
    "unknown argument": (
        {
            "objective": {
                "kind": "script",
                "command": ["python", "train.py"],
                "arguments": {"y": ""},
            }
        },
        "unknown parameter 'y'",
    ),
    "unknown metric": ({"limits": ["los <= 3"]}, "unknown metric 'los'; did you mean 'loss'?"),
    "low over high": ({"space": {"x": {**X, "low": 3}}}, "`low < high` must hold, but got low=3.0"),
    "log from zero": ({"space": {"x": {**X, "low": 0, "log": True}}}, "`low > 0` must hold"),
    "impossible condition": (
        {"space": {"x": X, "y": {**X, "when": {"x": "sgd"}}}},
        "'y'",
    ),
    "unknown parent": ({"space": {"x": {**X, "when": {"o": 1}}}}, "unknown parameter 'o'"),
    "no direction": ({"metrics": {"loss": LOSS}}, "'metrics.loss.direction' is missing"),
    "nothing to optimise": (
        {"metrics": {"loss": {**LOSS, "direction": "watch"}}},
        "all are watched",
    ),
    "budget of zero": ({"budget": {"trials": 0}}, "budget.trials: Input should be greater than 0"),
    "no budget": ({"budget": {"trials": None}}, "a study without an end is not started"),
    "endless budget": ({"budget": {"wall_seconds": float("inf")}}, "budget.wall_seconds"),
    "seed too large": ({"seed": 1 << 32}, "seed: Input should be less than"),
    "condition that never holds": (
        {
            "space": {
                "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]},
                "x": {**X, "when": {"optimizer": "adma"}},
            }
        },
        "the condition of 'x' on 'optimizer' can never hold",
    ),
    "constraints that nothing meets": ({"constraints": ["x > 5"]}, "loosen them"),
    "a choice twice": (
        {"space": {"x": {"type": "categorical", "choices": [1, 1]}}},
        "`choices` must differ",
    ),
    "unknown sampler": ({"sampler": {"kind": "tpee"}}, "sampler.kind"),
    "no module": (
        {"objective": {"kind": "callable", "reference": "no_such_module:train"}},
        "there is no module 'no_such_module'",
    ),
    "no script": (
        {"objective": {"kind": "script", "command": ["python", "trian.py"]}},
        "did you mean 'train.py'?",
    ),
    "no program": (
        {"objective": {"kind": "script", "command": ["no-such-program"]}},
        "there is no program 'no-such-program'",
    ),
    "no name": ({"name": "a b"}, "name: use at most 100 letters"),
    "a name of two lines": ({"name": "small\n"}, "name: use at most 100 letters"),
    "a name elsewhere": ({"name": "../small"}, "name: use at most 100 letters"),
    "no recipe data": ({"objective": {"kind": "recipe", "options": {"data": "digitz"}}}, "digitz"),
}


def assert_refused(run: Run, message: str) -> None:
    assert (run.code, run.out) == (2, "")
    assert message in run.err
    assert re.fullmatch(r"error: [^\n]+\n", run.err)


@pytest.mark.parametrize(("changes", "message"), CASES.values(), ids=CASES)
def test_a_spec_that_cannot_be_run_is_refused(
    luthier: Luthier, write: Write, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    assert_refused(luthier("tune", write(**changes)), message)
    assert not (tmp_path / "home").exists()


def test_a_script_that_does_not_parse_is_refused(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    assert_refused(luthier("tune", write(train="def f(:")), "does not parse (line 1)")
    assert not (tmp_path / "home").exists()


def test_cuda_where_there_is_none_is_refused(
    luthier: Luthier, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    path = write(executor={"device": "cuda"})

    assert_refused(luthier("tune", path), "no CUDA device is visible")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tune", "none.yaml"), "cannot read spec 'none.yaml': No such file"),
        (("tune", "train.py"), "is a script; write a spec for it: luthier init train.py"),
        (("tune", "study.yaml", "--name", "a b"), "name: use at most 100 letters"),
        (("tune", "text.yaml"), "text.yaml is not valid YAML"),
        (("tune", "twice.yaml"), "the key 'name' stands twice"),
        (("tune", "bytes.yaml"), "it is not UTF-8 text"),
        (("tune", "folder.yaml"), "Is a directory"),
        (("tune", "empty.yaml"), "must be a mapping of fields"),
        (("init", "none.py"), "cannot read script 'none.py'"),
        (("show", "small", "0"), "there is no study 'small'"),
        (("resume", "small"), "there is no study 'small'"),
        (("branch", "small", "study.yaml"), "there is no study 'small'"),
        (("spec", "show", "none.json"), "cannot read spec 'none.json'"),
    ],
)
def test_what_is_not_there_is_named(
    luthier: Luthier, write: Write, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    write()
    (tmp_path / "text.yaml").write_text("a: [", encoding="utf-8")
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n", encoding="utf-8")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "empty.yaml").touch()

    assert_refused(luthier(*arguments), message)
    assert not (tmp_path / "home").exists()


def test_a_workspace_that_cannot_be_written_is_refused(
    luthier: Luthier, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(write() / "home"))

    assert_refused(luthier("tune", tmp_path / "study.yaml"), "cannot create the workspace")


def test_a_usage_error_has_the_same_exit_code(luthier: Luthier) -> None:
    assert luthier("tune").code == 2
    assert luthier("tnue").code == 2


class TestWithAStudy:
    """What is refused once there is a study."""

    @pytest.fixture(autouse=True)
    def _small_study(self, luthier: Luthier, write: Write) -> None:
        assert luthier("tune", write(budget={"trials": 1})).code == 0

    def test_a_name_of_another_spec_is_refused_with_the_difference_and_the_ways_out(
        self, luthier: Luthier, write: Write
    ) -> None:
        run = luthier("tune", write(budget={"trials": 1}, seed=1))

        assert_refused(run, "study 'small' has another spec (seed: 0 -> 1)")
        assert "luthier branch small" in run.err
        assert "--name NEW" in run.err

    def test_another_budget_is_refused_with_the_way_to_change_it(
        self, luthier: Luthier, write: Write
    ) -> None:
        assert_refused(luthier("tune", write()), "`luthier resume small --trials N`")

    def test_an_unknown_study_gets_the_nearest_name(self, luthier: Luthier) -> None:
        assert_refused(luthier("show", "smal", 0), "no study 'smal'; did you mean 'small'?")

    def test_an_unknown_trial_is_named(self, luthier: Luthier) -> None:
        assert_refused(luthier("show", "small", 7), "has no trial 7; the last one is 0")

    def test_an_unknown_state_gets_the_nearest_one(self, luthier: Luthier) -> None:
        run = luthier("trials", "small", "--state", "crash")
        assert_refused(run, "no trial is ever 'crash'; did you mean 'crashed'?")

    def test_what_is_typed_cannot_steer_the_terminal(self, luthier: Luthier) -> None:
        for arguments in (("show", "\x1b[2J\nx", 0), ("tune", "\x1b[2J[red]\nx.yaml")):
            run = luthier(*arguments)
            assert_refused(run, "[2J")
            assert "\x1b" not in run.err

    @pytest.mark.parametrize("command", ["pause", "stop"])
    def test_nobody_to_ask_is_said(self, luthier: Luthier, command: str) -> None:
        assert_refused(luthier(command, "small"), "nobody runs study 'small' (it is finished)")

    def test_a_trial_that_does_not_run_cannot_be_stopped(self, luthier: Luthier) -> None:
        assert_refused(luthier("stop", "small", "--trial", 0), "trial 0 of study 'small' does not")

    def test_a_budget_that_is_none_is_refused(self, luthier: Luthier) -> None:
        assert_refused(luthier("resume", "small", "--trials", 0), "budget.trials")
        assert_refused(luthier("resume", "small", "--wall", "soon"), "budget.wall_seconds")

    def test_a_branch_needs_a_name_of_its_own(self, luthier: Luthier, write: Write) -> None:
        assert_refused(luthier("branch", "small", write(seed=1)), "a study named 'small' already")

    def test_a_file_of_another_kind_is_not_exported(self, luthier: Luthier) -> None:
        assert_refused(luthier("export", "study", "small", "t.txt"), "must end in .json or .csv")

    @pytest.mark.parametrize("command", [("export", "study", "small"), ("export", "reporter")])
    def test_a_file_that_cannot_be_written_is_named(
        self, luthier: Luthier, command: tuple[str, ...]
    ) -> None:
        assert_refused(luthier(*command, "none/t.csv"), "cannot write 'none/t.csv': No such file")

    def test_a_folder_that_cannot_be_written_to_gets_no_report(self, luthier: Luthier) -> None:
        assert_refused(luthier("report", "small", "--output", "study.yaml"), "study.yaml")

    def test_the_database_of_a_newer_version_is_left_alone(
        self, luthier: Luthier, tmp_path: Path
    ) -> None:
        database = sqlite3.connect(tmp_path / "home" / "ledger.db")
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
        database.close()

        assert_refused(luthier("status"), "was written by a newer Luthier (schema 9999")
