"""Studies whose trials replay recorded learning curves: all of a study but the training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..agent.classical import propose
from ..tools.audit import Audit, audit_of, is_audited
from ..tools.outcomes import Outcome
from ..tools.pruning import make_pruning
from ..tools.records import TrialRecord
from ..tools.spec import StudySpec, parse_spec
from .recorded import load_curves, load_table
from .tables import Table, task_of

LATE = "-late"
"""Ending of a twin of a recorded table."""

_METRIC = "val_loss"
_WARP_SEED = 7
_MOST_WARP = 4.0


@dataclass(frozen=True)
class Curves:
    """The learning curves of every configuration of a table; the smaller, the better."""

    table: Table
    values: NDArray[np.float64]
    """One axis a parameter, then repetitions, then epochs."""

    @property
    def epochs(self) -> int:
        """Length of each curve."""
        return int(self.values.shape[-1])


@dataclass(frozen=True)
class Replay:
    """What came of one study."""

    saved: float
    """Share of the epochs that its trials did not run."""
    regret: float
    """Normalised regret of its best trial."""
    stopped: int
    """Trials that were stopped early."""
    wrongly: int
    """Those of them that would have become the best."""
    audit: Audit | None
    """What the study itself says of that."""


def open_curves(name: str) -> Curves:
    """Return recorded curves, or their late twin.

    In the twin `NAME-late` each configuration learns as late as it happens to: its curve is that of
    the table at epoch T (t / T)^p, with p between 1 and 4. All curves end where they did, but on
    the way there they cross.

    Raises:
        EvalError: If the recorded file is missing or damaged.
    """
    recorded = name.removesuffix(LATE)
    values = load_curves(recorded).astype(np.float64)
    return Curves(load_table(recorded), _late(values) if name.endswith(LATE) else values)


def _late(values: NDArray[np.float64]) -> NDArray[np.float64]:
    *grid, repetitions, epochs = values.shape
    powers = np.random.default_rng(_WARP_SEED).uniform(1.0, _MOST_WARP, size=grid)
    through = np.linspace(0.0, 1.0, epochs)
    warped = np.empty_like(values)
    for place in np.ndindex(*grid):
        for repetition in range(repetitions):
            at = through ** powers[place]
            warped[(*place, repetition)] = np.interp(at, through, values[(*place, repetition)])
    return warped


def replay(
    curves: Curves, pruner: Mapping[str, object], sampler: str, seed: int, trials: int, slots: int
) -> Replay:
    """Run a study on recorded curves, epoch by epoch.

    Args:
        curves: What is replayed.
        pruner: The spec's section of this name.
        sampler: The kind of sampler.
        seed: Seed of the study; the same one gives the same repetition of a configuration.
        trials: Number of trials.
        slots: Number of trials that run side by side.
    """
    spec = parse_spec(
        {
            "name": "replay",
            "objective": {"kind": "callable", "reference": "recorded:curve"},
            "space": curves.table.space.parameters,
            "metrics": {_METRIC: {"direction": "minimize"}},
            "sampler": {"kind": sampler},
            "pruner": dict(pruner),
            "budget": {"trials": trials},
            "seed": seed,
        }
    )
    study = _Study(curves, spec)
    study.run(trials, slots)
    return study.result()


class _Study:
    """One study; an epoch of every running trial is a moment of its clock."""

    def __init__(self, curves: Curves, spec: StudySpec) -> None:
        self._curves = curves
        self._spec = spec
        self._pruning = make_pruning(spec, [])
        self._trials: list[TrialRecord] = []
        self._spared: dict[int, int] = {}
        self._best = math.inf
        self._wrongly = 0
        self._epochs = 0
        self._now = 0.0

    def run(self, trials: int, slots: int) -> None:
        running: list[int] = []
        while running or len(self._trials) < trials:
            while len(running) < slots and len(self._trials) < trials:
                running.append(self._start())
            self._now += 1.0
            running = [number for number in running if self._train(number)]

    def _start(self) -> int:
        number = len(self._trials)
        configuration = propose(self._spec, self._trials).configuration
        trial = TrialRecord(
            id=number,
            number=number,
            state="running",
            reason="",
            configuration=configuration,
            metrics={},
            source="",
            created_at=self._now,
            finished_at=None,
            curves={_METRIC: {}},
        )
        self._trials.append(trial)
        self._pruning.add(trial)
        return number

    def _train(self, number: int) -> bool:
        """Train one epoch; tell whether there is another one to train."""
        trial = self._trials[number]
        whole = self._whole_curve(trial)
        curve = dict((trial.curves or {})[_METRIC])
        step = len(curve) + 1
        curve[step] = whole[step - 1]
        self._epochs += 1
        self._trials[number] = replace(trial, curves={_METRIC: curve})
        stop = self._pruning.should_prune(number, step, curve[step])
        if stop and is_audited(self._spec, number):
            self._spared.setdefault(number, step)
            stop = False
        if stop:
            self._wrongly += whole[-1] < self._best
            self._end(number, Outcome.PRUNED, curve[step])
        elif step == self._curves.epochs:
            self._best = min(self._best, curve[step])
            self._end(number, Outcome.COMPLETE, curve[step])
        return not self._trials[number].is_finished

    def _whole_curve(self, trial: TrialRecord) -> Sequence[float]:
        place = self._curves.table.place(trial.configuration)
        repetitions: NDArray[np.float64] = self._curves.values[place]
        rng = np.random.default_rng([self._spec.seed, trial.number])
        return [float(value) for value in repetitions[rng.integers(len(repetitions))]]

    def _end(self, number: int, state: Outcome, value: float) -> None:
        ended = replace(
            self._trials[number], state=state, metrics={_METRIC: value}, finished_at=self._now
        )
        self._trials[number] = ended
        self._pruning.finish(ended)

    def result(self) -> Replay:
        table = self._curves.table
        complete = [trial for trial in self._trials if trial.state is Outcome.COMPLETE]
        best = min(complete, key=lambda trial: trial.metrics[_METRIC])
        noise_free = float(table.means[table.place(best.configuration)])
        return Replay(
            saved=1 - self._epochs / (len(self._trials) * self._curves.epochs),
            regret=task_of(table).regret(noise_free),
            stopped=sum(trial.state is Outcome.PRUNED for trial in self._trials),
            wrongly=self._wrongly,
            audit=audit_of(self._spec, self._trials, self._spared),
        )
