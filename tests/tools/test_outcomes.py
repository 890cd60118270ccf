import math
import signal

import pytest
from luthier.tools.outcomes import Evidence, Outcome, StopReason, classify

GOOD = {"acc": 0.9}

TRACEBACK = "Traceback (most recent call last):\n  File ...\n{}: something\n"

FULL_DISK = "[Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("evidence", "values", "outcome", "reason"),
    [
        # complete
        (Evidence(exit_code=0), GOOD, Outcome.COMPLETE, "ended by itself"),
        (
            # It ended well before it heard of the request.
            Evidence(exit_code=0, stop_reason=StopReason.PRUNE),
            GOOD,
            Outcome.COMPLETE,
            "ended by itself",
        ),
        (
            Evidence(exit_code=0, error_tail=TRACEBACK.format("ValueError")),
            GOOD,
            Outcome.COMPLETE,
            "ended by itself",
        ),
        # one that catches the signal, saves and leaves in order is not complete
        (
            Evidence(exit_code=0, stop_reason=StopReason.STOP),
            GOOD,
            Outcome.KILLED,
            "stopped on request",
        ),
        (
            Evidence(exit_code=0, stop_reason=StopReason.DEADLINE),
            GOOD,
            Outcome.TIMED_OUT,
            "reached its time limit",
        ),
        # a full disk is no fault of the configuration
        (
            Evidence(exit_code=1, error_tail=TRACEBACK.format(f"OSError: {FULL_DISK}")),
            {},
            Outcome.INFRASTRUCTURE,
            "no space was left on the disk",
        ),
        # pruned
        (
            Evidence(signal=signal.SIGTERM, stop_reason=StopReason.PRUNE),
            GOOD,
            Outcome.PRUNED,
            "stopped early by the pruner",
        ),
        (
            Evidence(exit_code=0, exception="luthier.tools.reporting.TrialPruned"),
            GOOD,
            Outcome.PRUNED,
            "the trial stopped itself early",
        ),
        (
            Evidence(exit_code=1, error_tail=TRACEBACK.format("luthier.TrialPruned")),
            {},
            Outcome.PRUNED,
            "the trial stopped itself early",
        ),
        # out of memory
        (
            Evidence(exit_code=1, exception="torch.OutOfMemoryError"),
            GOOD,
            Outcome.OUT_OF_MEMORY,
            "raised torch.OutOfMemoryError",
        ),
        (
            Evidence(exit_code=1, error_tail=TRACEBACK.format("MemoryError")),
            {},
            Outcome.OUT_OF_MEMORY,
            "raised MemoryError",
        ),
        (
            Evidence(signal=signal.SIGKILL, kernel_oom_kills=1),
            {},
            Outcome.OUT_OF_MEMORY,
            "killed by the kernel for lack of memory",
        ),
        # diverged
        (
            Evidence(exit_code=0),
            {"acc": math.nan},
            Outcome.DIVERGED,
            "a metric was NaN or infinite",
        ),
        (
            Evidence(signal=signal.SIGTERM, stop_reason=StopReason.DIVERGED),
            {"acc": math.inf},
            Outcome.DIVERGED,
            "a metric was NaN or infinite",
        ),
        # timed out
        (
            Evidence(signal=signal.SIGKILL, stop_reason=StopReason.DEADLINE),
            GOOD,
            Outcome.TIMED_OUT,
            "reached its time limit",
        ),
        # crashed
        (Evidence(exit_code=0), {}, Outcome.CRASHED, "ended without reporting acc"),
        (Evidence(exit_code=3), GOOD, Outcome.CRASHED, "exit code 3"),
        (Evidence(signal=signal.SIGSEGV), GOOD, Outcome.CRASHED, "ended by SIGSEGV"),
        (Evidence(signal=40), GOOD, Outcome.CRASHED, "ended by signal 40"),
        (
            Evidence(exit_code=1, exception="KeyError"),
            GOOD,
            Outcome.CRASHED,
            "raised KeyError",
        ),
        (
            # The last exception is the one that ended it.
            Evidence(
                exit_code=1,
                error_tail=TRACEBACK.format("MemoryError") + TRACEBACK.format("my.OwnError"),
            ),
            {},
            Outcome.CRASHED,
            "raised my.OwnError",
        ),
        (
            # Untrusted text without a traceback proves nothing.
            Evidence(exit_code=1, error_tail="MemoryError: not really\n"),
            {},
            Outcome.CRASHED,
            "exit code 1",
        ),
        # killed
        (
            Evidence(signal=signal.SIGTERM, stop_reason=StopReason.STOP),
            GOOD,
            Outcome.KILLED,
            "stopped on request",
        ),
        (Evidence(signal=signal.SIGKILL), GOOD, Outcome.KILLED, "ended from outside by SIGKILL"),
        (
            Evidence(started=False, stop_reason=StopReason.STOP),
            {},
            Outcome.KILLED,
            "stopped on request",
        ),
        # invalid
        (
            Evidence(exit_code=2, error_tail="usage: train.py [-h]\ntrain.py: error: ..."),
            {},
            Outcome.INVALID,
            "the script refused its arguments",
        ),
        # infrastructure
        (
            Evidence(started=False),
            {},
            Outcome.INFRASTRUCTURE,
            "its process never started",
        ),
        (
            Evidence(error_tail=TRACEBACK.format("MemoryError")),
            GOOD,
            Outcome.INFRASTRUCTURE,
            "its launcher was lost",
        ),
    ],
)
def test_every_end_has_one_outcome_and_a_reason(evidence, values, outcome, reason):
    verdict = classify(evidence, values, ["acc"])
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_the_table_above_holds_every_outcome():
    (mark,) = test_every_end_has_one_outcome_and_a_reason.pytestmark
    assert {case[2] for case in mark.args[1]} == set(Outcome)


def test_every_required_metric_must_be_reported():
    verdict = classify(Evidence(exit_code=0), {"a": 1.0}, ["a", "b", "c"])
    assert verdict.reason == "ended without reporting b, c"


def test_any_signal_can_be_told():
    outcomes = {classify(Evidence(signal=n), {}, []).outcome for n in range(1, 65)}
    assert outcomes == {Outcome.CRASHED, Outcome.KILLED}
