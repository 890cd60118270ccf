"""Figures of what was foreseen, and of what repeats say."""

import pytest
from luthier.tools.evidence_plots import OUTLOOKS, REPEATS, outlooks, repeats

from .test_reviews import review, spec, trial, view


def drawn(panel, name):
    """Return the trace of this name."""
    (found,) = [trace for trace in panel.figure.data if trace.name == name]
    return found


def test_outlooks_are_drawn_beside_the_best_so_far_and_counted() -> None:
    trials = [trial(n, value) for n, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.9, 0.5])]
    told = [
        review(trials=2, model=view(0.2, 0.4), rule=view(0.2, 1.0)),
        review(trials=4, model=view(0.4, 0.95), rule=view(0.4, 0.6)),
        review(trials=6),
    ]
    panel = outlooks(spec(), trials, told)

    assert panel.title == OUTLOOKS
    model = drawn(panel, "the language model")
    assert list(model.y) == pytest.approx([0.3, 0.675])
    assert list(model.error_y.array) == pytest.approx([0.1, 0.275])
    assert list(drawn(panel, "best so far").y)[-1] == 0.9
    assert "1 of 2 intervals of the model and 1 of the rule" in panel.note


def test_without_a_review_that_was_followed_there_is_no_outlook() -> None:
    panel = outlooks(spec(), [trial(0, 0.5)], [review(trials=1)])
    assert panel.figure is None
    assert "No review" in panel.note


def test_repeats_are_drawn_with_their_mean_beside_the_lucky_run() -> None:
    trials = [trial(0, 0.9, lr=0.01), trial(1, 0.8, lr=0.02)]
    for number, (of, value) in enumerate([(0, 0.7), (0, 0.8), (0, 0.75), (1, 0.6)], start=2):
        again = trials[of].configuration["lr"]
        trials.append(trial(number, value, lr=again, repeat_of=of, seed=number))
    panel = repeats(spec(), trials)

    assert panel.title == REPEATS
    assert sorted(drawn(panel, "one repeat").x) == [0.6, 0.7, 0.75, 0.8]
    mean = drawn(panel, "mean, 95% interval")
    assert (list(mean.x), list(mean.y)) == ([pytest.approx(0.75)], ["trial 0"])
    assert list(drawn(panel, "the run that it was chosen by").x) == [0.8, 0.9]
    assert panel.note.startswith("Trial 0, within noise:")


def test_without_repeats_it_is_said_how_to_get_them() -> None:
    panel = repeats(spec(), [trial(0, 0.5)])
    assert panel.figure is None
    assert "luthier confirm" in panel.note
