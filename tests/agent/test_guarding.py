"""Studies whose hold-out set is guarded."""

from typing import Any

import pytest

TRAIN = """
for step in (1, 2): report(step, val=0.9, test=0.6)
report(val=0.9, test=0.6)
"""


@pytest.fixture
def guarded(lab: Any) -> Any:
    def make(train: str = TRAIN, **changes: Any) -> Any:
        return lab.create(
            train,
            metrics={"val": {"direction": "watch"}, "test": {"direction": "maximize"}},
            guard={"hold_out": "test", "training": "val", "tolerance": 0.01, "looks": 3},
            **{"budget": {"trials": 10}, **changes},
        )

    return make


def test_the_ledger_never_holds_the_hold_out_s_own_value(lab: Any, guarded: Any) -> None:
    study = guarded()
    lab.run(study)
    for trial in study.trials():
        assert trial.metrics["val"] == 0.9
        assert trial.metrics["test"] == pytest.approx(0.6, abs=0.1)
        assert trial.metrics["test"] != 0.6
        assert set(trial.curves) == {"val"}


def test_the_study_ends_with_the_looks(lab: Any, guarded: Any) -> None:
    study = guarded()
    ending = lab.run(study)
    assert (ending.state, ending.reason) == ("finished", "all 3 looks at test are used")
    assert len(study.trials()) == 3


def test_a_trial_that_keeps_the_hold_out_s_value_for_itself_is_not_complete(
    lab: Any, guarded: Any
) -> None:
    study = guarded("report(test=0.6)")
    ending = lab.run(study)
    assert ending.state == "halted"
    assert "without reporting val" in ending.reason


def test_a_trial_that_fails_tells_nothing_of_the_hold_out(lab: Any, guarded: Any) -> None:
    study = guarded(TRAIN + "sys.exit(1)", budget={"trials": 1})
    lab.run(study)
    (trial,) = study.trials()
    assert trial.metrics == {"val": 0.9}
