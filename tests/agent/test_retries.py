"""Ended trials that run again, and the checkpoints that they go on from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from luthier.tools import reporting
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.study import Study


class Lab(Protocol):
    """The fixture `lab`."""

    def __getattr__(self, name: str) -> Any: ...


SAVES = """
sys.path.insert(0, os.getcwd())
import luthier_report as reporter
begin = (reporter.load_checkpoint() or 0) + 1
for step in range(begin, 5):
    reporter.save_checkpoint(step, step=step, value=x)
    reporter.report(step, loss=LOSS)
    STOP
"""
"""A trial of four steps that goes on from its checkpoint."""


def saving(lab: Lab, loss: str = "x", stop: str = "pass") -> str:
    shutil.copy(reporting.__file__, lab.folder / "luthier_report.py")
    return SAVES.replace("LOSS", loss).replace("STOP", stop)


def retry(lab: Lab, study: Study, *trials: int, fresh: bool = False, **changes: Any) -> None:
    wish = {"trials": list(trials), "set": changes, "fresh": fresh}
    lab.ledger.wish(study.record, "retry", **wish)


def steps(lab: Lab, trial: int, attempt: int) -> list[int]:
    folder: Path = lab.workspace.attempt_folder("small", trial, attempt)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def outcomes(trial: TrialRecord) -> list[str]:
    return [str(attempt.outcome) for attempt in trial.attempts]


def kinds(study: Study) -> list[str]:
    return [event.kind for event in study.events()]


def saved(lab: Lab, trial: int) -> list[str]:
    folder: Path = lab.workspace.checkpoint_folder("small", trial)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


BATCHES = {
    "x": {"type": "float", "low": 0.5, "high": 2.0},
    "batch_size": {"type": "int", "low": 16, "high": 1024},
}
GREEDY = """
if trial == 1 and int(values["--batch_size"]) > 64: raise MemoryError
report(1, loss=x)
"""


def test_a_trial_that_ran_out_of_memory_completes_with_a_smaller_batch(lab: Lab) -> None:
    study = lab.create(GREEDY, space=BATCHES)
    lab.run(study)
    before = study.trials()
    assert [str(t.state) for t in before] == ["complete", "out_of_memory", "complete"]

    retry(lab, study, 1, batch_size=64)
    assert lab.run(study) == ("finished", "all 3 trials are used")
    after = study.trials()
    assert [after[0], after[2]] == [before[0], before[2]]
    first, second = after[1].attempts
    assert (first.outcome, second.outcome) == (Outcome.OUT_OF_MEMORY, Outcome.COMPLETE)
    assert first.configuration == before[1].configuration
    assert (
        second.configuration == after[1].configuration == first.configuration | {"batch_size": 64}
    )
    assert after[1].state is Outcome.COMPLETE


def test_a_pruned_trial_is_promoted_from_its_checkpoint_and_not_pruned_again(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        saving(lab, "x + 9 * (trial == 3)", "if trial == 3 and step == attempt + 1: gate()"),
        budget={"trials": 4},
        pruner={"kind": "median", "audit": 0, "start_up_trials": 1, "warmup_steps": 2},
        executor={"device": "cpu", "slots": 1, "grace_seconds": 0.1},
    )
    lab.run(study)
    assert [str(t.state) for t in study.trials()] == ["complete"] * 3 + ["pruned"]

    retry(lab, study, 3)
    running = lab.start(study)
    lab.wait_for_report(study, trial=3, step=3)
    lab.ledger.wish(study.record, "resume")
    lab.wait_for(study, "wish", 2)  # by now the pruner has been asked
    lab.open_gate()
    assert running.ending() == ("finished", "all 4 trials are used")
    trial = study.trials()[3]
    assert outcomes(trial) == ["pruned", "complete"]
    assert (steps(lab, 3, 1), steps(lab, 3, 2)) == ([1, 2], [3, 4])
    assert trial.curves is not None
    assert list(trial.curves["loss"]) == [1, 2, 3, 4]


def test_a_living_worker_runs_a_trial_again_beside_the_others(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        "if trial == 0 and attempt == 1: sys.exit(3)\nif trial == 1: gate()\nreport(1, loss=x)",
        executor={"device": "cpu", "slots": 2},
        budget={"trials": 2},
    )
    running = lab.start(study)
    lab.wait_for(study, "ended", trial=0)
    lab.wait_for(study, "started", trial=1)
    retry(lab, study, 0, 1)  # the one that still runs is left alone
    lab.wait_for(study, "ended", 2, trial=0)
    assert study.trials()[1].state == "running"
    lab.open_gate()
    assert running.ending().state == "finished"
    assert [outcomes(t) for t in study.trials()] == [["crashed", "complete"], ["complete"]]


def test_with_another_configuration_no_trial_goes_on_from_its_checkpoint(lab: Lab) -> None:
    study = lab.create(saving(lab, stop="if (attempt, step) == (1, 2): sys.exit(3)"))
    lab.run(study)
    before = study.trials()
    retry(lab, study, 0, 1, x=1.5)
    lab.run(study)
    assert study.trials() == before
    (refused,) = [e.data["reason"] for e in study.events() if e.kind == "refused"]
    assert refused == (
        "trial 0 has a checkpoint of another configuration than {'x': 1.5}; "
        "add --fresh to start it over"
    )

    retry(lab, study, 0, 1, fresh=True, x=1.5)
    lab.run(study)
    assert [outcomes(t)[-1] for t in study.trials()] == ["complete", "complete", "crashed"]
    assert steps(lab, 0, 2) == steps(lab, 1, 2) == [1, 2, 3, 4]


def test_a_crashed_trial_goes_on_with_the_configuration_that_it_had(lab: Lab) -> None:
    study = lab.create(
        saving(lab, stop="if (attempt, step) == (1, 2): sys.exit(3)"), budget={"trials": 1}
    )
    lab.run(study)
    retry(lab, study, 0)
    lab.run(study)
    assert steps(lab, 0, 2) == [3, 4]
    retry(lab, study, 0, fresh=True)
    lab.run(study)
    assert steps(lab, 0, 3) == [1, 2, 3, 4]
    (trial,) = study.trials()
    assert outcomes(trial) == ["crashed", "complete", "complete"]


def test_a_trial_that_waits_already_is_not_reopened_again(lab: Lab) -> None:
    study = lab.create("report(1, loss=x)", budget={"trials": 1})
    lab.run(study)
    writer = lab.ledger.acquire(study.record)  # died when it had granted half of the wish
    retry(lab, study, 0)
    (trial,) = study.trials()
    writer.reopen(trial, trial.configuration)
    writer.release()
    lab.run(study)
    assert kinds(study).count("reopened") == 1
    assert outcomes(study.trials()[0]) == ["complete", "complete"]


@pytest.mark.parametrize("changes", [{}, {"x": 0.75}])
def test_a_trial_that_gets_no_further_attempt_ends_as_it_had_ended(
    lab: Lab, changes: dict[str, Any]
) -> None:
    study = lab.create("report(1, loss=x)", budget={"trials": 1})
    lab.run(study)
    (before,) = study.trials()
    lab.ledger.wish(study.record, "resume", budget={"wall_seconds": 1e-6})
    retry(lab, study, 0, **changes)
    lab.run(study)
    (trial,) = study.trials()
    assert kinds(study).count("reopened") == 1
    assert (trial.state, trial.reason) == (Outcome.COMPLETE, before.reason)
    assert (trial.configuration, trial.metrics) == (before.configuration, before.metrics)
    assert trial.attempts == before.attempts
    assert study.best() == replace(trial, curves=None)


def test_nothing_starts_from_the_checkpoint_of_another_configuration(lab: Lab) -> None:
    lab.gate()
    study = lab.create(saving(lab, stop="gate()"), budget={"trials": 1})
    running = lab.start(study)
    lab.wait_for_report(study)
    lab.ledger.wish(study.record, "stop")
    running.ending()
    folder: Path = lab.workspace.checkpoint_folder("small", 0)
    (path,) = folder.iterdir()
    header = reporting.checkpoint_header(str(path))
    assert header is not None
    other = reporting.configuration_digest({"x": 0.5})
    content = path.read_bytes()
    path.write_bytes(content.replace(header["configuration"].encode(), other.encode()))

    assert lab.run(study).state == "finished"
    (trial,) = study.trials()
    assert (trial.state, len(trial.attempts)) == (Outcome.KILLED, 1)
    assert trial.reason == (
        f"the checkpoint in {str(folder)!r} belongs to another configuration; start over with "
        "`luthier retry small --trial 0 --fresh`"
    )
    retry(lab, study, 0, fresh=True)
    for _ in range(4):
        lab.open_gate()
    lab.run(study)
    assert outcomes(study.trials()[0]) == ["killed", "complete"]


def test_of_complete_trials_the_best_keeps_its_checkpoints_and_the_others_keep_theirs(
    lab: Lab,
) -> None:
    study = lab.create(
        saving(lab, "[0, 2, 1, 3, 4][trial]", "if trial == 0: sys.exit(3)"),
        metrics={"loss": {"direction": "maximize"}},
        executor={"device": "cpu", "slots": 1, "checkpoints": {"keep_last": 2}},
        budget={"trials": 4},
    )
    lab.run(study)
    assert [str(trial.state) for trial in study.trials()] == ["crashed"] + ["complete"] * 3
    two = ["00000003.ckpt", "00000004.ckpt"]
    assert [saved(lab, n) for n in range(4)] == [["00000001.ckpt"], [], [], two]
    lab.ledger.wish(study.record, "resume", budget={"trials": 5})
    lab.run(study)
    assert [saved(lab, n) for n in range(5)] == [["00000001.ckpt"], [], [], [], two]
