"""The classical optimiser: which sampler answers when.

On spaces of up to about twenty parameters a Gaussian process, of our own for one objective
(`improvement`) and Optuna's GPSampler for several; on purely categorical and wide ones, and on
conditional ones with several objectives, Optuna's TPESampler (multivariate, constant liar;
Watanabe, arXiv:2304.11127). The choice follows
measurements on real tables of hyperparameters (`docs/log.md`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from ..tools.optuna_bridge import rebuild_for_sampling
from ..tools.quiet import quiet
from ..tools.records import Decision, TrialRecord
from ..tools.space import Categorical, Configuration, Float, Parameter, SearchSpace
from ..tools.spec import StudySpec
from ..tools.textbook import prior_of
from .textbook_start import TextbookSampler, next_of_textbook, reason_of_textbook

Kind = Literal["auto", "gp", "tpe", "random", "sobol"]

KINDS = frozenset({"textbook", "sobol", "gp", "tpe", "random"})
"""The sources of trials that it proposed."""

_GP_MOST_PARAMETERS = 20
_GP_MOST_TRIALS = 250
_TPE_EVERY = 3
"""Among branches the process alone stays too long in one; so TPE has every third trial."""
_DRAWS = 12


@dataclass(frozen=True)
class Proposal:
    """A configuration to try, and why."""

    configuration: Configuration
    decision: Decision
    is_provisional: bool = False
    """Whether a better one may come soon, that the language model is being asked for."""


def start_up_trials(spec: StudySpec) -> int:
    """Return how many trials are spread over the space before a model is trusted."""
    if spec.sampler.start_up_trials is not None:
        return spec.sampler.start_up_trials
    return min(10, max(4, (spec.budget.trials or 50) // 8))


class ClassicalSampler(BaseSampler):
    """Textbook and Sobol points first, then a Gaussian process or TPE, chosen by the space.

    It can be passed to `optuna.create_study`. What it draws depends only on the seed, the trial's
    number and the study's history, so a study that is resumed goes on as it would have.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        start_up: int = 5,
        kind: Kind = "auto",
        draw: int = 0,
        skipped: int = 0,
        prior: Literal["textbook", "none"] = "textbook",
    ) -> None:
        """Set the sampler up.

        Args:
            space: The search space; Sobol points need to know it ahead.
            seed: Seed of all that it draws.
            start_up: Number of Sobol points before a model answers, >= 1.
            kind: `auto`, or always the same one.
            draw: Another number gives another draw for the same trial.
            skipped: Trials that came before but are not in the study.
            prior: `textbook` begins with what is known about the parameters' names, and heeds it
                less and less later on, unless `kind` is `random` or `sobol`.
        """
        self._space = space
        self._seed = seed
        self._start_up = start_up
        self._kind = kind
        self._draw = draw
        self._skipped = skipped
        self._prior = prior
        self._inner: dict[int, tuple[str, BaseSampler]] = {}

    def source(self, study: optuna.Study, number: int) -> str:
        """Return which of its samplers answers for trial `number`."""
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if self._kind != "auto":
            kind: str = self._kind
        elif self._is_categorical() or (self._space.is_conditional and len(study.directions) > 1):
            kind = "tpe"
        elif len(self._space.parameters) > _GP_MOST_PARAMETERS or len(finished) > _GP_MOST_TRIALS:
            kind = "tpe"
        elif self._space.is_conditional and (number + self._skipped) % _TPE_EVERY == 0:
            kind = "tpe"
        else:
            kind = "gp"
        if kind in ("gp", "tpe") and self._from_textbook(study, number) is not None:
            return "textbook"
        if kind in ("gp", "tpe") and len(finished) < self._start_up:
            return "sobol"
        return kind

    def _from_textbook(self, study: optuna.Study, number: int) -> Configuration | None:
        if self._prior == "none":
            return None
        return next_of_textbook(
            self._space,
            study,
            number + self._skipped,
            seed=self._seed,
            start_up=self._start_up,
            draw=self._draw,
        )

    def _is_categorical(self) -> bool:
        return all(isinstance(p, Categorical) for p in self._space.parameters.values())

    def _sampler(self, study: optuna.Study, trial: FrozenTrial) -> tuple[str, BaseSampler]:
        if trial.number not in self._inner:
            source = self.source(study, trial.number)
            seed = self._seed_of(trial.number + self._skipped)
            match source:
                case "gp" if len(study.directions) == 1:
                    from .improvement import ImprovementSampler

                    prior = prior_of(self._space) if self._prior == "textbook" else None
                    sampler: BaseSampler = ImprovementSampler(self._space, seed=seed, prior=prior)
                case "gp":
                    fallback = TPESampler(seed=seed, multivariate=True, n_startup_trials=0)
                    sampler = GPSampler(
                        seed=seed,
                        n_startup_trials=0,
                        independent_sampler=fallback,
                        warn_independent_sampling=False,
                    )
                case "tpe":
                    sampler = TPESampler(
                        seed=seed,
                        n_startup_trials=0,
                        multivariate=True,
                        group=self._space.is_conditional,
                        constant_liar=True,
                    )
                case "textbook":
                    # Another thread may just have taken the last one.
                    configuration = self._from_textbook(study, trial.number) or {}
                    sampler = TextbookSampler(self._space, configuration, seed=seed)
                case _:
                    sampler = RandomSampler(seed=seed)
            self._inner = {trial.number: (source, sampler)}
        return self._inner[trial.number]

    def _seed_of(self, number: int) -> int:
        digest = hashlib.sha256(f"{self._seed}/{number}/{self._draw}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together."""
        source, sampler = self._sampler(study, trial)
        if source == "sobol":
            return self._space.to_optuna()
        return sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw these parameters together."""
        source, sampler = self._sampler(study, trial)
        if source == "sobol":
            parameters = self._space.parameters.items()
            index = trial.number + self._skipped
            point = _sobol_point(len(parameters), self._seed, index, self._draw)
            return {
                name: parameter.from_unit(unit)
                for (name, parameter), unit in zip(parameters, point, strict=True)
                if name in search_space  # a caller may have fixed the others
            }
        return sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter by itself."""
        _, sampler = self._sampler(study, trial)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def _sobol_point(dimensions: int, seed: int, index: int, draw: int) -> list[float]:
    from scipy.stats import qmc

    engine = qmc.Sobol(dimensions, scramble=True, rng=seed + 7919 * draw)
    if index > 0:
        engine.fast_forward(index)
    return [float(u) for u in engine.random(1)[0]]


def propose(spec: StudySpec, trials: Sequence[TrialRecord], *, others: int = 0) -> Proposal:
    """Choose the next configuration of a study.

    What a person wants tried comes first, then the default configuration, where there is one. A
    draw that breaks a constraint of the space, or that has been tried already, is drawn again, at
    last at random.

    Args:
        spec: The study's spec.
        trials: Its trials so far, by number, running ones included.
        others: How many of them somebody else proposed, so that the sequence of textbook and Sobol
            points goes on as if they were not there.
    """
    begun = time.perf_counter()
    configuration, source, reason = _choose(spec, trials, others)
    decision = Decision(source=source, reason=reason, seconds=time.perf_counter() - begun)
    return Proposal(configuration, decision)


def propose_at_random(spec: StudySpec, trials: Sequence[TrialRecord]) -> Proposal:
    """Choose a configuration at once, without any model."""
    configuration = _random(spec, trials)
    return Proposal(configuration, Decision(source="random", reason=_reason("random", 0)))


def _is_tried(configuration: Configuration, trials: Sequence[TrialRecord]) -> bool:
    # Asked for every proposal of a study of thousands of trials, so nothing is made for it.
    for trial in trials:
        own = trial.configuration
        if own == configuration:
            return True
        for attempt in trial.attempts:
            if attempt.configuration is not own and attempt.configuration == configuration:
                return True
    return False


def _choose(
    spec: StudySpec, trials: Sequence[TrialRecord], others: int
) -> tuple[Configuration, str, str]:
    space = spec.search_space
    for wanted in spec.first_configurations:
        if not _is_tried(wanted, trials):
            return wanted, "person", "wanted first, says the spec"
    default = space.default()
    if default is not None and not _is_tried(default, trials):
        return default, "default", "the defaults, to compare with"
    with quiet():
        return _draw_new(spec, trials, others)


def _draw_new(
    spec: StudySpec, trials: Sequence[TrialRecord], others: int
) -> tuple[Configuration, str, str]:
    space = spec.search_space
    kind: Kind = spec.sampler.kind
    if kind == "random":  # what does not look back need not be shown thousands of trials
        return _random(spec, trials), "random", _reason("random", 0)
    study = rebuild_for_sampling(spec, trials)
    refused = 0
    for draw in range(_DRAWS):
        # A Gaussian process has one best point; after two refusals ask another.
        asked = "tpe" if draw >= 2 and kind in ("auto", "gp") else kind
        drawn, source = _draw(spec, study, len(trials) - others, asked, draw)
        configuration = space.clip(drawn)  # Optuna's 0.1 + 2 * 0.1 is not 0.3, and looks untried
        if space.satisfies_constraints(configuration) and not _is_tried(configuration, trials):
            known = source == "textbook"
            reason = reason_of_textbook(space) if known else _reason(source, refused)
            return configuration, source, reason
        refused += 1
    reason = f"{_DRAWS} draws broke a constraint or were tried before"
    return _random(spec, trials), "random", reason


def _draw(
    spec: StudySpec, study: optuna.Study, number: int, kind: Kind, draw: int
) -> tuple[Configuration, str]:
    pending = study.ask()
    sampler = ClassicalSampler(
        spec.search_space,
        seed=spec.seed,
        start_up=start_up_trials(spec),
        kind=kind,
        draw=draw,
        skipped=number - pending.number,
        prior=spec.sampler.prior,
    )
    frozen = study.get_trials(deepcopy=False)[pending.number]
    try:
        source = sampler.source(study, frozen.number)
        relative = sampler.infer_relative_search_space(study, frozen)
        drawn = sampler.sample_relative(study, frozen, relative)
        configuration: Configuration = {}
        for name, parameter in spec.search_space.walk(configuration):
            if name in drawn:
                configuration[name] = drawn[name]
            else:
                distribution = parameter.to_optuna()
                value = sampler.sample_independent(study, frozen, name, distribution)
                configuration[name] = value
    finally:
        study.tell(pending, state=TrialState.FAIL)
    return configuration, source


def _reason(source: str, refused: int) -> str:
    reasons = {
        "sobol": "spread over the space before a model is trusted",
        "gp": "highest expected improvement under a Gaussian process",
        "tpe": "likeliest among the good trials (TPE)",
        "random": "uniformly at random",
    }
    again = f", after {refused} draws that cannot be tried" if refused else ""
    return reasons[source] + again


def _random(spec: StudySpec, trials: Sequence[TrialRecord]) -> Configuration:
    """Return a random configuration; one that was tried only if there is no other."""
    import numpy as np

    space = spec.search_space
    rng = np.random.default_rng([spec.seed, len(trials)])
    if any(_is_continuous(parameter) for parameter in space.parameters.values()):
        return space.sample(rng)  # no need to compare it with thousands of trials
    for _ in range(100):
        configuration = space.sample(rng)
        if not _is_tried(configuration, trials):
            return configuration
    tried = [each for trial in trials for each in trial.configurations]
    left = [] if space.size() is None else [c for c in _all(space, {}) if c not in tried]
    return left[rng.integers(len(left))] if left else configuration


def _is_continuous(parameter: Parameter) -> bool:
    """Tell whether a parameter is in every configuration and hardly has the same value twice."""
    return isinstance(parameter, Float) and parameter.step is None and not parameter.when


def _all(space: SearchSpace, configuration: Configuration) -> Iterator[Configuration]:
    """Yield every configuration of a finite space that begins like this one."""
    undecided = (pair for pair in space.walk(configuration) if pair[0] not in configuration)
    name, parameter = next(undecided, (None, None))
    if name is None or parameter is None:
        if space.satisfies_constraints(configuration):
            yield configuration
        return
    for value in parameter.values() or ():
        yield from _all(space, {**configuration, name: value})
