"""What the loop keeps of a study's trials in memory."""

from dataclasses import replace
from typing import Any

from luthier.agent.history import History
from luthier.tools.outcomes import Outcome
from luthier.tools.records import AttemptRecord, TrialRecord


def attempt(number: int, outcome: Outcome | None = None, **rest: Any) -> AttemptRecord:
    ended: dict[str, Any] = {} if outcome is None else {"finished_at": 10.0, "seconds": 5.0}
    made = AttemptRecord(
        id=number, number=number, slot="lab:0", started_at=5.0, outcome=outcome, **ended
    )
    return replace(made, **rest)


def trial(number: int, state: Any = "running", *attempts: AttemptRecord, **rest: Any) -> Any:
    made = TrialRecord(
        id=number + 1,
        number=number,
        state=state,
        reason="",
        configuration={"x": 0.5},
        metrics={},
        source="random",
        created_at=0.0,
        finished_at=None,
        attempts=attempts,
        curves={"loss": {1: 0.5}},
    )
    return replace(made, **rest)


COMPLETE, LOST = Outcome.COMPLETE, Outcome.INFRASTRUCTURE


def test_the_trials_that_have_ended_are_counted_also_when_one_runs_again() -> None:
    history = History([trial(0, COMPLETE), trial(1), trial(2, "waiting")], 0.0)
    assert history.ended == 1
    history.put(trial(1, COMPLETE))
    assert history.ended == 2
    history.put(trial(0, "waiting"))
    assert history.ended == 1


def test_a_trial_that_waits_is_found_until_it_runs_again() -> None:
    history = History([], 0.0)
    for number in range(3):
        history.add(trial(number))
    history.settle(trial(2, "waiting", attempt(3, LOST)))
    history.settle(trial(0, "waiting", attempt(1, LOST)))
    assert [waiting.number for waiting in history.waiting()] == [0, 2]
    history.put(trial(0))
    assert [waiting.number for waiting in history.waiting()] == [2]


def test_what_ended_trials_reported_and_said_is_left_to_the_ledger() -> None:
    last = attempt(1, Outcome.CRASHED, error_tail="Traceback")
    history = History([trial(0, Outcome.CRASHED, last)], 5.0)
    history.add(trial(1))
    history.settle(trial(1, Outcome.CRASHED, last))
    for kept in history.trials:
        assert (kept.curves, kept.attempts[-1].error_tail) == (None, "")
    assert history.recent[-1].attempt.error_tail == ""


def test_a_trial_that_waits_keeps_its_curve_since_it_goes_on_from_there() -> None:
    history = History([trial(0)], 0.0)
    history.settle(trial(0, "waiting", attempt(1, LOST)))
    assert history.trials[0].curves == {"loss": {1: 0.5}}


def test_device_time_is_summed_over_attempts() -> None:
    history = History([trial(0)], 100.0)
    history.settle(trial(0, "waiting", attempt(1, LOST)))
    history.settle(trial(0, COMPLETE, attempt(1, LOST), attempt(2, COMPLETE, seconds=7.0)))
    assert history.device_seconds == 112.0
    assert history.expected_seconds == 12.0


def test_imported_trials_count_for_nothing_but_experience() -> None:
    imported = trial(0, COMPLETE, attempt(1, COMPLETE, seconds=900.0), imported=True)
    history = History([imported, trial(1)], 0.0)
    assert (len(history.trials), history.counted) == (2, 1)
    assert (history.longest, history.expected_seconds, list(history.recent)) == (0.0, None, [])


def test_the_longest_complete_trial_is_measured_by_its_last_attempt() -> None:
    history = History([trial(0), trial(1)], 0.0)
    history.settle(trial(0, Outcome.TIMED_OUT, attempt(1, Outcome.TIMED_OUT, seconds=800.0)))
    assert history.longest == 0.0
    both = (attempt(2, LOST, seconds=500.0), attempt(3, COMPLETE, seconds=60.0))
    history.settle(trial(1, COMPLETE, *both))
    assert history.longest == 60.0


def test_who_takes_over_remembers_the_same_ends_in_the_same_order() -> None:
    ends = [
        trial(0, COMPLETE, attempt(1, LOST, finished_at=4.0), attempt(4, COMPLETE)),
        trial(1, COMPLETE, attempt(2, COMPLETE, finished_at=9.0)),
        trial(2, "running", attempt(3, LOST, finished_at=9.0), attempt(5)),
    ]
    taken_over = History(ends, 0.0)
    assert [ended.attempt.id for ended in taken_over.recent] == [1, 2, 3, 4]
    history = History([trial(0), trial(1), trial(2)], 0.0)
    history.settle(trial(0, "waiting", ends[0].attempts[0]))
    history.settle(ends[1])
    history.settle(trial(2, "waiting", ends[2].attempts[0]))
    history.settle(ends[0])
    assert list(history.recent) == list(taken_over.recent)


def test_an_attempt_that_never_began_says_nothing_of_its_device() -> None:
    never = attempt(1, LOST, seconds=0.0)
    assert list(History([trial(0, "waiting", never)], 0.0).recent) == []
    history = History([trial(0)], 0.0)
    history.settle(trial(0, "waiting", never))
    assert list(history.recent) == []
    assert [waiting.number for waiting in history.waiting()] == [0]
