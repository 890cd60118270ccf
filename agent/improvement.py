"""A sampler that tries the point of the highest expected improvement.

Expected improvement (in logarithms; Ament et al., arXiv:2310.20708) on a Gaussian process, times
the chance that a trial does not fail, times a prior that fades (Hvarfner et al., arXiv:2204.11051)
and has a floor, so that a prior that is wrong cannot rule anything out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import erfcx, log_ndtr, logsumexp

from ..tools.optuna_bridge import FAILED
from ..tools.space import Categorical, Configuration, SearchSpace
from ..tools.textbook import Prior
from .cube import Cube, Points
from .surrogate import Array, Surrogate

_SPREAD = 512
_PARENTS = 8
_CHILDREN = 20
_REACHES = (0.3, 0.2, 0.08, 0.03)
_PRIOR_TRIALS = 5.0
"""The prior weighs as much as in piBO with a budget of ten times as many trials."""
_PRIOR_FLOOR = 0.1
_PRIOR_MOST = 50.0
_PRIOR_ASKED = 16
"""How many points of a round the prior is asked about: the best ones without it."""

_ENDED = (TrialState.COMPLETE, TrialState.FAIL)

Score = Callable[[Points], Array]
"""What makes larger better, a number a point."""


class ImprovementSampler(RandomSampler):
    """Bayesian optimisation of one objective.

    Parameters that the space does not have are drawn at random.
    """

    def __init__(self, space: SearchSpace, *, seed: int, prior: Prior | None = None) -> None:
        """Set the sampler up for one trial.

        Args:
            space: The search space.
            seed: Seed of all that it draws.
            prior: What is known about the parameters; None to heed nothing.
        """
        super().__init__(seed=seed)
        self._space = space
        self._cube = Cube(space)
        self._generator = np.random.default_rng(seed)
        self._prior = prior if prior is not None and prior.knows else None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return all parameters of the space."""
        return self._space.to_optuna()

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values that promise most."""
        trials = [other for other in study.get_trials(deepcopy=False) if self._fits(other)]
        history = _History.of(trials, self._cube, study.direction)
        configuration = self._best(history)
        return {name: configuration[name] for name in search_space if name in configuration}

    def _fits(self, trial: FrozenTrial) -> bool:
        """Tell whether a trial has all parameters, and choices that the space has too."""
        return all(
            name in trial.params
            and (not isinstance(own, Categorical) or trial.params[name] in own.choices)
            for name, own in self._space.walk(trial.params)
        )

    def _best(self, history: _History) -> Configuration:
        """Return the most promising configuration, one that was not tried if any is left.

        Points all over the space are looked at, neighbours of the best trials, and then neighbours
        of the most promising points so far, ever nearer ones.
        """
        score = self._score(history)
        points = self._cube.spread(_SPREAD, self._generator)
        scores = score(points)
        parents = history.seen[np.argsort(history.losses, kind="stable")[:_PARENTS]]
        for reach in _REACHES:
            near = self._cube.around(parents, _CHILDREN, reach, self._generator)
            points, scores = np.vstack([points, near]), np.append(scores, score(near))
            parents = points[np.argsort(-scores, kind="stable")[:_PARENTS]]
        configuration: Configuration = {}
        for place in np.argsort(-scores, kind="stable"):
            configuration = self._cube.configuration(points[place])
            if configuration not in history.tried:
                break
        return configuration

    def _score(self, history: _History) -> Score:
        improvement = _improvement(history, self._cube, self._generator)
        chance = _chance(history, self._cube, self._generator)

        def score(points: Points) -> Array:
            if len(points) == 0:
                return np.empty(0)
            scores = improvement(points) + chance(points)
            if self._prior is not None:
                scores = self._with_prior(self._prior, points, scores, len(history.tried))
            return scores

        return score

    def _with_prior(self, prior: Prior, points: Points, scores: Array, trials: int) -> Array:
        """Add what the prior says to the best scores; no others can become the best."""
        asked = np.argsort(-scores, kind="stable")[:_PRIOR_ASKED]
        known = [prior.log_density(self._cube.configuration(points[place])) for place in asked]
        density = np.exp(np.minimum(known, _PRIOR_MOST))
        weighed = np.full(len(scores), -np.inf)
        belief = np.log((1 - _PRIOR_FLOOR) * density + _PRIOR_FLOOR)
        weighed[asked] = scores[asked] + _PRIOR_TRIALS / max(trials, 1) * belief
        return weighed


@dataclass(frozen=True)
class _History:
    """What the trials of a study tell."""

    seen: Points
    """Where losses were seen."""
    losses: Array
    limits: Sequence[tuple[Points, Array]]
    """Of each constraint that was ever broken: where, and by how much."""
    rivals: Points
    """What there is to improve on: where nothing was broken, or where a trial runs."""
    pending: Points
    tried: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial], cube: Cube, direction: StudyDirection) -> _History:
        def points(chosen: Iterable[FrozenTrial]) -> Points:
            return cube.points([trial.params for trial in chosen])

        pending = [t for t in trials if t.state is TrialState.RUNNING]
        ended = [(t, _violations(t)) for t in trials if t.state in _ENDED]
        # A failure counts as the worst value too: the chance alone is tried to the edge.
        valued = [t for t, _ in ended if t.state is TrialState.COMPLETE]
        failed = [t for t, _ in ended if t.state is TrialState.FAIL and valued]
        sound = [t for t, broken in ended if max(broken.values()) <= 0]
        losses = np.array([t.value for t in valued], dtype=np.float64)
        losses = _finite(losses if direction is StudyDirection.MINIMIZE else -losses)
        losses = np.append(losses, np.full(len(failed), losses.max(initial=-np.inf)))
        limits = []
        for name in sorted({name for _, broken in ended for name in broken}):
            told = [(t, broken[name]) for t, broken in ended if name in broken]
            if any(violation > 0 for _, violation in told):
                limits.append((points(t for t, _ in told), np.array([v for _, v in told])))
        return cls(
            seen=points([*valued, *failed]),
            losses=losses,
            limits=limits,
            rivals=points([*sound, *pending]),
            pending=points(pending),
            tried=[trial.params for trial in trials],
        )


def _violations(trial: FrozenTrial) -> dict[str, float]:
    """Return by how much a trial broke each constraint; to have failed is one."""
    if trial.state is TrialState.FAIL:
        return {FAILED: 1.0}
    return {FAILED: -1.0, **trial.constraints}


def _improvement(history: _History, cube: Cube, rng: np.random.Generator) -> Score:
    """Return the logarithm of the improvement to expect on what nothing speaks against."""
    if len(history.seen) == 0 or len(history.rivals) == 0:
        return lambda points: np.zeros(len(points))
    surrogate = Surrogate(
        history.seen, history.losses, cube.categorical, rng, pending=history.pending
    )
    # What is expected of the best trial, not what it showed: that may have been luck.
    best = surrogate.predict(history.rivals)[0].min(axis=1, keepdims=True)

    def improvement(points: Points) -> Array:
        means, deviations = surrogate.predict(points)
        logs = log_improvement((best - means) / deviations) + np.log(deviations)
        return np.asarray(logsumexp(logs, axis=0) - np.log(len(logs)))

    return improvement


def _chance(history: _History, cube: Cube, rng: np.random.Generator) -> Score:
    """Return the logarithm of the chance that no constraint is broken."""
    limits = []
    for seen, violations in history.limits:
        surrogate = Surrogate(seen, violations, cube.categorical, rng, warp=False)
        limits.append((surrogate, -violations.mean() / (violations.std() or 1.0)))

    def chance(points: Points) -> Array:
        logs = np.zeros(len(points))
        for surrogate, allowed in limits:
            means, deviations = surrogate.predict(points)
            # The mean of logarithms: a kernel that takes failures for noise is not to decide.
            logs += log_ndtr((allowed - means) / deviations).mean(axis=0)
        return logs

    return chance


def log_improvement(z: Array) -> Array:
    """Return log E[max(0, z + N(0, 1))], also far below 0."""
    high, low = np.maximum(z, -1), np.minimum(z, -1)
    near = np.log(high * np.exp(log_ndtr(high)) + np.exp(_log_density(high)))
    # 1 + z * cdf / density cancels to 1 / z^2 where z is very low.
    rest = np.where(low > -1e3, 1 + low * np.sqrt(np.pi / 2) * erfcx(-low / np.sqrt(2)), low**-2)
    return np.where(z > -1, near, _log_density(low) + np.log(rest))


def _log_density(z: Array) -> Array:
    return np.asarray(-0.5 * z * z - 0.5 * np.log(2 * np.pi))


def _finite(losses: Array) -> Array:
    """Return losses with infinite ones moved to the last finite one."""
    finite = losses[np.isfinite(losses)]
    return np.clip(losses, finite.min(), finite.max()) if len(finite) else np.zeros(len(losses))
