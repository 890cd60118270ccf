"""How the hybrid's share of trials follows what an adviser is worth: a table and a figure in text.

python -m luthier.evals.shares      plumbing with simulated advisers; about five minutes
"""

from __future__ import annotations

import sys

import numpy as np
import optuna
from numpy.typing import NDArray

from ..agent.advice import MODEL_SOURCES
from ..agent.llambo.context import ATTRIBUTE
from ..tools.quiet import quiet
from .advised import ADVISED
from .cells import starts
from .suites import load_task

_TASKS = ("phoneme", "protein", "digits-mlp")
_SEEDS = 4
_TRIALS, _WINDOW = 40, 5
_ADVISERS = ("expert", "informed", "textbook", "novice", "stubborn", "adversarial")
_BLOCKS = "▁▂▃▄▅▆▇█"


def by_model(task_name: str, method: str, seed: int) -> list[bool]:
    """Return which of the trials after the shared ones the model proposed."""
    task = load_task(task_name)
    with quiet():
        study = optuna.create_study(
            direction=task.direction, sampler=ADVISED[method].make(task, seed)
        )
        for start in starts(task, seed):
            study.enqueue_trial(start)
        for _ in range(len(starts(task, seed)) + _TRIALS):
            trial = study.ask(task.space.to_optuna())
            study.tell(trial, task.objective(task.space.clip(trial.params), trial.number).value)
    sources = [trial.user_attrs.get(ATTRIBUTE, {}).get("proposed_by") for trial in study.trials]
    return [source in MODEL_SOURCES for source in sources[-_TRIALS:]]


def shares(adviser: str) -> NDArray[np.float64]:
    """Return the model's mean share of the trials, window by window."""
    runs = [by_model(task, f"hybrid-{adviser}", seed) for task in _TASKS for seed in range(_SEEDS)]
    windows = np.array(runs, dtype=np.float64).reshape(len(runs), -1, _WINDOW)
    return np.asarray(windows.mean(axis=(0, 2)))


def main() -> int:
    """Print a row an adviser."""
    first = [f"{i + 1}-{i + _WINDOW}" for i in range(0, _TRIALS, _WINDOW)]
    print("trials".ljust(12), *(name.rjust(5) for name in first))
    for adviser in _ADVISERS:
        row = shares(adviser)
        figure = "".join(_BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)] for share in row)
        numbers = (f"{share:.0%}".rjust(5) for share in row)
        print(adviser.ljust(12), *numbers, "", figure, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
