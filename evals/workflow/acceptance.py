"""How many edits that are worth nothing does the rule of acceptance let through?

python -m luthier.evals.workflow.acceptance

A run makes 20 proposals one after another: 20% of them add 0.02 to the score of every task, 40%
nothing, 40% take 0.02 away. A proposal is seen through noise on every validation task, and becomes
the next one's parent if the paired lower bound of what it adds is above 0. Scores are either
measured anew for every comparison, parent and all, or once for each workflow, as an optimiser with
a cache does: then a parent that was lucky stays lucky. The other conditions of the rule, which only
refuse more, are left out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ...agent.workflow.accept import Z, judge

PROPOSALS = 20
RUNS = 500
EFFECTS = (0.02, 0.0, -0.02)
SHARES = (0.2, 0.4, 0.4)
NOISE = 0.03 * math.sqrt(2.0)
"""Standard deviation of a difference of two scores on one task, each with one of 0.03."""
LIMIT = 0.10
"""Share of accepted edits that may be useless or harmful, for the rule that Luthier uses."""
TASKS = 16
"""Validation tasks for which the limit holds."""


@dataclass(frozen=True)
class Rates:
    """What a rule does, in the mean over runs of `PROPOSALS` proposals."""

    accepted: float
    """Edits a run."""
    worthless: float
    """Of these, the ones that add nothing or take away."""
    harmful: float
    """Of these, the ones that take away."""
    missed: float
    """Edits a run that would have helped and were not accepted."""
    gain: float
    """True score at the end less the one at the start."""

    @property
    def share(self) -> float:
        """Share of accepted edits that are worthless; 0 if none was accepted."""
        return self.worthless / self.accepted if self.accepted else 0.0


def simulate(
    tasks: int, z: float, *, cached: bool = False, runs: int = RUNS, seed: int = 0
) -> Rates:
    """Return what the rule `paired_lower_bound(differences, z) > 0` lets through.

    Args:
        tasks: Validation tasks, at least 2.
        z: Standard errors; 0 accepts whatever looks better in the mean.
        cached: Whether a workflow's scores are measured once, not anew for each comparison.
        runs: Runs to take the mean of.
        seed: Of effects and noise.
    """
    rng = np.random.default_rng(seed)
    effects = rng.choice(EFFECTS, size=(runs, PROPOSALS), p=SHARES)
    taken = np.array([_accepted(run, tasks, z, cached, rng) for run in effects])
    return Rates(
        accepted=float(taken.sum() / runs),
        worthless=float((taken & (effects <= 0)).sum() / runs),
        harmful=float((taken & (effects < 0)).sum() / runs),
        missed=float((~taken & (effects > 0)).sum() / runs),
        gain=float((effects * taken).sum() / runs),
    )


def _accepted(
    effects: Sequence[float], tasks: int, z: float, cached: bool, rng: np.random.Generator
) -> list[bool]:
    """Return which proposals of a run are accepted, in their order."""
    taken = []
    noise = NOISE / np.sqrt(2)  # of one score
    parent = rng.normal(scale=noise, size=tasks)
    for effect in effects:
        proposal = rng.normal(scale=noise, size=tasks)
        before = parent if cached else rng.normal(scale=noise, size=tasks)
        verdict = judge(_named(before), _named(effect + proposal), max_drop=math.inf, z=z)
        taken.append(verdict.accepted)
        if verdict.accepted:
            parent = proposal
    return taken


def _named(scores: NDArray[np.float64]) -> dict[str, float]:
    return {str(task): score for task, score in enumerate(scores.tolist())}


def main() -> int:
    """Print the table; the exit code is 1 if Luthier's rule lets too much through."""
    title = f"{PROPOSALS} proposals a run, {RUNS:,} runs, noise {NOISE:.3g}, seed 0"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for column in ("tasks", "rule", "scores", "accepted", "worthless", "harmful", "share"):
        table.add_column(column, justify="left" if column in ("rule", "scores") else "right")
    for column in ("missed", "gain"):
        table.add_column(column, justify="right")
    worst = 0.0
    for tasks in (8, TASKS, 32):
        for z in (0.0, 1.28, 1.64, Z):
            for cached in (False, True):
                rates = simulate(tasks, z, cached=cached)
                if (tasks, z) == (TASKS, Z):
                    worst = max(worst, rates.share)
                table.add_row(
                    str(tasks),
                    f"z = {z:g}" if z else "mean > 0",
                    "once" if cached else "anew",
                    *(f"{v:.2f}" for v in (rates.accepted, rates.worthless, rates.harmful)),
                    f"{rates.share:.1%}",
                    f"{rates.missed:.2f}",
                    f"{rates.gain:+.3f}",
                )
    console = Console(width=100)
    console.print(table)
    verdict = "ok" if worst <= LIMIT else "too much"
    console.print(
        f"Luthier's rule, {TASKS} tasks and z = {Z:g}: at most {worst:.1%} of accepted edits are "
        f"worthless, {LIMIT:.0%} are allowed: {verdict}."
    )
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
