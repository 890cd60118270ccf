"""Tuning from Python: `luthier.tune` and what it returns."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from luthier.tools import objective
from luthier.tools.ledger import LeaseHeldError
from luthier.tools.outcomes import Outcome
from luthier.tools.spec import SpecError
from luthier.tools.study import StudyConflictError

import luthier

X = luthier.Float(low=0.5, high=2.0, default=1.0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, without the modules that other tests have loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(objective, "_HEAVY_MODULES", ())
    return tmp_path / "home"


def tune(function: Any, **changes: Any) -> luthier.Result:
    settings: dict[str, Any] = {
        "space": {"x": X},
        "metric": "loss",
        "direction": "minimize",
        "budget": 2,
        "progress": False,
        "executor": {"device": "cpu", "slots": 1},
        "sampler": {"kind": "random"},
        "pruner": {"kind": "none"},
    }
    return luthier.tune(function, **(settings | changes))


# What a function may return


def test_a_function_may_return_a_number() -> None:
    result = tune(lambda config: config["x"])
    assert [trial.state for trial in result.trials] == [Outcome.COMPLETE] * 2
    assert all(trial.metrics == {"loss": trial.configuration["x"]} for trial in result.trials)


def test_a_function_may_return_several_metrics() -> None:
    result = tune(
        lambda config: {"loss": config["x"], "size": 3},
        metrics={"size": {"direction": "watch"}},
        budget=1,
    )
    assert result.trials[0].metrics == {"loss": 1.0, "size": 3.0}


def test_a_function_may_report_along_the_way() -> None:
    def train(config: dict[str, float]) -> None:
        import luthier

        for step in range(1, 4):
            luthier.report(step, loss=config["x"] / step)

    (trial,) = tune(train, budget=1).trials
    assert trial.curves == {"loss": {1: 1.0, 2: 0.5, 3: 1 / 3}}
    assert trial.metrics == {"loss": 1 / 3}


def test_a_function_that_returns_something_else_has_crashed() -> None:
    (trial,) = tune(lambda config: "good", budget=1).trials
    assert trial.state is Outcome.CRASHED
    assert "must return None, a number or a dict of numbers" in trial.attempts[0].error_tail


def test_a_function_that_returns_no_number_has_diverged() -> None:
    (trial,) = tune(lambda config: math.nan, budget=1).trials
    assert trial.state is Outcome.DIVERGED


# How a function may end


def test_an_exception_is_a_crash_and_its_text_is_kept() -> None:
    def train(config: dict[str, float]) -> float:
        raise RuntimeError("the data are gone")

    (trial,) = tune(train, budget=1).trials
    assert (trial.state, trial.reason) == (Outcome.CRASHED, "raised RuntimeError")
    assert "RuntimeError: the data are gone" in trial.attempts[0].error_tail


def test_a_function_may_end_a_trial_as_pruned() -> None:
    def train(config: dict[str, float]) -> None:
        import luthier

        luthier.report(1, loss=9)
        raise luthier.TrialPruned

    (trial,) = tune(train, budget=1).trials
    assert (trial.state, trial.reason) == (Outcome.PRUNED, "the trial stopped itself early")


def test_a_crash_costs_one_trial() -> None:
    def train(config: dict[str, float]) -> float:
        import os

        if os.environ["LUTHIER_TRIAL"] == "1":
            os.abort()
        return config["x"]

    result = tune(train, budget=3)
    assert [str(trial.state) for trial in result.trials] == ["complete", "crashed", "complete"]
    assert result.trials[1].reason == "ended by SIGABRT"


# Where a function may be


def test_a_function_of_a_module_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    code = "import sys\ndef train(config):\n    assert __name__ in sys.modules\n    return 5\n"
    (tmp_path / "elsewhere" / "my_training.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    import my_training  # type: ignore[import-not-found]

    result = tune(my_training.train, budget=1)
    assert result.best_value == 5
    assert not (tmp_path / "home" / "trials" / result.study.name / "objective.pkl").exists()


def test_a_method_of_an_object_keeps_the_object() -> None:
    class Training:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def run(self, config: dict[str, float]) -> float:
            return self.factor * config["x"]

    assert tune(Training(7.0).run, budget=1).best_value == 7.0


SCRIPT = """
import json
import app, agent, tools
import luthier

FACTOR = 3

def train(config):
    import app, tools.data
    assert app.MINE and tools.data.MINE
    return FACTOR * config["x"]

if __name__ == "__main__":
    result = luthier.tune(
        train, space={"x": luthier.Float(low=0.5, high=2.0, default=1.0)}, metric="loss",
        direction="minimize", budget=2, name="main", sampler={"kind": "random"},
        executor={"device": "cpu", "slots": 1},
    )
    states = [str(trial.state) for trial in result.trials]
    print(json.dumps([result.ending, states, result.trials[0].metrics]))
"""


def test_a_function_of_a_script_runs_beside_packages_named_as_luthier_s(tmp_path: Path) -> None:
    for name in ("agent", "tools"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True")
    (tmp_path / "tools" / "data.py").write_text("MINE = True")
    (tmp_path / "app.py").write_text("MINE = True")
    (tmp_path / "train.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["finished", "all 2 trials are used"],
        ["complete", "complete"],
        {"loss": 3.0},
    ]
    assert "trial 0 complete: loss=3 (best 3, trial 0)" in done.stderr

    again = subprocess.run(
        [sys.executable, "-m", "luthier.app", "resume", "main", "--trials", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert again.returncode == 0, again.stderr
    states = [str(trial.state) for trial in luthier.open_study("main").trials()]
    assert states == ["complete"] * 3


# Studies by name


def test_with_a_name_a_second_call_goes_on() -> None:
    first = tune(lambda config: config["x"], name="mine")
    second = tune(lambda config: config["x"], name="mine")
    assert second.study.name == "mine"
    assert second.trials == first.trials


def test_another_spec_under_the_same_name_is_refused_with_the_difference() -> None:
    tune(lambda config: config["x"], name="mine")
    wider = {"x": luthier.Float(low=0.5, high=3.0, default=1.0)}
    with pytest.raises(StudyConflictError, match=r"space\.x\.high: 2\.0 -> 3\.0"):
        tune(lambda config: config["x"], name="mine", space=wider)
    with pytest.raises(StudyConflictError, match=r"`luthier resume mine --trials N`"):
        tune(lambda config: config["x"], name="mine", budget=9)


def test_without_a_name_every_call_makes_a_new_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda _: "20260101-000000")  # within one second
    results = [tune(lambda config: config["x"], budget=1) for _ in range(2)]
    assert results[0].study.name != results[1].study.name
    assert [len(result.trials) for result in results] == [1, 1]


def test_a_function_with_a_long_name_gets_a_name_that_fits() -> None:
    def train(config: dict[str, float]) -> float:
        return config["x"]

    train.__name__ = "long_" * 40
    assert tune(train, budget=1).study.name.startswith("long_long_")


# The result


def test_the_result_says_what_the_study_came_to() -> None:
    result = tune(lambda config: config["x"], name="mine", budget=4)
    assert result.ending == ("finished", "all 4 trials are used")
    assert len(result.trials) == 4
    assert result.best is not None
    assert result.best_value == min(trial.metrics["loss"] for trial in result.trials)
    assert result.best_configuration == {"x": result.best_value}
    text = str(result)
    assert text.startswith("study 'mine' finished (all 4 trials are used): 4 of 4 trials complete")
    assert f"best {result.best_value:.6g}, single run, with" in text


def test_the_result_of_a_study_without_a_complete_trial_has_no_best() -> None:
    result = tune(lambda config: 1 / 0, budget=1)
    assert (result.best, result.best_value, result.best_configuration) == (None, None, None)
    assert "0 of 1 trials complete" in str(result)


def test_the_defaults_are_tried_first() -> None:
    result = tune(lambda config: config["x"])
    assert result.trials[0].configuration == {"x": 1.0}
    assert result.trials[0].source == "default"


def test_a_study_can_be_opened_again_as_optuna_and_as_a_table() -> None:
    result = tune(lambda config: config["x"], name="mine", budget=3)
    study = luthier.open_study("mine")
    assert study.trials() == result.trials
    copy = study.to_optuna()
    assert copy.best_value == result.best_value
    assert [trial.params for trial in copy.trials] == [t.configuration for t in result.trials]
    table = study.to_dataframe()
    assert list(table["number"]) == [0, 1, 2]
    assert list(table["params.x"]) == list(table["loss"])


def test_a_notebook_shows_the_claim_and_the_trials() -> None:
    result = tune(lambda config: config["x"], name="mine", budget=3)
    shown = result._repr_html_()
    assert "Study mine: finished, 3 of 3 trials complete" in shown
    assert result.claim is not None
    assert result.claim.quote in shown
    assert shown.count("<tr>") == 4
    assert f"<td>{result.best_value:.6g}</td>" in shown


def test_a_notebook_takes_names_and_values_for_text() -> None:
    tag = "<script>alert(1)</script>"
    kind = luthier.Categorical(choices=[tag])
    result = tune(lambda config: 1.0, space={"x": X, "<b>": kind}, budget=1)
    shown = result._repr_html_()
    assert tag not in shown
    assert "<b>Study" in shown
    assert "&lt;b&gt;" in shown


def test_a_workspace_can_be_named(tmp_path: Path) -> None:
    result = tune(lambda config: config["x"], name="there", budget=1, workspace="there")
    assert result.study.workspace.folder == tmp_path / "there"
    assert luthier.open_study("there", tmp_path / "there").name == "there"
    assert not (tmp_path / "home").exists()


def test_progress_is_a_line_for_every_trial(capfd: pytest.CaptureFixture[str]) -> None:
    tune(lambda config: config["x"], progress=True)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("trial ")]
    assert lines[0] == "trial 0 complete: loss=1 (best 1, trial 0)"
    assert len(lines) == 2


def test_a_wall_time_may_be_the_budget() -> None:
    result = tune(lambda config: config["x"], budget="2s")
    assert result.ending == ("finished", "the wall time of 2 s is used")
    assert result.trials


# What is wrong is said before anything is written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"x": {"type": "float", "low": 2, "high": 1}}}, r"low < high"),
        ({"space": {}}, r"space"),
        ({"direction": "up"}, r"direction"),
        ({"budget": 0}, r"budget\.trials"),
        ({"budget": True}, r"budget must be .* but got True"),
        ({"budget": 2.5}, r"budget must be .* but got 2\.5"),
        ({"budget": "soon"}, r"budget\.wall_seconds"),
        ({"budget": {"epochs": 3}}, r"epochs"),
        ({"name": "no spaces"}, r"name"),
        ({"colour": "red"}, r"unknown field 'colour'"),
    ],
)
def test_a_wrong_argument_is_refused(changes: dict[str, Any], message: str, home: Path) -> None:
    with pytest.raises(SpecError, match=message):
        tune(lambda config: config["x"], **changes)
    assert not home.exists()


def test_what_is_no_function_is_refused(home: Path) -> None:
    with pytest.raises(SpecError, match="must be a function of a configuration, but got 3"):
        tune(3)
    assert not home.exists()


def test_a_function_that_cannot_be_pickled_is_refused_before_anything_is_written(
    home: Path,
) -> None:
    import threading

    lock = threading.Lock()

    def train(config: dict[str, float]) -> float:
        with lock:
            return config["x"]

    with pytest.raises(SpecError, match="cannot be sent to a trial"):
        tune(train)
    assert not home.exists()


def test_devices_that_are_not_there_are_missed_before_anything_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(luthier.LuthierError, match="no CUDA device is visible"):
        tune(lambda config: config["x"], executor={"device": "cuda"})
    assert not home.exists()


# Confirming


def test_a_result_can_be_confirmed() -> None:
    result = tune(lambda config: config["x"] + 1e-3 * random.random(), budget=3)
    assert result.claim is not None
    assert result.claim.status == "single run"
    assert ", single run, with {'x': " in str(result)
    confirmed = result.confirm(repeats=3)
    assert confirmed.claim is not None
    assert confirmed.claim.status == "confirmed"
    assert confirmed.best_value == confirmed.claim.estimate
    assert ": 3 of 3 trials complete, best " in str(confirmed)
    assert ", confirmed better than trial" in str(confirmed)
    assert len(confirmed.trials) == 9
    again = luthier.confirm(result.study.name, repeats=4, progress=False)
    assert again.claim is not None
    assert again.claim.runs == 4


def test_each_repeat_has_a_seed_of_its_own_and_trials_share_theirs() -> None:
    def train(config: dict[str, float]) -> dict[str, float]:
        noise = 1e-3 * random.random()
        return {"loss": config["x"] + noise, "noise": noise, "seed": luthier.seed()}

    result = tune(train, seed=4, confirm={"repeats": 2}, budget=2)
    metrics = [trial.metrics for trial in result.trials]
    assert [m["seed"] for m in metrics] == [4, 4, 5, 5, 6, 6]
    noises = [m["noise"] for m in metrics]
    assert noises[0::2] == noises[1::2]
    assert len(set(noises)) == 3


def test_a_study_that_somebody_runs_is_left_to_them() -> None:
    result = tune(lambda config: config["x"])
    writer = result.study.ledger.acquire(result.study.record)
    with pytest.raises(LeaseHeldError):
        result.confirm()
    writer.release()
    assert not [e for e in result.study.events() if e.kind in ("wish", "refused")]
