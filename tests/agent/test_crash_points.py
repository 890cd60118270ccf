"""A study whose worker dies at any of its writes comes to the end that it would have come to."""

import random
from collections.abc import Iterator

import pytest
from luthier.evals.crash_points import LABS, CrashPoints, Whole, crash_points
from luthier.tools.outcomes import Outcome

SAMPLED = 8


@pytest.fixture(scope="module", params=LABS)
def crashes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CrashPoints]:
    """A study, and the process that forks its workers."""
    with crash_points(request.param, tmp_path_factory.mktemp("crashes")) as crashes:
        yield crashes


@pytest.fixture(scope="module")
def whole(crashes: CrashPoints) -> Whole:
    """What becomes of the study without a crash."""
    return crashes.whole()


def test_what_ought_to_go_wrong_does(crashes: CrashPoints, whole: Whole) -> None:
    assert whole.problems == []
    trials = [part for name, part in whole.summary.items() if name.startswith("trial")]
    ends = {trial["end"][0] for trial in trials}
    lost = {end for trial in trials for _, end, *_ in trial["attempts"]} - ends
    assert {trial["source"] for trial in trials} == {"sobol", "tpe"}
    well = {Outcome.COMPLETE, Outcome.PRUNED}
    if crashes.name == "fragile":
        assert ends == well | {Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT}
        assert lost == {Outcome.INFRASTRUCTURE}
    else:
        assert ends == well
        assert lost == {Outcome.CRASHED}


def test_a_run_without_a_crash_can_be_repeated(crashes: CrashPoints, whole: Whole) -> None:
    assert crashes.problems(whole) == []


def test_another_end_is_found_out(crashes: CrashPoints, whole: Whole) -> None:
    other = whole._replace(summary={**whole.summary, "spending": (0.0, 0.0)})
    (problem,) = crashes.problems(other, 0)
    assert problem.startswith("after a death at (0,): spending: ")
    assert problem.endswith(" instead of (0.0, 0.0)")


def test_a_worker_may_die_at_some_of_its_writes(crashes: CrashPoints, whole: Whole) -> None:
    for point in sorted(random.Random(0).sample(range(whole.points), SAMPLED)):
        assert crashes.problems(whole, point) == []


@pytest.mark.slow
def test_a_worker_may_die_at_each_of_its_writes(crashes: CrashPoints, whole: Whole) -> None:
    for point in range(whole.points):
        assert crashes.problems(whole, point) == []


@pytest.mark.parametrize("seed", range(3))
def test_who_takes_over_may_die_too(crashes: CrashPoints, whole: Whole, seed: int) -> None:
    rng = random.Random(seed)
    points = rng.randrange(whole.points), rng.randrange(60)
    assert crashes.problems(whole, *points) == []
