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
    cells = cells_of(["conditional"], FAST, seeds=1, trials=6)
    run(cells, tmp_path)
    old = [
        Result(**{**vars(r), "fingerprint": "old"} if r.method == "tpe" else vars(r))
        for r in read_results(tmp_path)
    ]
    rewrite(tmp_path, old)

    ran: list[Result] = []
    run(cells, tmp_path, on_result=ran.append)

    assert [result.method for result in ran] == ["tpe"]
    assert len(read_results(tmp_path)) == 2


def test_a_killed_run_goes_on_and_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "luthier.app", "eval", "run", "synthetic"),
        *("--tasks", "conditional,bbob-sphere", "--methods", "random,tpe"),
        *("--seeds", "3", "--trials", "8", "--output", str(tmp_path / "killed")),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first result is written
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=30)
    early = read_results(tmp_path / "killed")

    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    cells = cells_of(["conditional", "bbob-sphere"], FAST, seeds=3, trials=8)
    assert alive == []
    assert again.count("  seed ") == len(cells) - len(early)
    assert {r.cell: r.regret for r in read_results(tmp_path / "killed")} == {
        c: run_cell(load_task(c.task), METHODS[c.method], c.seed, c.trials).regret for c in cells
    }


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
