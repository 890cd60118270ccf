"""The file of results survives a kill, and refuses what it cannot read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from luthier.evals.results import (
    FILE,
    Crash,
    Result,
    append,
    check_agreement,
    read_results,
    rewrite,
    to_line,
)
from luthier.evals.task import EvalError

MakeResult = Callable[..., Result]


def test_a_result_is_read_as_it_was_written(tmp_path: Path, result: MakeResult) -> None:
    written = [result([1.5, 0.25]), result([1.5], seed=1, crash=Crash(0, "no idea"))]
    for one in written:
        append(tmp_path, one)

    assert read_results(tmp_path) == written


def test_a_folder_without_results_has_none(tmp_path: Path) -> None:
    assert read_results(tmp_path / "nowhere") == []


def test_the_latest_result_of_a_cell_counts(tmp_path: Path, result: MakeResult) -> None:
    append(tmp_path, result([0.5]))
    append(tmp_path, result([0.25]))

    assert [r.regret for r in read_results(tmp_path)] == [(0.25,)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_half_of_a_last_line_is_dropped(tmp_path: Path, result: MakeResult, share: float) -> None:
    append(tmp_path, result([0.5]))
    line = to_line(result([0.25], seed=1))
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write(line[: int(share * len(line))])

    assert [r.seed for r in read_results(tmp_path)] == [0]
    rewrite(tmp_path, read_results(tmp_path))
    append(tmp_path, result([0.25], seed=2))
    assert [r.seed for r in read_results(tmp_path)] == [0, 2]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"format": 1}', '{"task": "one"}', ""])
def test_a_damaged_line_is_named(tmp_path: Path, result: MakeResult, line: str) -> None:
    (tmp_path / FILE).write_text(line + "\n" + to_line(result([0.5])), encoding="utf-8")

    with pytest.raises(EvalError, match=r"line 1 of .*cells.jsonl' is no result of an eval"):
        read_results(tmp_path)


def test_a_file_of_another_format_is_refused(tmp_path: Path, result: MakeResult) -> None:
    data = json.loads(to_line(result([0.5]))) | {"format": 2}
    (tmp_path / FILE).write_text(json.dumps(data) + "\n", encoding="utf-8")

    with pytest.raises(EvalError, match=r"written in format 2, but this Luthier reads format 1"):
        read_results(tmp_path)


def test_results_of_a_changed_task_are_not_compared(tmp_path: Path, result: MakeResult) -> None:
    with pytest.raises(EvalError, match="task 'one' changed between two results"):
        check_agreement([result([0.5]), result([0.5], fingerprint="g")], tmp_path)
