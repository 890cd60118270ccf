"""What each kind of pruning saves and costs on recorded learning curves, beside no pruning at all.

python -m luthier.evals.pruning [RESULTS] [--smoke]

Finished studies are kept in the file RESULTS, as JSON lines, if one is named; the same command goes
on where an earlier one was stopped. All of it takes about ten minutes of one core.

Every row is paired by seed with the same studies without pruning. The default kind has to save at
least 40% of the epochs at a final regret that is no worse beyond noise, on every task, with random
configurations and with those of our own sampler; of the other kinds the same is told, but nothing
is asked. All studies audit one trial in five, which costs savings, and the last columns hold their
estimate of how many stopped trials would have become the best against the truth.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..tools.audit import Audit
from ..tools.pruner_spec import Pruner
from ..tools.stats import Interval, paired_difference
from .replay import LATE, Replay, open_curves, replay
from .task import EvalError

LEAST_SAVED = 0.4
"""Share of the epochs that the default kind has to save."""

_KINDS = ("median", "successive_halving", "extrapolation", "auto")
_DEFAULT = Pruner().kind
_TASKS = ("digits-mlp", "digits-cnn")
_SEEDS = 20
_SLOTS = 1


@dataclass(frozen=True)
class Plan:
    """A group of rows: some kinds of pruning, on some tasks, with one kind of sampler."""

    sampler: str
    tasks: tuple[str, ...]
    kinds: tuple[str, ...]
    trials: int
    seeds: int = _SEEDS


PLANS = (
    Plan("random", (*_TASKS, *(task + LATE for task in _TASKS)), _KINDS, trials=50),
    Plan("auto", _TASKS, ("median", _DEFAULT), trials=30),
)
SMOKE = (Plan("random", _TASKS[1:], _KINDS, trials=20, seeds=3),)


@dataclass(frozen=True)
class Row:
    """One kind of pruning on one task."""

    sampler: str
    task: str
    kind: str
    saved: float
    """Mean share of the epochs."""
    difference: Interval
    """Of the final regret, pruned minus not pruned."""
    stopped: int
    """Trials over all seeds."""
    wrongly: int
    """Those of them that would have become the best."""
    estimate: float
    """What the audited trials say of that; NaN if they say nothing."""
    bounds_kept: int
    """Studies in which the truth was not above the bound that the audit gave."""
    bounds: int
    """Studies whose audit gave one."""

    @property
    def verdict(self) -> str:
        """Whether it saves enough, and costs nothing beyond noise."""
        cost = self.difference.verdict()
        if cost not in ("better", "no worse"):
            return f"regret {cost}"
        return "ok" if self.saved >= LEAST_SAVED else "saves too little"

    @property
    def is_asked(self) -> bool:
        """Whether the verdict decides."""
        return self.kind == _DEFAULT

    def cells(self) -> list[str]:
        """Return the row as it is shown."""
        low, high = self.difference.low, self.difference.high
        return [
            "ours" if self.sampler == "auto" else self.sampler,
            self.task,
            self.kind + (" *" if self.is_asked else ""),
            f"{self.saved:.1%}",
            f"{self.difference.mean:+.4f}",
            f"{low:+.4f} to {high:+.4f}",
            f"{self.difference.upper:+.4f}",
            self.verdict,
            str(self.stopped),
            str(self.wrongly),
            f"{self.estimate:.1f}",
            f"{self.bounds_kept} of {self.bounds}",
        ]


class Results:
    """The studies that were replayed, in a file if there is one; others of changed code are lost.

    Half a line, which a killed run leaves, is passed over.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read what there is.

        Raises:
            EvalError: If the file cannot be read or written.
        """
        self._path = path
        self._known: dict[str, Replay] = {}
        if path is None:
            return
        try:
            path.touch()
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise EvalError(f"cannot keep results in {str(path)!r}: {error}") from None
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                data = json.loads(line)
                audit = data["run"].pop("audit")
                run = Replay(**data["run"], audit=None if audit is None else Audit(**audit))
                self._known[data["key"]] = run

    def replay(self, plan: Plan, task: str, kind: str, seed: int) -> Replay:
        """Return a study's result; replay it if it is not known."""
        key = f"{_code()}/{task}/{plan.sampler}/{kind}/{plan.trials}/{seed}"
        if key not in self._known:
            curves = _curves(task)
            run = replay(curves, {"kind": kind}, plan.sampler, seed, plan.trials, _SLOTS)
            self._known[key] = run
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write("\n" + json.dumps({"key": key, "run": asdict(run)}))
        return self._known[key]


_curves = cache(open_curves)


@cache
def _code() -> str:
    """Return a hash of what pruning is made of: where it changes, results are not used again."""
    package = Path(__file__).parent.parent
    files = ("tools/pruning.py", "tools/curves.py", "tools/audit.py", "evals/replay.py")
    return hashlib.sha256(b"".join((package / f).read_bytes() for f in files)).hexdigest()[:16]


def rows(plan: Plan, results: Results) -> Iterator[Row]:
    """Replay a plan's studies; each row comes as soon as it is known."""

    def all_seeds(task: str, kind: str) -> list[Replay]:
        return [results.replay(plan, task, kind, seed) for seed in range(plan.seeds)]

    for task in plan.tasks:
        plain = all_seeds(task, "none")
        for kind in plan.kinds:
            yield _row(plan, task, kind, plain, all_seeds(task, kind))


def _row(plan: Plan, task: str, kind: str, plain: list[Replay], pruned: list[Replay]) -> Row:
    told = [(run, run.audit) for run in pruned if run.audit is not None and run.audit.spared]
    stopped = sum(run.stopped for run in pruned)
    spared = sum(audit.spared for _, audit in told)
    best = sum(audit.best for _, audit in told)
    return Row(
        sampler=plan.sampler,
        task=task,
        kind=kind,
        saved=sum(run.saved for run in pruned) / len(pruned),
        difference=paired_difference([[r.regret for r in pruned]], [[r.regret for r in plain]]),
        stopped=stopped,
        wrongly=sum(run.wrongly for run in pruned),
        estimate=stopped * best / spared if spared else float("nan"),
        bounds_kept=sum(run.wrongly <= audit.at_most for run, audit in told),
        bounds=len(told),
    )


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit code is 1 if the default kind misses its limit."""
    parser = argparse.ArgumentParser(prog="python -m luthier.evals.pruning")
    parser.add_argument("results", type=Path, nargs="?", help="file in which results are kept")
    parser.add_argument("--smoke", action="store_true", help="a small table, in seconds")
    given = parser.parse_args(arguments)
    results = Results(given.results)
    found = [row for plan in (SMOKE if given.smoke else PLANS) for row in rows(plan, results)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("sampler", "task", "pruner", "saved", "regret", "95% interval", "upper 95%"):
        table.add_column(column)
    for column in ("", "stopped", "wrongly", "audit says", "bound held"):
        table.add_column(column)
    for index in (3, 4, 6, 8, 9, 10, 11):
        table.columns[index].justify = "right"
    for row in found:
        table.add_row(*row.cells())
    Console(width=150).print(table)
    asked = [row for row in found if row.is_asked]
    missed = sum(row.verdict != "ok" for row in asked)
    print(
        f"* the default: at least {LEAST_SAVED:.0%} of the epochs saved at no worse final regret "
        f"beyond noise in {len(asked) - missed} of {len(asked)} rows"
    )
    return int(missed > 0)


if __name__ == "__main__":
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    sys.exit(main(sys.argv[1:]))
