"""What may be said of a best trial, and how often it is wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from luthier.tools.analysis import best_trials
from luthier.tools.claims import Claim, claim
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.repeats import Confirm, plan
from luthier.tools.spec import StudySpec, parse_spec


def spec(direction: str = "maximize", **changes: Any) -> StudySpec:
    data: dict[str, Any] = {
        "name": "study",
        "objective": {"kind": "callable", "reference": "module:function"},
        "space": {"x": {"type": "float", "low": 0, "high": 100}},
        "metrics": {"acc": {"direction": direction}},
    }
    return parse_spec(data | changes)


FRESH = spec()
PLAIN = spec(objective={"kind": "script", "command": ["python", "train.py"]})


def trial(number: int, acc: float, **changes: Any) -> TrialRecord:
    made = TrialRecord(
        id=number + 1,
        number=number,
        state=Outcome.COMPLETE,
        reason="",
        configuration={"x": float(number)},
        metrics={"acc": acc},
        source="random",
        created_at=float(number),
        finished_at=1e9,
    )
    return replace(made, **changes)


def searched(*accuracies: float) -> list[TrialRecord]:
    return [trial(number, acc) for number, acc in enumerate(accuracies)]


def repeated(
    study: StudySpec,
    trials: list[TrialRecord],
    result: Callable[[int, int], float],
    repeats: int = 5,
    which: tuple[int, ...] = (),
) -> list[TrialRecord]:
    """Return the trials with repeats of these, whose results follow from trial and seed."""
    moment = float(len(trials))
    added = [
        trial(
            len(trials) + i,
            result(repeat.of.number, repeat.seed),
            configuration=repeat.configuration,
            repeat_of=repeat.of.number,
            seed=repeat.seed,
            created_at=moment,
        )
        for i, repeat in enumerate(plan(study, trials, Confirm(list(which), repeats)))
    ]
    return trials + added


def said(study: StudySpec, trials: list[TrialRecord]) -> Claim:
    found = claim(study, trials)
    assert found is not None
    return found


def noise(scale: float, seed: int = 0) -> Callable[[int, int], float]:
    """Return noise that is another for every trial and seed."""
    return lambda number, repeat: scale * np.random.default_rng([seed, number, repeat]).normal()


def test_without_repeats_it_is_a_single_run() -> None:
    found = said(FRESH, searched(0.9, 0.934, 0.8))
    assert (found.trial, found.status, found.quote) == (1, "single run", "0.934, single run")
    assert found.sentence == "A single run; no statistical claim is made."
    assert (found.challenger, found.difference, found.interval) == (None, None, None)


def test_a_clear_winner_is_confirmed_by_repeats_on_fresh_seeds() -> None:
    wobble = noise(0.004)
    trials = repeated(
        FRESH, searched(0.9, 0.934, 0.8), lambda n, s: 0.93 - 0.03 * (n == 0) + wobble(n, s)
    )
    found = said(FRESH, trials)
    assert (found.trial, found.status, found.challenger, found.runs) == (1, "confirmed", 0, 5)
    assert found.quote == "0.9305 ± 0.0045 (95%, 5 runs), confirmed better than trial 0"
    assert found.sentence.startswith(
        "0.9305 ± 0.0045 (95%, 5 runs on fresh seeds), confirmed better"
    )
    assert "(97.5% interval 0.0" in found.sentence
    assert found.sentence.endswith("The run that it was chosen by (0.934) is not counted.")


def test_smaller_is_better_where_the_metric_says_so() -> None:
    study = spec("minimize")
    wobble = noise(0.004)
    trials = repeated(
        study, searched(0.3, 0.2, 0.5), lambda n, s: 0.2 + 0.1 * (n == 0) + wobble(n, s)
    )
    found = said(study, trials)
    assert (found.trial, found.status) == (1, "confirmed")
    assert found.difference is not None
    assert found.difference.high < 0


def test_a_difference_that_noise_can_make_is_within_noise() -> None:
    wobble = noise(0.01)
    trials = repeated(FRESH, searched(0.93, 0.934, 0.8), lambda n, s: 0.93 + wobble(n, s))
    found = said(FRESH, trials)
    assert found.status == "within noise"
    assert "within noise of trial" in found.quote


def test_the_run_that_it_was_chosen_by_is_no_evidence() -> None:
    trials = repeated(FRESH, searched(0.9, 0.99), lambda n, s: 0.9 + 0.001 * (s % 3) + 0.02 * n)
    assert said(FRESH, trials).estimate == pytest.approx(0.9212)
    assert said(FRESH, trials).chosen_at == 0.99


def test_a_runner_up_that_does_better_in_the_repeats_takes_the_lead() -> None:
    wobble = noise(0.002)
    trials = repeated(FRESH, searched(0.93, 0.99), lambda n, s: (0.93, 0.8)[n] + wobble(n, s))
    found = said(FRESH, trials)
    assert (found.trial, found.status, found.challenger) == (0, "confirmed", 1)
    assert [t.number for t in best_trials(FRESH, trials)] == [0]


def test_a_lucky_repeat_is_never_the_best() -> None:
    trials = repeated(FRESH, searched(0.9, 0.93), lambda n, s: 0.99 if s == 2 else 0.9 + 0.01 * n)
    assert [t.number for t in best_trials(FRESH, trials)] == [1]


@pytest.mark.parametrize(("repeats", "status"), [(1, "single run"), (2, "within noise")])
def test_too_few_repeats_confirm_nothing(repeats: int, status: str) -> None:
    wobble = noise(1e-6)
    trials = repeated(FRESH, searched(0.1, 0.9), lambda n, s: 0.1 + 0.8 * n + wobble(n, s), repeats)
    found = said(FRESH, trials)
    assert (found.status, found.difference, found.runs) == (status, None, repeats)


def test_plain_repeats_are_called_so_and_compared_without_pairing_them() -> None:
    wobble = noise(0.004)
    trials = repeated(PLAIN, searched(0.9, 0.934), lambda n, s: 0.9 + 0.03 * n + wobble(n, s))
    found = said(PLAIN, trials)
    assert (found.status, found.seeds) == ("confirmed", "plain")
    assert "No seed is known to reach the script, so they are plain repeats." in found.sentence
    # What all runs on one seed share hides nothing from a paired comparison.
    shared = noise(0.5)
    shift = [t if t.seed is None else trial_shifted(t, shared(99, t.seed)) for t in trials]
    assert said(FRESH, shift).status == "confirmed"
    assert said(PLAIN, shift).status == "within noise"


def trial_shifted(repeat: TrialRecord, by: float) -> TrialRecord:
    return replace(repeat, metrics={"acc": repeat.metrics["acc"] + by})


def test_repeats_that_are_exactly_alike_are_a_single_run() -> None:
    found = said(PLAIN, repeated(PLAIN, searched(0.9, 0.934), lambda n, s: (0.9, 0.934)[n]))
    assert (found.status, found.quote) == ("single run", "0.934, single run")
    assert found.sentence.endswith(
        "All repeats are exactly alike, so they tell nothing about other seeds."
    )


def clear() -> list[TrialRecord]:
    wobble = noise(0.002)
    return repeated(FRESH, searched(0.9, 0.934), lambda n, s: 0.9 + 0.03 * n + wobble(n, s))


def test_nothing_is_confirmed_before_the_last_repeat_has_ended() -> None:
    trials = clear()
    trials[-1] = replace(trials[-1], state="running", metrics={}, finished_at=None)
    found = said(FRESH, trials)
    assert (found.status, found.doubt) == ("within noise", "1 repeat is still to come.")


def test_a_best_trial_that_fails_on_other_seeds_is_not_confirmed() -> None:
    trials = repeated(FRESH, searched(0.9, 0.934, 0.1), noise(0.002), which=(1,))
    trials[5] = replace(trials[5], state=Outcome.DIVERGED, metrics={})
    found = said(FRESH, trials)
    assert found.doubt == "1 of 5 repeats failed: trial 5 ended as diverged."
    assert (found.status, found.quote.split(", ")[-1]) == ("within noise", "not compared")


def test_one_that_breaks_a_limit_on_other_seeds_is_not_confirmed() -> None:
    study = spec(
        metrics={"acc": {"direction": "maximize"}, "ms": {"direction": "watch"}}, limits=["ms <= 9"]
    )
    trials = [replace(t, metrics=t.metrics | {"ms": 5.0}) for t in clear()]
    assert said(study, trials).status == "confirmed"
    late = next(t for t in trials if t.repeat_of == 1)
    trials[late.number] = replace(late, metrics=late.metrics | {"ms": 10.0})
    found = said(study, trials)
    assert found.status == "within noise"
    assert found.doubt == f"1 of 5 repeats failed: trial {late.number} broke a limit."


def test_one_that_fails_on_most_seeds_gives_way_to_one_that_works() -> None:
    trials = repeated(FRESH, searched(0.9, 0.934), noise(0.002))
    for repeat in [t for t in trials if t.repeat_of == 1][:3]:
        trials[repeat.number] = replace(repeat, state=Outcome.DIVERGED, metrics={})
    assert [t.number for t in best_trials(FRESH, trials)] == [0]


def test_repeats_lost_to_the_machine_speak_for_nothing() -> None:
    trials = clear()
    trials[-1] = replace(trials[-1], state=Outcome.INFRASTRUCTURE, metrics={})
    assert said(FRESH, trials).status == "confirmed"


def test_repeats_of_a_configuration_that_the_trial_has_no_more_are_left_behind() -> None:
    trials = clear()
    trials[1] = replace(trials[1], configuration={"x": 50.0})
    assert said(FRESH, trials).quote == "0.934, single run"


def test_nothing_is_claimed_of_several_objectives_or_of_nothing() -> None:
    two = spec(metrics={"acc": {"direction": "maximize"}, "ms": {"direction": "minimize"}})
    assert claim(two, [trial(0, 0.9, metrics={"acc": 0.9, "ms": 1.0})]) is None
    assert claim(FRESH, []) is None


@pytest.mark.parametrize(
    ("estimate", "interval", "text"),
    [
        (0.93149, (0.92749, 0.93549), "0.9315 ± 0.0040"),
        (1234.5, (1211.5, 1257.5), "1234 ± 23"),
        (1.5e9, (1.2e9, 1.8e9), "1.5e+09 ± 3e+08"),
        (2e-9, (1e-9, 3e-9), "2e-09 ± 1e-09"),
        (0.5, (0.5, 0.5), "0.5"),
    ],
)
def test_an_estimate_has_the_digits_that_its_interval_allows(
    estimate: float, interval: tuple[float, float], text: str
) -> None:
    found = replace(said(FRESH, searched(0.5)), estimate=estimate, interval=interval)
    assert found.value == text


STUDIES = 600


def anew(rng: np.random.Generator, apart: float = 0.0) -> Callable[[int, int], float]:
    """Return noise of one standard deviation around trials that lie so far apart."""
    return lambda number, _: apart * number + rng.standard_normal()


@pytest.mark.parametrize("study", [FRESH, PLAIN], ids=["fresh", "plain"])
@pytest.mark.parametrize("repeats", [3, 5])
@pytest.mark.parametrize("tails", ["normal", "heavy"])
def test_where_all_are_alike_one_in_twenty_is_confirmed_at_most(
    study: StudySpec, repeats: int, tails: str
) -> None:
    """Somebody asks for more repeats up to three times, until something is confirmed."""
    wrong = sum(
        any(
            said(study, trials).status == "confirmed"
            for trials in asking_again(study, repeats, tails, np.random.default_rng([7, index]))
        )
        for index in range(STUDIES)
    )
    assert wrong / STUDIES <= 0.05


def asking_again(study: StudySpec, repeats: int, tails: str, rng: np.random.Generator) -> Any:
    draw = rng.standard_normal if tails == "normal" else lambda: rng.standard_t(3)
    trials = searched(*(draw() for _ in range(6)))
    for round_ in (1, 2, 3):
        trials = repeated(study, trials, lambda *_: draw(), repeats * round_)
        yield trials


def test_repeating_many_does_not_find_a_difference_where_there_is_none() -> None:
    wrong = 0
    for index in range(STUDIES):
        rng = np.random.default_rng([11, index])
        trials = searched(*rng.standard_normal(6))
        trials = repeated(FRESH, trials, anew(rng), which=(0, 1, 2, 3, 4, 5))
        wrong += said(FRESH, trials).status == "confirmed"
    assert wrong / STUDIES <= 0.05


def test_a_difference_of_four_standard_deviations_is_found_by_five_repeats() -> None:
    found = 0
    for index in range(100):
        rng = np.random.default_rng([13, index])
        trials = searched(0.0, 4.0)
        trials = repeated(FRESH, trials, anew(rng, apart=4.0))
        found += said(FRESH, trials).status == "confirmed"
    assert found >= 90
