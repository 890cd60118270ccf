"""Runs methods on tasks with seeds, several at a time; what is done already is not done again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from pathlib import Path

from .cells import run_cell
from .lineage import lineage_of_now
from .methods import Method
from .results import Cell, Result, append, read_results, rewrite
from .suites import all_methods, load_task
from .task import EvalError

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cells_of(
    tasks: Sequence[str], methods: Sequence[Method], seeds: int, trials: int | None
) -> list[Cell]:
    """Return the cells of a run, a task's together.

    Args:
        tasks: Names of tasks.
        methods: What is compared.
        seeds: Number of seeds, counted from 0.
        trials: Trials of a cell; None for each task's own budget.

    Raises:
        EvalError: If a task is unknown or its data are not there.
    """
    budgets = {name: trials or load_task(name).budget for name in tasks}
    return [
        Cell(task, method.name, seed, budgets[task])
        for task, seed, method in product(tasks, range(seeds), methods)
    ]


def run(
    cells: Sequence[Cell],
    folder: Path,
    workers: int = 1,
    on_result: Callable[[Result], None] = lambda result: None,
) -> None:
    """Run the cells that have no result in `folder` yet, each in one of `workers` processes.

    Args:
        cells: What to run.
        folder: Where results are; made if it is missing.
        workers: Processes, of one thread each.
        on_result: Called with each new result, once it is written.

    Raises:
        EvalError: If another run writes to the folder, its results cannot be read, a task cannot
            be opened, or a process was killed.
    """
    from filelock import FileLock, Timeout

    fingerprints = {name: load_task(name).fingerprint() for name in {c.task for c in cells}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvalError(
            f"cannot write results to {str(folder)!r}: {error.strerror}; name another folder"
        ) from None
    try:
        with FileLock(folder / ".lock", timeout=0):
            missing = _missing(cells, folder, fingerprints)
            if missing:
                _run_in_processes(missing, folder, min(workers, len(missing)), on_result)
    except Timeout:
        raise EvalError(
            f"another run writes to {str(folder)!r}; wait for its end, or use another folder"
        ) from None


def _missing(cells: Sequence[Cell], folder: Path, fingerprints: Mapping[str, str]) -> list[Cell]:
    """Drop the results that a changed task or method made worthless; return what is to be run."""
    results = read_results(folder)
    methods = all_methods()
    valid = [
        r
        for r in results
        if fingerprints.get(r.task, r.fingerprint) == r.fingerprint
        and (r.method not in methods or methods[r.method].settings == r.settings)
    ]
    rewrite(folder, valid)  # also without half a line at its end
    done = {result.cell for result in valid}
    return [cell for cell in cells if cell not in done]


def _run_in_processes(
    cells: Sequence[Cell], folder: Path, workers: int, on_result: Callable[[Result], None]
) -> None:
    not_ours = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_process
    )
    lineage = lineage_of_now()
    try:
        futures = [executor.submit(_run_named, cell, lineage) for cell in cells]
        for future in as_completed(futures):
            result = future.result()
            append(folder, result)
            on_result(result)
    except BrokenProcessPool:
        raise EvalError(
            "a process of the eval was killed, perhaps for want of memory; the same command goes "
            "on with what is missing"
        ) from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - not_ours:
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _begin_process() -> None:
    """Make a fresh process one thread wide, deaf to Ctrl-C, and mortal with its parent."""
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # for what is loaded from now on
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_named(cell: Cell, lineage: dict[str, str]) -> Result:
    task, method = load_task(cell.task), all_methods()[cell.method]
    return run_cell(task, method, cell.seed, cell.trials, lineage)
