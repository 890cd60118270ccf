"""How right reviews of studies are: simulated advisers', and the rule's that stands beside them.

The classical optimiser searches alone; after a third and two thirds of the trials both are asked
the same. An adviser that knows the task should beat the rule, one that guesses or lies should not:
that is what shows that the marks tell them apart. It says nothing of a real model.

python -m luthier.evals.reviewing     prints the table; about 4 minutes on one core
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import optuna
from rich.console import Console
from rich.table import Table

from ..agent.classical import ClassicalSampler
from ..agent.llambo.context import Problem, TaskCard
from ..agent.reviewing import ask
from ..tools.outcomes import Outcome
from ..tools.quiet import quiet
from ..tools.records import TrialRecord
from ..tools.reviews import Marks, Review, View, marks
from ..tools.spec import StudySpec, parse_spec
from .advised import KNOWING
from .advisers import minds
from .advisers.direct import Direct
from .suites import load_task
from .task import Task

TASKS = ("australian", "phoneme", "segment", "protein", "bbob-sphere", "bbob-rosenbrock")
ADVISERS = ("expert", "informed", "textbook", "novice", "adversarial")
SEEDS, TRIALS, AT = 5, 30, (10, 20)
_METRIC = "value"


class Marked(NamedTuple):
    """What one review earned, in units of the task: median less best value."""

    model: Marks
    rule: Marks
    unit: float


def search(task: Task, seed: int, trials: int) -> list[TrialRecord]:
    """Return the trials of the classical optimiser on a task."""
    sampler = ClassicalSampler(task.space, seed=seed)
    records = []
    with quiet():
        study = optuna.create_study(direction=task.direction, sampler=sampler)
        for number in range(trials):
            trial = study.ask(task.space.to_optuna())
            configuration = task.space.clip(trial.params)
            value = task.objective(configuration, 0).noise_free
            study.tell(trial, value)
            records.append(
                TrialRecord(
                    id=number,
                    number=number,
                    state=Outcome.COMPLETE,
                    reason="",
                    configuration=configuration,
                    metrics={_METRIC: value},
                    source="",
                    created_at=0.0,
                    finished_at=0.0,
                )
            )
    return records


def spec_of(task: Task, trials: int) -> StudySpec:
    """Return a task as the spec of a study."""
    return parse_spec(
        {
            "name": "reviewed",
            "objective": {"kind": "callable", "reference": "luthier.evals.lab:network"},
            "space": {n: p.model_dump(mode="json") for n, p in task.space.parameters.items()},
            "metrics": {_METRIC: {"direction": task.direction}},
            "budget": {"trials": trials},
        }
    )


def reviewed(
    task: Task, spec: StudySpec, trials: Sequence[TrialRecord], adviser: str, seed: int
) -> Iterator[Review]:
    """Yield an adviser's reviews of a search, each from what it had shown by then."""
    mind = getattr(minds, adviser)
    llm = Direct(mind(task, seed) if adviser in KNOWING else mind(seed))
    card = TaskCard(description=task.card, metric=_METRIC, trials=len(trials))
    for seen in AT:
        asked = ask(llm, Problem(task.space, task.direction, card), spec, trials[:seen])
        if asked.review is not None:
            yield asked.review


def measure(tasks: Sequence[str] = TASKS, seeds: int = SEEDS) -> dict[str, list[Marked]]:
    """Return the marks of each adviser's reviews, and of the rule beside each."""
    found: dict[str, list[Marked]] = {adviser: [] for adviser in ADVISERS}
    for name in tasks:
        task = load_task(name)
        spec = spec_of(task, TRIALS)
        unit = abs(task.f_median - task.f_star)
        for seed in range(seeds):
            trials = search(task, seed, TRIALS)
            for adviser, marked in found.items():
                for review in reviewed(task, spec, trials, adviser, seed):
                    sides: tuple[View, View] = (review.model, review.rule)
                    ours, theirs = (marks(side, review, spec, trials) for side in sides)
                    marked.append(Marked(ours, theirs, unit))
    return found


def _row(name: str, marked: Sequence[tuple[Marks, float]]) -> list[str]:
    covered = np.mean([m.covered for m, _ in marked])
    score = np.median([m.interval / unit for m, unit in marked])
    gains = [m.ranges for m, _ in marked if m.ranges is not None]
    error = np.std(gains) / np.sqrt(len(gains))
    return [
        name,
        str(len(marked)),
        f"{covered:.0%}",
        f"{score:.4f}",
        f"{np.mean(gains):+.3f} ± {error:.3f}",
    ]


def main() -> int:
    """Measure, and print."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("who", "reviews", "interval held", "interval score", "ranges"):
        table.add_column(heading, justify="left" if heading == "who" else "right")
    found = measure()
    for adviser, marked in found.items():
        table.add_row(*_row(adviser, [(m.model, m.unit) for m in marked]))
    table.add_row(*_row("the rule", [(m.rule, m.unit) for m in found[ADVISERS[0]]]))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
