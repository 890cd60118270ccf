"""What a rule says of a study as a whole, and how views of it are marked by what came out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.tools.outcomes import Outcome
from luthier.tools.records import EventRecord, TrialRecord
from luthier.tools.reviews import (
    KIND,
    LEAST_TRIALS,
    Range,
    Review,
    View,
    by_rule,
    credit,
    marks,
    reviews_in,
    standings,
)
from luthier.tools.spec import StudySpec, parse_spec


def spec(direction: str = "maximize") -> StudySpec:
    return parse_spec(
        {
            "name": "small",
            "objective": {"kind": "callable", "reference": "a:b"},
            "space": {
                "lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
                "kind": {"type": "categorical", "choices": ["a", "b"]},
            },
            "metrics": {"acc": {"direction": direction}},
            "budget": {"trials": 30},
        }
    )


def trial(number: int, value: float, lr: float = 0.01, **changes: Any) -> TrialRecord:
    given: dict[str, Any] = {
        "id": number,
        "number": number,
        "state": Outcome.COMPLETE,
        "reason": "",
        "configuration": {"lr": lr, "kind": "a"},
        "metrics": {"acc": value},
        "source": "gp",
        "created_at": 0.0,
        "finished_at": 1.0,
    }
    return TrialRecord(**given | changes)


def view(low: float = 0.0, high: float = 1.0, **changes: Any) -> View:
    return View(low=low, high=high, **{"text": "so it is", **changes})


def review(trials: int = 4, **changes: Any) -> Review:
    given: dict[str, Any] = {
        "trials": trials,
        "best": 0.5,
        "model": view(),
        "rule": view(),
        "hypothesis": "",
        "risk": "",
        "prompt": "review@1",
    }
    return Review(**given | changes)


@given(st.lists(st.floats(-1e3, 1e3), min_size=LEAST_TRIALS, max_size=40), st.integers(0, 100))
def test_the_rules_outlook_begins_at_the_best_and_goes_on_in_the_right_direction(
    values: list[float], left: int
) -> None:
    trials = [trial(number, value) for number, value in enumerate(values)]
    up, down = (by_rule(spec(d), trials, left) for d in ("maximize", "minimize"))

    assert up.low == max(values) <= up.high
    assert down.low <= min(values) == down.high
    if left == 0:
        assert (up.high, down.low) == (max(values), min(values))


def test_the_rules_outlook_holds_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        values = rng.exponential(size=60)
        trials = [trial(number, float(value)) for number, value in enumerate(values[:30])]
        said = by_rule(spec(), trials, 30)
        held += said.low <= max(values) <= said.high
    assert 0.7 < held / 400 < 0.95


def test_the_rule_names_the_range_of_the_best_quarter_and_no_choice() -> None:
    trials = [trial(n, 1.0 - n / 20, lr=0.01 * 1.1**n if n < 5 else 0.5) for n in range(20)]
    (found,) = by_rule(spec(), trials, 10).ranges

    assert found.parameter == "lr"
    assert found.low < 0.01
    assert 0.0146 < found.high < 0.5


def test_the_rule_names_no_range_that_is_nearly_all() -> None:
    trials = [trial(n, 1.0 - n / 20, lr=(1e-4, 1.0)[n % 2]) for n in range(20)]
    assert by_rule(spec(), trials, 10).ranges == ()


def test_an_interval_is_marked_by_its_width_and_by_what_it_missed() -> None:
    trials = [trial(n, value) for n, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.9])]

    held = marks(view(0.5, 1.0), review(), spec(), trials)
    missed = marks(view(0.5, 0.8), review(), spec(), trials)
    assert (held.covered, missed.covered) == (True, False)
    assert held.interval == pytest.approx(0.5)
    assert missed.interval == pytest.approx(0.3 + 10 * 0.1)


def test_ranges_are_marked_by_the_later_trials_alone() -> None:
    early = [trial(n, 0.99, lr=0.9) for n in range(4)]
    later = [trial(4 + n, 0.5 + n / 100, lr=0.01 if n >= 6 else 0.5) for n in range(8)]
    good = view(ranges=(Range(parameter="lr", low=0.005, high=0.05),))
    bad = view(ranges=(Range(parameter="lr", low=0.4, high=1.0),))

    assert marks(good, review(), spec(), early + later).ranges == pytest.approx(1 - 2 / 8)
    assert marks(bad, review(), spec(), early + later).ranges == pytest.approx(0 - 6 / 8)
    assert marks(view(), review(), spec(), early + later).ranges == 0.0
    assert marks(good, review(), spec(), [*early, *later[:3]]).ranges is None


def test_what_was_worth_repeating_is_marked_by_the_best_mean_of_repeats() -> None:
    trials = [trial(n, 0.5, lr=0.01 + n / 100) for n in range(6)]
    for number, (of, value) in enumerate([(1, 0.4), (1, 0.6), (2, 0.9), (2, 0.7)], start=6):
        again = trials[of].configuration["lr"]
        trials.append(trial(number, value, lr=again, repeat_of=of))

    assert marks(view(repeat=(1,)), review(), spec(), trials).repeat == pytest.approx(0.5)
    assert marks(view(repeat=(1, 2)), review(), spec(), trials).repeat == pytest.approx(0.8)
    assert marks(view(repeat=(3,)), review(), spec(), trials).repeat is None


def reporting(number: int, *values: float, **changes: object) -> TrialRecord:
    """Return a trial with a curve."""
    curve = dict(enumerate(values, start=1))
    return trial(number, values[-1], curves={"acc": curve}, **changes)


def test_running_trials_are_compared_at_the_same_step_by_their_best_so_far() -> None:
    trials = [
        reporting(0, 0.1, 0.5, 0.9),
        reporting(1, 0.2, 0.4, 0.6),
        reporting(2, 0.3, 0.2, state="running"),
        reporting(3, 0.05, state="running"),
        trial(4, 0.5, state="running", curves={}),
    ]
    third, fourth = standings(spec(), trials)

    assert (third.number, third.step, third.value) == (2, 2, 0.2)
    assert (third.beaten, third.others) == (1, 3)  # its best is 0.3, against 0.5, 0.4 and 0.05
    assert (fourth.beaten, fourth.others) == (0, 3)
    complete = [reporting(n, 0.1, 0.5, 0.9) for n in range(10, 16)]
    assert by_rule(spec(), [*trials, *complete], 10).stop == (2, 3)


def test_a_word_to_stop_is_marked_by_what_the_trial_came_to() -> None:
    trials = [trial(n, value) for n, value in enumerate([0.1, 0.2, 0.3, 0.9, 0.05])]
    told = review(running=(3, 4, 5))

    assert marks(view(stop=(4,)), told, spec(), trials).stops == (True, True)
    assert marks(view(stop=(3,)), told, spec(), trials).stops == (False, False)
    assert marks(view(), told, spec(), trials).stops == (True, False)


def test_credit_says_who_was_better_and_nothing_of_what_is_still_to_come() -> None:
    trials = [trial(n, value) for n, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.9, 0.5, 0.6, 0.7])]
    open_one = review(trials=len(trials))
    assert credit(spec(), [open_one], trials) == []

    sharp = review(model=view(0.8, 1.0), rule=view(0.0, 1.0))
    outlook, ranges = credit(spec(), [sharp, open_one], trials)
    assert (outlook.better, ranges.better) == ("model", "")
    assert outlook.model == "0.2, held 1 times"


def test_a_review_comes_out_of_the_ledger_as_it_went_in() -> None:
    given = review(model=view(ranges=(Range(parameter="lr", low=0.1, high=0.2),), repeat=(1, 2)))
    event = EventRecord(1, 0.0, KIND, None, given.model_dump(mode="json"))
    other = EventRecord(2, 0.0, "advice", None, {})
    assert reviews_in([event, other]) == [given]
