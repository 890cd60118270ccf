"""The Gaussian process: what it predicts of functions that are known."""

import numpy as np
import pytest
from luthier.agent.surrogate import Surrogate
from scipy.stats import spearmanr


def points(number, axes=2, seed=0):
    return np.random.default_rng(seed).random((number, axes))


def surrogate(seen, losses, categorical=(False, False), **options):
    rng = np.random.default_rng(1)
    return Surrogate(seen, losses, np.array(categorical), rng, **options)


def bowl(at):
    return ((at - 0.4) ** 2).sum(axis=1)


def rank_correlation(seen, losses):
    fresh = points(200, seed=9)
    means = surrogate(seen, losses).predict(fresh)[0].mean(axis=0)
    return spearmanr(means, bowl(fresh)).statistic


def test_a_smooth_function_is_foretold_from_few_points():
    seen = points(20)
    assert rank_correlation(seen, bowl(seen)) > 0.95


@pytest.mark.parametrize("ruined", [1e6, np.finfo(float).max / 10])
def test_losses_of_many_magnitudes_are_seen_by_their_logarithm(ruined):
    seen = points(25)
    losses = np.exp(20 * bowl(seen))
    losses[np.argmax(losses)] = ruined
    assert rank_correlation(seen, losses) > 0.95


def test_nothing_is_known_far_from_what_was_seen():
    seen = points(12) * 0.3
    _, deviations = surrogate(seen, bowl(seen)).predict(np.array([[0.15, 0.15], [1.0, 1.0]]))
    assert (deviations[:, 1] > 2 * deviations[:, 0]).all()


def test_a_pending_point_is_not_doubtful_any_more():
    seen, pending = points(6), np.array([[0.9, 0.1]])
    before = surrogate(seen, bowl(seen)).predict(pending)
    after = surrogate(seen, bowl(seen), pending=pending).predict(pending)
    assert (after[1] < before[1]).all()
    assert after[0] == pytest.approx(before[0], abs=0.05)


def test_choices_are_all_equally_far_apart():
    seen = np.array([[1 / 6, 0.5], [1 / 6, 0.2], [3 / 6, 0.5]])
    known = surrogate(seen, np.array([0.0, 0.1, 1.0]), (True, False))
    _, deviations = known.predict(np.array([[3 / 6, 0.9], [1 / 6, 0.9]]))
    third, other = known.predict(np.array([[5 / 6, 0.2], [4 / 6, 0.2]]))
    assert third[:, 0] == pytest.approx(third[:, 1])
    assert other[:, 0] == pytest.approx(other[:, 1])
    assert np.isfinite(deviations).all()


@pytest.mark.parametrize("losses", [[0.5], [1.0, 1.0], [2.0, 2.0, 2.0, 1.0], [0.0, 0.0, 0.0, 9.0]])
def test_hardly_any_losses_or_the_same_ones_are_no_trouble(losses):
    seen = points(len(losses))
    means, deviations = surrogate(seen, np.array(losses)).predict(points(5, seed=2))
    assert np.isfinite(means).all()
    assert (deviations > 0).all()


def test_the_same_point_seen_again_and_again_is_no_trouble():
    seen = np.repeat(points(3), 20, axis=0)
    noisy = bowl(seen) + np.random.default_rng(2).normal(scale=1e-3, size=60)
    means, _ = surrogate(seen, noisy).predict(seen[::20])
    order = np.argsort(bowl(seen[::20]))
    assert (np.diff(means.mean(axis=0)[order]) > 0).all()
