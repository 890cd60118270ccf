import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.tools.executor_spec import Lab
from luthier.tools.executors.lab import Training, course
from luthier.tools.outcomes import Outcome, StopReason, classify

BEGUN = 1000.0
FOUR = Training([{"loss": 1.0 / step} for step in (1, 2, 3, 4)], step_seconds=10.0, memory_gib=6.0)


def take(devices, indices=(0,), share=1.0, *, training=FOUR, trial=0, at=0.0, limit=None, hangs=()):
    return course(
        training,
        Lab(devices=devices, hanging_trials=list(hangs)),
        indices,
        share,
        trial=trial,
        begun=BEGUN,
        started=BEGUN + at,
        limit_seconds=limit,
    )


def verdict(found):
    values = {}
    for _, report in found.reports:
        values |= report.metrics
    return classify(found.evidence, values, ["loss"])


@dataclass(frozen=True)
class Case:
    id: str
    devices: list[dict[str, Any]]
    reports_at: list[float]
    """Seconds from the attempt's start."""
    ends_after: float
    outcome: Outcome
    rest: dict[str, Any] = field(default_factory=dict)


COMPLETE, LOST = Outcome.COMPLETE, Outcome.INFRASTRUCTURE
WHOLE = [10.0, 20.0, 30.0, 40.0]
CASES = [
    Case("common", [{}], WHOLE, 40, COMPLETE),
    Case("fast", [{"speed": 2}], [5, 10, 15, 20], 20, COMPLETE),
    Case("slower from a step on", [{"slow_at": 20}], [10, 20, 120, 220], 220, COMPLETE),
    Case("slow before it began", [{"slow_at": 5}], [100, 200, 300, 400], 400, COMPLETE, {"at": 5}),
    Case(
        "as fast as the slowest",
        [{}, {"speed": 0.5}, {"speed": 4}],
        [20, 40, 60, 80],
        80,
        COMPLETE,
        {"indices": (0, 1, 2)},
    ),
    Case(
        "another is slow from a step on",
        [{}, {"slow_at": 20}],
        [10, 20, 120, 220],
        220,
        COMPLETE,
        {"indices": (0, 1)},
    ),
    Case(
        "only its own devices count",
        [{}, {"speed": 0.5, "dies_at": 0}],
        WHOLE,
        40,
        COMPLETE,
    ),
    Case("just enough memory", [{"memory_gib": 6}], WHOLE, 40, COMPLETE),
    Case("too little memory", [{"memory_gib": 5.9}], [], 1, Outcome.OUT_OF_MEMORY),
    Case(
        "too little memory for quick steps",
        [{"memory_gib": 5}],
        [],
        1,
        Outcome.OUT_OF_MEMORY,
        {"training": Training(FOUR.steps, step_seconds=0.1, memory_gib=6.0)},
    ),
    Case(
        "too little memory on one of two",
        [{}, {"memory_gib": 4}],
        [],
        1,
        Outcome.OUT_OF_MEMORY,
        {"indices": (0, 1)},
    ),
    Case(
        "too little memory for a share",
        [{"memory_gib": 8}],
        [],
        1,
        Outcome.OUT_OF_MEMORY,
        {"share": 0.5},
    ),
    Case("enough memory for a share", [{"memory_gib": 8}], WHOLE, 40, COMPLETE, {"share": 0.75}),
    Case("poisoned", [{"poisoned_at": 5}], [], 1, Outcome.CRASHED, {"at": 5}),
    Case("poisoned later", [{"poisoned_at": 5}], WHOLE, 40, COMPLETE),
    Case("dead", [{"dies_at": 5}], [], 1, LOST, {"at": 5}),
    Case("dies while it runs", [{"dies_at": 35}], [10, 20], 25, LOST, {"at": 10}),
    Case("dies after it has ended", [{"dies_at": 41}], WHOLE, 40, COMPLETE),
    Case("one of two dies", [{}, {"dies_at": 15}], [10], 15, LOST, {"indices": (0, 1)}),
    Case("pre-empted", [{"preempted_at": [15, 25]}], [10], 15, LOST),
    Case("pre-empted before", [{"preempted_at": [5]}], WHOLE, 40, COMPLETE, {"at": 5}),
    Case("pre-empted again", [{"preempted_at": [5, 22]}], [10], 17, LOST, {"at": 5}),
    Case("hangs", [{}], [10, 20], math.inf, Outcome.INFRASTRUCTURE, {"hangs": (0,)}),
    Case("another hangs", [{}], WHOLE, 40, COMPLETE, {"hangs": (1,)}),
    Case("deadline", [{}], [10, 20], 25, Outcome.TIMED_OUT, {"limit": 25}),
    Case("just in time", [{}], WHOLE, 40, COMPLETE, {"limit": 40}),
    Case(
        "hangs until the deadline",
        [{}],
        [10, 20],
        90,
        Outcome.TIMED_OUT,
        {"limit": 90, "hangs": (0,)},
    ),
    Case(
        "dies while it hangs", [{"dies_at": 60}], [10, 20], 60, LOST, {"hangs": (0,), "limit": 90}
    ),
    Case(
        "nothing to do",
        [{}],
        [],
        0,
        Outcome.CRASHED,
        {"training": Training([], step_seconds=1.0)},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_course_of_an_attempt(case):
    found = take(case.devices, **case.rest)
    started = BEGUN + case.rest.get("at", 0.0)
    assert [at - started for at, _ in found.reports] == pytest.approx(case.reports_at)
    assert [report.step for _, report in found.reports] == [*range(1, len(case.reports_at) + 1)]
    assert found.ends_at - started == pytest.approx(case.ends_after)
    if math.isfinite(found.ends_at):
        assert verdict(found).outcome is case.outcome


def test_what_ends_it_is_told_as_on_a_real_device():
    assert take([{"memory_gib": 1}]).evidence.exception == "torch.OutOfMemoryError"
    assert verdict(take([{"dies_at": 0}])).reason.startswith("its device failed: CUDA error")
    assert take([{}], limit=5.0).evidence.stop_reason is StopReason.DEADLINE


MOMENTS = st.none() | st.integers(0, 100)
DEVICES = st.fixed_dictionaries(
    {
        "memory_gib": st.floats(1, 20),
        "speed": st.floats(0.1, 10),
        "dies_at": MOMENTS,
        "poisoned_at": MOMENTS,
        "preempted_at": st.lists(st.integers(0, 100), max_size=3),
        "slow_at": MOMENTS,
    }
)


@given(st.data(), st.lists(DEVICES, min_size=1, max_size=3))
def test_reports_are_in_order_of_time_and_none_comes_after_the_end(data, devices):
    indices = data.draw(st.sets(st.sampled_from(range(len(devices))), min_size=1))
    at = data.draw(st.floats(0, 100))
    limit = data.draw(st.none() | st.floats(1, 100))
    hangs = data.draw(st.sampled_from([(), (0,)]))
    share = data.draw(st.sampled_from([0.25, 1.0]))
    found = take(devices, sorted(indices), share, at=at, limit=limit, hangs=hangs)
    times = [when for when, _ in found.reports]
    assert times == sorted(times)
    assert all(BEGUN + at < when <= found.ends_at for when in times)
    assert found.ends_at >= BEGUN + at
    assert math.isfinite(found.ends_at) or hangs
    assert limit is None or found.ends_at <= max(BEGUN + at + limit, BEGUN + at + 1.0)
