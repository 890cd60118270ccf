"""Runs one method on one task with one seed."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import optuna

from ..tools.quiet import quiet
from ..tools.space import Configuration, Float, Int, SearchSpace
from .methods import Method
from .results import Crash, Result
from .task import WORST_REGRET, EvalError, Evaluation, Task

STARTS = 5
"""The first points, which all methods share."""

_DIGITS = 6


@dataclass
class _Incumbent:
    """The best trial so far by what was shown, and its regret by what is true."""

    task: Task
    value: float = math.nan
    regret: float = WORST_REGRET

    def see(self, evaluation: Evaluation) -> None:
        sign = 1 if self.task.direction == "minimize" else -1
        if _is_good(evaluation) and not sign * self.value <= sign * evaluation.value:
            self.value = evaluation.value
            self.regret = self.task.regret(evaluation.noise_free)


class _Run:
    """One optimisation, trial by trial."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        self.seed = seed
        self.incumbent = _Incumbent(task)
        self.regret: list[float] = []
        self.failed = 0
        self.seconds = 0.0

    def go(self, method: Method, trials: int) -> None:
        """Run the trials; what the method raises comes through."""
        begun = time.process_time()
        study = optuna.create_study(
            direction=self.task.direction, sampler=method.make(self.task, self.seed)
        )
        for start in starts(self.task, self.seed):
            study.enqueue_trial(start)
        default = self.task.space.default()
        if method.default_first and default is not None:
            study.enqueue_trial(default)
        running = deque[tuple[optuna.Trial, Evaluation]]()
        for number in range(trials):
            trial = study.ask()
            configuration = _suggest(trial, self.task.space)
            self.seconds += time.process_time() - begun
            running.append((trial, self._evaluate(configuration, number)))
            begun = time.process_time()
            while len(running) > (method.pending if number < trials - 1 else 0):
                self._end(study, *running.popleft())

    def _end(self, study: optuna.Study, trial: optuna.Trial, evaluation: Evaluation) -> None:
        """Let the method, and the score, know what came of a trial."""
        self.incumbent.see(evaluation)
        self.regret.append(round(self.incumbent.regret, _DIGITS))
        self.failed += not _is_good(evaluation)
        _tell(study, trial, evaluation)

    def _evaluate(self, configuration: Configuration, number: int) -> Evaluation:
        noise = _seed(f"noise/{self.task.starts}/{self.seed}/{number}")
        try:
            return self.task.objective(configuration, noise)
        except Exception as error:
            raise EvalError(
                f"task {self.task.name!r} raised {type(error).__name__}: {error} for "
                f"{configuration}; mend the task, for no method is to blame"
            ) from error


def run_cell(
    task: Task, method: Method, seed: int, trials: int, lineage: dict[str, str] | None = None
) -> Result:
    """Run a method on a task.

    The incumbent is chosen by what the trials showed and scored by its noise-free value. A method
    that raises is not let off: from that trial on it has the worst regret.

    Args:
        task: What to optimise.
        method: What proposes configurations.
        seed: Seed of the method, of the first points and of the noise.
        trials: Number of trials.
        lineage: Versions to note in the result.

    Raises:
        EvalError: If the task's objective raises.
    """
    run, crash = _Run(task, seed), None
    with quiet():
        try:
            run.go(method, trials)
        except EvalError:
            raise
        except Exception as error:  # whatever it is, it is the method's result
            crash = Crash(len(run.regret), f"{type(error).__name__}: {error}")
    regret = run.regret + [WORST_REGRET] * (trials - len(run.regret))
    return Result(
        task=task.name,
        method=method.name,
        seed=seed,
        trials=trials,
        family=task.family,
        fingerprint=task.fingerprint(),
        settings=method.settings,
        regret=tuple(regret),
        failed=run.failed,
        seconds=round(run.seconds, 3),
        crash=crash,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        lineage=lineage or {},
    )


def starts(task: Task, seed: int) -> list[Configuration]:
    """Return the first points of every method on a task with a seed."""
    rng = np.random.default_rng(_seed(f"starts/{task.starts}/{seed}"))
    points = rng.random((STARTS, len(task.space.parameters)))
    return [task.space.decode(list(point)) for point in points]


def _seed(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


def _is_good(evaluation: Evaluation) -> bool:
    kept = evaluation.violation is None or evaluation.violation <= 0
    return kept and not math.isnan(evaluation.value)


def _suggest(trial: optuna.Trial, space: SearchSpace) -> Configuration:
    configuration: Configuration = {}
    for name, parameter in space.walk(configuration):
        match parameter:
            case Float():
                step, log = parameter.step, parameter.log
                value = trial.suggest_float(name, parameter.low, parameter.high, step=step, log=log)
                configuration[name] = value
            case Int():
                configuration[name] = trial.suggest_int(
                    name, parameter.low, parameter.high, step=parameter.step, log=parameter.log
                )
            case _:
                configuration[name] = trial.suggest_categorical(name, parameter.choices)
    return space.clip(configuration)


def _tell(study: optuna.Study, trial: optuna.Trial, evaluation: Evaluation) -> None:
    if evaluation.violation is not None:
        trial.set_constraint("limit", evaluation.violation)
    if math.isnan(evaluation.value):
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, evaluation.value)
