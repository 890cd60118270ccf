"""What Luthier costs beside the training itself, each figure as a ratio to a peer in the same run.

python -m luthier.evals.overhead
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ..agent.tune import tune
from ..tools.devices import plan_devices
from ..tools.executor_spec import Executor
from ..tools.leases import Leases
from ..tools.records import TrialRecord
from ..tools.space import Configuration, Float
from .idle_gap import IdleGap, idle_gap
from .lab_pace import Pace, pace
from .measured import Row, import_seconds, median, print_rows, process_seconds, told_by
from .trainings import quick, slow
from .workflow.performance import sandbox_rows, tracing_row

_LOOP_TRIALS = 60
_STUDY_TRIALS = 40
_LEASES = 50
_SLOTS = 2


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
    told = told_by([sys.executable, "-m", "luthier.evals.overhead", name])
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
        Row("lease of a trial", median(leases), "3 ms", 0.003, limit=1.0),
        Row(
            "loop, a trial",
            median(lambda: in_fresh_process("loop")[0]),
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
        tracing_row(),
        *sandbox_rows(),
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
