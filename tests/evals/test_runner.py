"""A run does what is missing, survives a kill, and stays out of another's way."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from luthier.evals.cells import run_cell
from luthier.evals.methods import METHODS
from luthier.evals.report import write_report
from luthier.evals.results import FILE, Cell, Result, read_results, rewrite
from luthier.evals.runner import cells_of, run
from luthier.evals.suites import SUITES, load_task, methods_of, tasks_of
from luthier.evals.task import EvalError

FAST = [METHODS["random"], METHODS["tpe"]]


def test_the_smoke_suite_runs_and_is_reported(tmp_path: Path) -> None:
    methods = methods_of(["random", "tpe", "gp", "classical"])
    cells = cells_of(tasks_of("smoke"), methods, seeds=2, trials=10)

    run(cells, tmp_path, workers=2)

    results = read_results(tmp_path)
    assert {result.cell for result in results} == set(cells)
    assert not any(result.crash for result in results)
    assert "## Where we lose" in write_report(tmp_path)


def test_a_result_says_what_it_was_made_with(tmp_path: Path) -> None:
    run([Cell("conditional", "tpe", 0, 6)], tmp_path)

    (result,) = read_results(tmp_path)
    assert {"luthier", "optuna", "python", "torch"} <= set(result.lineage)
    assert result.fingerprint == load_task("conditional").fingerprint()


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    cells = cells_of(["conditional"], FAST, seeds=2, trials=6)
    run(cells[:3], tmp_path)
    before = (tmp_path / FILE).read_bytes()

    ran: list[Result] = []
    run(cells, tmp_path, on_result=ran.append)

    assert [result.cell for result in ran] == cells[3:]
    assert (tmp_path / FILE).read_bytes().startswith(before)


def test_results_of_a_changed_task_or_method_are_replaced(tmp_path: Path) -> None:
    cells = cells_of(["conditional"], FAST, seeds=2, trials=6)
    run(cells, tmp_path)
    changes = [{"fingerprint": "old"}, {"settings": {"code": "old"}}, {}, {}]
    results = read_results(tmp_path)
    old = [Result(**{**vars(r), **c}) for r, c in zip(results, changes, strict=True)]
    rewrite(tmp_path, old)

    ran: list[Result] = []
    run(cells, tmp_path, on_result=ran.append)

    assert [result.cell for result in ran] == [result.cell for result in old[:2]]
    assert len(read_results(tmp_path)) == 4


def begun(folder: Path, seeds: int) -> subprocess.Popen[str]:
    """Start a run in a process of its own; return it once its first result is written."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "luthier.app", "eval", "run", "synthetic"),
            *("--tasks", "conditional", "--methods", "random,tpe", "--trials", "8"),
            *("--seeds", str(seeds), "--output", str(folder)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_killed_run_goes_on_and_leaves_no_process_behind(tmp_path: Path) -> None:
    with begun(tmp_path, seeds=4) as process:
        workers = workers_of(process)
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=30)
    early = read_results(tmp_path)

    cells = cells_of(["conditional"], FAST, seeds=4, trials=8)
    ran: list[Result] = []
    run(cells, tmp_path, on_result=ran.append)

    assert alive == []
    assert len(ran) == len(cells) - len(early)
    assert {r.cell: r.regret for r in read_results(tmp_path)} == {
        c: run_cell(load_task(c.task), METHODS[c.method], c.seed, c.trials).regret for c in cells
    }


def test_ctrl_c_ends_a_run_at_once_and_says_how_to_go_on(tmp_path: Path) -> None:
    with begun(tmp_path, seeds=2000) as process:
        workers = workers_of(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=30)

    assert process.returncode == 130
    assert errors == "error: stopped; the same command goes on with what is missing\n"
    assert alive == []


def test_a_worker_that_is_killed_is_reported_and_nothing_is_lost(tmp_path: Path) -> None:
    with begun(tmp_path, seeds=2000) as process:
        (worker,) = workers_of(process)
        worker.kill()
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "a process of the eval was killed, perhaps for want of memory" in errors
    assert read_results(tmp_path)


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(EvalError, match="another run writes to"):
        run([Cell("conditional", "random", 0, 6)], tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(EvalError, match="cannot write results to .*file"):
        run([Cell("conditional", "random", 0, 6)], tmp_path / "file")


def test_a_cell_has_the_tasks_budget_unless_told_otherwise() -> None:
    assert {cell.trials for cell in cells_of(["conditional"], FAST, 1, None)} == {50}
    assert {cell.trials for cell in cells_of(["conditional"], FAST, 1, 7)} == {7}


@pytest.mark.parametrize("suite", list(SUITES))
def test_a_suite_names_tasks_that_there_are(suite: str) -> None:
    assert set(SUITES[suite]) <= set(SUITES["all"])


@pytest.mark.parametrize("name", SUITES["all"])
def test_every_task_can_be_opened_under_its_name(name: str) -> None:
    task = load_task(name)

    assert task.name == name
    assert task.card
    assert task.source
    assert task.licence


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(EvalError, match="unknown task 'segmnt'; did you mean 'segment'"):
        load_task("segmnt")
