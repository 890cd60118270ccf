"""How far an optimisation has come: what was accepted, what is gone on from, and what is shown."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...tools.edits import EditRecord
from ...tools.errors import LuthierError
from .accept import COST, LATENCY, Z
from .evaluate import Case, Evaluator, Result, Split
from .params import ParamSet
from .represent import Past, Problem, Run, fitting_together

_ACCEPTED_SHOWN, _REJECTED_SHOWN = 5, 8
_OTHER_PARENT = 0.3
"""How often an edit begins from another member of the Pareto front than the best."""
NO_ANSWER = "no answer"
"""The decision on a step in which the model proposed nothing."""
UNMEASURED = "unmeasured"
"""The decision on an edit whose scores there was no budget for."""


class NothingToTrainError(LuthierError, ValueError):
    """A workflow whose runs depend on no trainable parameter."""


@dataclass(frozen=True)
class Settings:
    """How long and how hard to try."""

    steps: int = 10
    """Calls of the proposer, repairs not counted."""
    candidates: int = 1
    """Proposals a step, asked for side by side."""
    batch: int = 3
    """Cases whose runs a proposal is made from."""
    seed: int = 0
    workers: int = 1
    """Cases that run at a time."""
    seconds: float | None = None
    """Wall time after which no further step begins."""
    latency: float = LATENCY
    """Times as long as before that cases may take; infinity for any time, where a machine's other
    work should decide on nothing."""
    cost: float = COST
    """Times as much as before that cases may cost together, where their feedback says it."""
    z: float = Z


@dataclass
class Search:
    """The state of one optimisation."""

    evaluator: Evaluator
    parts: Split
    base: ParamSet
    settings: Settings
    objective: str
    members: list[ParamSet]
    """The base and what was accepted, oldest first."""
    edits: list[EditRecord] = field(default_factory=list)
    frozen: frozenset[str] = frozenset()
    """Trainable parameters that cannot be trained on this machine."""

    def scores(self, params: ParamSet, cases: Sequence[Case]) -> dict[str, float]:
        """Return the score of each case, by name."""
        return {n: r.score for n, r in self.evaluator.evaluate(params, cases).items()}

    @property
    def best(self) -> ParamSet:
        """The member with the highest mean on the validation cases; of equal ones the oldest."""
        return max(self.members, key=self._mean) if len(self.members) > 1 else self.base

    def _mean(self, params: ParamSet) -> float:
        return statistics.fmean(self.scores(params, self.parts.validation).values())

    def parent(self, rng: random.Random) -> ParamSet:
        """Choose what to go on from: the best, now and then one that is best on some case."""
        scores = [self.scores(member, self.parts.validation) for member in self.members]
        tops = {name: max(row[name] for row in scores) for name in scores[0]}
        front = [
            member
            for member, row in zip(self.members, scores, strict=True)
            if any(row[name] == top for name, top in tops.items())
        ]
        return rng.choice(front) if rng.random() < _OTHER_PARENT else self.best

    def problem(self, parent: ParamSet, rng: random.Random) -> tuple[Problem, list[Case]]:
        """Return what to show a proposer, and the cases it is made from: rather the bad ones."""
        results = self.evaluator.evaluate(parent, self.parts.dev)
        cases = worse_first(list(self.parts.dev), results, rng)[: self.settings.batch]
        trainable = parent.trainable - self.frozen
        runs, allowed = [], set[str]()
        for case in cases:
            result = results[case.name]
            nodes, names = result.rollout.subgraph(result.leaf, trainable)
            runs.append(Run(case.name, result.rollout, nodes, result.feedback.lines()))
            allowed |= names
        if not allowed:
            raise NothingToTrainError(
                f"the runs on {', '.join(case.name for case in cases)} depend on none of the "
                f"trainable parameters ({', '.join(sorted(trainable)) or 'there are none'}); "
                "read them with `param` inside of what the result is made by"
            )
        fitting = fitting_together(parent, allowed, rng)
        return Problem(parent, fitting, runs, self._past(), self.objective), cases

    def _past(self) -> list[Past]:
        accepted = [edit for edit in self.edits if edit.accepted][-_ACCEPTED_SHOWN:]
        silent = ("accepted", NO_ANSWER, UNMEASURED)
        others = [edit for edit in self.edits if edit.decision not in silent]
        rejected = others[-_REJECTED_SHOWN:]
        return [
            Past(
                edit.diff,
                edit.diagnosis[:300],
                "accepted" if edit.accepted else f"{edit.decision}: {edit.reason}",
                statistics.fmean(after for _, after in edit.scores.values())
                if edit.scores
                else None,
            )
            for edit in sorted((*accepted, *rejected), key=lambda edit: edit.number)
        ]


def worse_first(cases: list[Case], results: Mapping[str, Result], rng: random.Random) -> list[Case]:
    """Return the cases in an order drawn by lot, in which bad scores come rather first."""
    scores = [results[case.name].score for case in cases]
    top, spread = max(scores), max(scores) - min(scores) or 1.0
    keys = {
        case.name: rng.random() ** (1.0 / (0.1 + (top - score) / spread))
        for case, score in zip(cases, scores, strict=True)
    }
    return sorted(cases, key=lambda case: -keys[case.name])
