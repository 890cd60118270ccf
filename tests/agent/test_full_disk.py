"""A disk that is full, or cannot be written, in the middle of a study."""

import errno
import os
import re
from typing import Any, Protocol

import pytest
from luthier.agent.worker import WorkerError, run_study
from luthier.evals.lab import SPACE
from luthier.tools.outcomes import Outcome
from luthier.tools.study import Study


class Lab(Protocol):
    """The fixture `lab`: a workspace."""

    def __getattr__(self, name: str) -> Any: ...


def create(lab: Lab) -> Study:
    study: Study = lab.create(
        objective={"kind": "callable", "reference": "luthier.evals.lab:network"},
        space=SPACE,
        metrics={"val_acc": {"direction": "maximize"}},
        budget={"trials": 5},
        executor={"kind": "simulated", "lab": {"devices": [{}, {}], "rate": 0}},
    )
    return study


def refuse(patch: pytest.MonkeyPatch, call: str, path: str, number: int, after: int) -> None:
    """Let a system call fail for a path, from some call on, as the kernel does."""
    real, calls = getattr(os, call), 0

    def refusing(*args: Any, **rest: Any) -> Any:
        nonlocal calls
        place = os.fspath(args[0] if call == "mkdir" else args[1])
        if re.search(path, place):
            calls += 1
            if calls > after:
                raise OSError(number, os.strerror(number), place)
        return real(*args, **rest)

    patch.setattr(os, call, refusing)


WRITES = {
    "the register of leases": ("replace", r"/leases\.json$", 4),
    "a folder made ahead": ("mkdir", r"/trials/small/blank/\d$", 3),
    "an attempt's folder": ("mkdir", r"/trials/small/blank/\d/1$", 5),  # two tries for each
    "a checkpoint's folder": ("mkdir", r"/trials/small/blank/\d/checkpoint$", 3),
    "a trial's folder": ("rename", r"/trials/small/3$", 0),
    "how an attempt began": ("replace", r"/3/1/process\.json$", 0),
}


@pytest.mark.parametrize(
    ("write", "number"),
    [
        *((write, errno.ENOSPC) for write in WRITES),
        ("the register of leases", errno.EROFS),
        ("an attempt's folder", errno.EROFS),
    ],
)
def test_a_write_that_is_refused_is_one_sentence_and_nothing_is_lost(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, write: str, number: int
) -> None:
    study = create(lab)
    call, path, after = WRITES[write]
    with monkeypatch.context() as patch:
        refuse(patch, call, path, number, after)
        with pytest.raises(WorkerError) as refusal:
            run_study(lab.ledger, study.record, lab.workspace)
    told = str(refusal.value)
    assert "`luthier resume small`" in told
    assert "\n" not in told
    assert ("space left" in told) is (number == errno.ENOSPC)
    assert study.owner is None
    before = study.trials()
    assert len(before) < 5
    assert lab.run(study).state == "finished"
    after_all = study.trials()
    assert [trial.state for trial in after_all] == [Outcome.COMPLETE] * 5
    assert [t.configuration for t in after_all][: len(before)] == [t.configuration for t in before]
    again = [t for t in after_all if len(t.attempts) > 1]
    assert all(t.attempts[0].never_began for t in again)
    assert len(again) <= 1
