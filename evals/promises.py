"""What the samplers with a language model promise, checked on tables: a bound, tokens, CPU time.

python -m luthier.evals.promises [--smoke]     about fifteen minutes of one core; exits with 1 if
                                               a promise is broken

The advisers are simulated; what they say is not a language model's, but what is promised holds for
every adviser, and what is counted is what our prompts and forms take.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from ..agent.advice import MODEL_SOURCES
from ..agent.classical import ClassicalSampler
from ..agent.hybrid import HybridSampler
from ..agent.llambo.context import ATTRIBUTE
from ..agent.llambo.sampler import LLAMBOSampler
from ..tools.quiet import quiet
from .advised import ADVISED
from .advisers import minds
from .advisers.direct import Direct
from .advisers.mind import Mind, Reply, Request
from .suites import load_task, tasks_of
from .task import Task

ADVISERS = ("expert", "adversarial", "novice", "stubborn", "garbage")
MOST_TOKENS, MOST_CALLS = 1_800, 2.0
"""A trial, with `mode="fast"`, on the mean over a run."""
MOST_CPU = 1.3
"""Of the hybrid, over the classical optimiser alone."""
_AT = 100
_AROUND = 10


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    tasks: tuple[str, ...]
    seeds: int
    trials: int


FULL = Size(tuple(tasks_of("tables")), 20, 30)
SMOKE = Size(("protein", "digits-mlp"), 1, 12)


@dataclass(frozen=True)
class Run:
    """One optimisation: losses, which of them the model proposed, and what was tried."""

    losses: NDArray[np.float64]
    by_model: NDArray[np.bool_]
    tried: list[object]


def _run(task: Task, sampler: BaseSampler, trials: int) -> Run:
    with quiet():
        study = optuna.create_study(direction=task.direction, sampler=sampler)
        for _ in range(trials):
            trial = study.ask(task.space.to_optuna())
            study.tell(trial, task.objective(task.space.clip(trial.params), 0).noise_free)
    sign = 1.0 if task.direction == "minimize" else -1.0
    told = [trial.user_attrs.get(ATTRIBUTE, {}) for trial in study.trials]
    return Run(
        np.array([sign * float(trial.value or 0.0) for trial in study.trials]),
        np.array([each.get("proposed_by") in MODEL_SOURCES for each in told]),
        [trial.params for trial in study.trials],
    )


def broken_bounds(alone: NDArray[np.float64], strict: Run) -> int:
    """Return after how many trials a strict run is behind what it promises.

    After t trials, of which L were the model's, its best value must be no worse than that of the
    classical optimiser alone after t - L.

    Args:
        alone: Losses of the classical optimiser alone, by trial.
        strict: The strict run on the same task with the same seed.
    """
    best, best_alone = np.minimum.accumulate(strict.losses), np.minimum.accumulate(alone)
    own = np.arange(1, len(best) + 1) - np.cumsum(strict.by_model)
    return sum(bool(own[t] and best[t] > best_alone[own[t] - 1]) for t in range(len(best)))


def strict_bound(size: Size) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield for each adviser: its runs, looks, broken bounds, and runs that are the classical one.

    A look is one t of one run.
    """
    alone = {
        (name, seed): _run(task, ClassicalSampler(task.space, seed=seed), size.trials)
        for name in size.tasks
        for task in [load_task(name)]
        for seed in range(size.seeds)
    }
    for adviser in ADVISERS:
        broken = same = 0
        for (name, seed), classical in alone.items():
            task = load_task(name)
            strict = _run(task, ADVISED[f"strict-{adviser}"].make(task, seed), size.trials)
            broken += broken_bounds(classical.losses, strict)
            same += strict.tried == classical.tried
        yield adviser, len(alone), len(alone) * size.trials, broken, same


def tokens_of(mode: Literal["paper", "fast"], size: Size) -> tuple[float, float]:
    """Return the mean tokens and calls a trial of `LLAMBOSampler`, over the tasks."""
    tokens, calls = [], []
    for name in size.tasks:
        task, llm = load_task(name), Direct(minds.textbook(0))
        _run(task, LLAMBOSampler(task.space, llm=llm, mode=mode, seed=0), size.trials)
        tokens.append(llm.usage.tokens / size.trials)
        calls.append(llm.usage.calls / size.trials)
    return statistics.mean(tokens), statistics.mean(calls)


def _clocked(mind: Mind, thought: list[float]) -> Mind:
    def think(request: Request) -> Reply:
        begun = time.process_time()
        reply = mind(request)
        thought.append(time.process_time() - begun)
        return reply

    return think


def cpu_at(trials: int, name: str) -> tuple[float, float]:
    """Return the CPU time of a proposal after so many trials, in seconds: hybrid, classical.

    What the adviser itself computes is left out. Both are medians over ten trials.
    """
    task, thought = load_task(name), list[float]()
    informed = minds.informed(task, 0)
    hybrid = HybridSampler(task.space, llm=Direct(_clocked(informed, thought)), seed=0)
    return (
        _cpu(task, hybrid, trials, lambda: sum(thought)),
        _cpu(task, ClassicalSampler(task.space, seed=0), trials, lambda: 0.0),
    )


def _cpu(task: Task, sampler: BaseSampler, trials: int, elsewhere: Callable[[], float]) -> float:
    found = []
    with quiet():
        study = optuna.create_study(direction=task.direction, sampler=sampler)
        for _ in range(trials + _AROUND):
            begun, before = time.process_time(), elsewhere()
            trial = study.ask(task.space.to_optuna())
            found.append(time.process_time() - begun - (elsewhere() - before))
            study.tell(trial, task.objective(task.space.clip(trial.params), 0).noise_free)
    return statistics.median(found[-_AROUND:])


def main(arguments: list[str]) -> int:
    """Print what was promised and what was found; return 1 if a promise is broken."""
    import torch

    torch.set_num_threads(1)
    size, failed = (SMOKE, False) if "--smoke" in arguments else (FULL, False)
    print("strict mode: never behind the classical optimiser with as many trials of its own")
    for adviser, runs, looks, broken, same in strict_bound(size):
        must_be_same = adviser == "garbage"
        failed |= bool(broken) or (must_be_same and same < runs)
        print(f"  {adviser:12} {looks:6,} looks  {broken} broken  {same} of {runs} as without it")
    print(f"tokens of LLAMBOSampler, {size.trials} trials")
    for mode in ("paper", "fast"):
        tokens, calls = tokens_of(mode, size)
        limit = f"  limit {MOST_TOKENS:,} and {MOST_CALLS:g}" if mode == "fast" else ""
        failed |= mode == "fast" and (tokens > MOST_TOKENS or calls > MOST_CALLS)
        print(f"  {mode:12} {tokens:8,.0f} tokens and {calls:.1f} calls a trial{limit}")
    at = _AT if size is FULL else 20
    print(f"CPU time of a proposal after {at} trials, the adviser's own left out")
    for name in size.tasks[:3]:
        hybrid, classical = cpu_at(at, name)
        failed |= size is FULL and hybrid > MOST_CPU * classical
        print(
            f"  {name:12} hybrid {1e3 * hybrid:6.1f} ms, classical {1e3 * classical:6.1f} ms: "
            f"{hybrid / classical:.2f}, limit {MOST_CPU}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
