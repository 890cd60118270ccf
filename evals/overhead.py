"""What Luthier costs beside the training itself, each figure as a ratio to a peer in the same run.

python -m luthier.evals.overhead
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from ..agent.tune import tune
from ..tools.devices import plan_devices
from ..tools.executor_spec import Executor
from ..tools.leases import Leases
from ..tools.records import TrialRecord
from ..tools.space import Configuration, Float
from .idle_gap import IdleGap, idle_gap
from .lab_pace import Pace, pace
from .trainings import quick, slow

_REPEATS = 5
_LOOP_TRIALS = 60
_STUDY_TRIALS = 40
_LEASES = 50
_OPS = 300
_SLOTS = 2


@dataclass(frozen=True)
class Row:
    """One measurement beside its reference, the less the better."""

    what: str
    value: float
    reference: str
    reference_value: float
    limit: float
    """The largest ratio that is allowed."""
    unit: Literal["ms", "KB"] = "ms"
    """What both are shown in; they are in seconds or bytes."""

    @property
    def ratio(self) -> float:
        """How many times the reference it takes."""
        return self.value / self.reference_value

    def cells(self) -> list[str]:
        """Return the row as it is shown."""
        scale = 1000.0 if self.unit == "ms" else 0.001
        return [
            self.what,
            f"{scale * self.value:.1f}",
            self.reference,
            f"{scale * self.reference_value:.1f}",
            self.unit,
            f"{self.ratio:.2f}",
            f"{self.limit:.2f}",
            "ok" if self.ratio <= self.limit else "too much",
        ]


def import_seconds(statement: str) -> float:
    """Return the time of an import statement in a fresh interpreter, median of 5."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return _median(lambda: float(_run([sys.executable, "-c", code])))


def process_seconds(command: list[str]) -> float:
    """Return the wall time of a whole process, median of 5."""

    def once() -> float:
        begun = time.perf_counter()
        _run(command)
        return time.perf_counter() - begun

    return _median(once)


def _median(measure: Callable[[], float]) -> float:
    measure()  # the first one reads the files from the disk
    return statistics.median(measure() for _ in range(_REPEATS))


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def loop() -> float:
    """Return the time of a trial that is neither the trial's nor the sampler's.

    On one slot it is all the time from the first trial's start to the last one's end, less the
    trials' own time and the proposals', divided by the number of trials.
    """
    trials, decisions = _study(quick, _LOOP_TRIALS, slots=1, sampler="random")
    return (_span(trials) - sum(t.seconds for t in trials) - sum(decisions)) / len(trials)


def study() -> float:
    """Return the time of a 40-trial study of a 1-second callable on 2 slots."""
    trials, _ = _study(slow, _STUDY_TRIALS, slots=_SLOTS)
    return _span(trials)


def in_fresh_process(name: str) -> list[float]:
    """Return what a measurement of this module gives where nothing has been imported before."""
    told = _run([sys.executable, "-m", "luthier.evals.overhead", name])
    return [float(figure) for figure in told.split()]


def _study(
    function: Callable[[Configuration], float], budget: int, slots: int, sampler: str = "auto"
) -> tuple[list[TrialRecord], list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        result = tune(
            function,
            space={"x": Float(low=0.0, high=1.0), "y": Float(low=0.0, high=1.0)},
            metric="value",
            direction="minimize",
            budget=budget,
            workspace=Path(folder),
            progress=False,
            executor={"device": "cpu", "slots": slots},
            sampler={"kind": sampler},
        )
        seconds = [decision.seconds for decision in result.study.decisions().values()]
        result.study.ledger.close()
        return result.trials, seconds


def _span(trials: list[TrialRecord]) -> float:
    ends = [trial.finished_at for trial in trials if trial.finished_at is not None]
    return max(ends) - min(trial.created_at for trial in trials)


def optuna_study() -> float:
    """Return the time of the same study by `optuna.Study.optimize` with 2 threads."""
    import optuna

    def objective(trial: optuna.Trial) -> float:
        return slow({name: trial.suggest_float(name, 0.0, 1.0) for name in ("x", "y")})

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    study.optimize(objective, n_trials=_STUDY_TRIALS, n_jobs=_SLOTS)
    starts = [t.datetime_start.timestamp() for t in study.trials if t.datetime_start]
    ends = [t.datetime_complete.timestamp() for t in study.trials if t.datetime_complete]
    return max(ends) - min(starts)


def leases() -> float:
    """Return the mean time of taking and giving back a lease, beside another study's."""
    plan = plan_devices(Executor(device="cpu", slots=2))
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (Leases(plan, name, folder=Path(folder)) for name in ("ours", "theirs"))
        theirs.acquire()
        begun = time.perf_counter()
        for _ in range(_LEASES):
            lease = ours.acquire(attempt_folder=Path(folder))
            assert lease is not None
            ours.release(lease)
        return (time.perf_counter() - begun) / _LEASES


def tracing() -> float:
    """Return what tracing adds to `_OPS` calls of an op, in seconds."""
    from ..agent.workflow.trace import op, rollout

    def plain(value: list[int]) -> list[int]:
        return [*value]

    def seconds(function: Callable[[list[int]], list[int]]) -> float:
        value = [1]
        begun = time.perf_counter()
        for _ in range(_OPS):
            value = function(value)
        return time.perf_counter() - begun

    with rollout({}):
        return seconds(op(plain)) - seconds(plain)


def sandbox_call() -> float:
    """Return how long a call of an empty function takes in the sandbox, in seconds."""
    from ..agent.workflow.sandbox import run

    return run("def f():\n    pass", "f", [()]).seconds


def _sandbox_rows() -> list[Row]:
    from ..agent.workflow.sandbox import available

    if available() is not None:
        return []
    return [Row("empty sandbox call", _median(sandbox_call), "0.5 s", 0.5, limit=1.0)]


def measure() -> list[Row]:
    """Measure everything; it takes about four minutes."""
    imports = "import typer, rich, pydantic"
    gap = IdleGap(*in_fresh_process("idle_gap"))
    lab = Pace(*in_fresh_process("pace"))
    return [
        Row(
            "import luthier",
            import_seconds("import luthier"),
            "import pydantic",
            import_seconds("from pydantic import BaseModel"),
            limit=2.0,
        ),
        Row(
            "resolve luthier.tune",
            import_seconds("import luthier; luthier.tune"),
            "import optuna",
            import_seconds("import optuna"),
            limit=1.2,
        ),
        Row(
            "luthier --help",
            process_seconds([sys.executable, "-m", "luthier.app", "--help"]),
            f'python -c "{imports}"',
            process_seconds([sys.executable, "-c", imports]),
            limit=2.5,
        ),
        Row("lease of a trial", _median(leases), "3 ms", 0.003, limit=1.0),
        Row(
            "loop, a trial",
            _median(lambda: in_fresh_process("loop")[0]),
            "20 ms",
            0.020,
            limit=1.0,
        ),
        Row(
            f"{_STUDY_TRIALS} trials of 1 s, {_SLOTS} slots",
            in_fresh_process("study")[0],
            f"Study.optimize(n_jobs={_SLOTS})",
            in_fresh_process("optuna_study")[0],
            limit=1.05,
        ),
        Row("idle gap, median", gap.median, "the same of a bare server", gap.bare_start, limit=3.0),
        Row("with the end before", gap.whole, "bare fork server", gap.bare, limit=3.0),
        Row("idle gap, median", gap.median, "60 ms", 0.060, limit=1.0),
        Row("idle gap, 95th percentile", gap.high, "200 ms", 0.200, limit=1.0),
        Row(
            "idle gap, model of 30 s",
            gap.advised,
            "without a model",
            gap.median,
            limit=1.2,
        ),
        Row("lab, CPU at trial 5,000", lab.late, "at trial 100", lab.early, limit=2.0),
        Row("lab, growth a trial", lab.growth, "8 KB", 8_000.0, limit=1.0, unit="KB"),
        Row("lab, a trial", lab.wall, "2,000 trials a minute", 60.0 / 2_000, limit=1.0),
        Row(f"tracing {_OPS} ops", _median(tracing), "20 us each", 20e-6 * _OPS, limit=1.0),
        *_sandbox_rows(),
    ]


_SINGLE: dict[str, Callable[[], Iterable[float]]] = {
    "loop": lambda: [loop()],
    "study": lambda: [study()],
    "optuna_study": lambda: [optuna_study()],
    "idle_gap": idle_gap,
    "pace": pace,
}


def main(arguments: list[str]) -> int:
    """Print the table; the exit code is 1 if a limit is exceeded."""
    if arguments:
        print(*_SINGLE[arguments[0]]())
        return 0
    return print_rows(measure())


def print_rows(rows: Sequence[Row]) -> int:
    """Print measurements as a table; return 1 if a limit is exceeded, else 0."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "", "reference", "", "", "ratio", "limit", ""):
        table.add_column(column)
    for index in (1, 3, 5, 6):
        table.columns[index].justify = "right"
    for row in rows:
        table.add_row(*row.cells())
    Console(width=120).print(table)
    return int(any(row.ratio > row.limit for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
