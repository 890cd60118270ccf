"""The report says what the results say, and hides neither crashes nor losses."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from luthier.evals.report import write_report
from luthier.evals.results import Crash, Result, rewrite
from luthier.evals.standings import over_families, standings_of
from luthier.evals.task import EvalError

MakeResult = Callable[..., Result]


@pytest.fixture
def grid(result: MakeResult) -> list[Result]:
    """Return `classical`, behind `tpe` on task one and ahead of it on task two, over 6 seeds."""
    lead = {"one": 0.1, "two": -0.3}
    return [
        result(
            np.linspace(1, level + 0.01 * seed, 50).tolist(), method, task, seed, family=f"f-{task}"
        )
        for task in lead
        for seed in range(6)
        for method, level in (("tpe", 0.4), ("classical", 0.4 + lead[task]))
    ]


def report_of(results: Sequence[Result], folder: Path) -> str:
    rewrite(folder, results)
    return write_report(folder)


def test_a_mean_regret_is_that_of_its_family(grid: list[Result], tmp_path: Path) -> None:
    text = report_of(grid, tmp_path)

    assert "**f-one** (1 tasks, 6 seeds)" in text
    assert "| tpe | " in text
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == text
    first, _ = standings_of(grid)
    assert first.mean("tpe", 50).mean == pytest.approx(0.425)
    assert first.marks == (10, 20, 50)


def test_verdicts_are_paired(grid: list[Result], tmp_path: Path) -> None:
    text = report_of(grid, tmp_path)

    row = next(line for line in text.splitlines() if line.startswith("| f-two | classical – tpe"))
    assert row.endswith("-0.300 [-0.300, -0.300] better |")


def test_what_is_lost_is_listed(grid: list[Result], tmp_path: Path) -> None:
    losses = report_of(grid, tmp_path).split("## Where we lose")[1]

    assert "- f-one, after 50 trials: classical – tpe +0.100 [+0.100, +0.100] worse" in losses
    assert "- one, after 50 trials: classical – tpe +0.100" in losses
    assert "two" not in losses


def test_each_family_has_the_same_share_of_the_mean_over_families(result: MakeResult) -> None:
    results = [
        result([regret], task=task, seed=seed, family=family)
        for family, task, regret in (("a", "1", 0.0), ("a", "2", 0.2), ("b", "3", 0.9))
        for seed in range(5)
    ]

    assert over_families(standings_of(results)).mean("random", 1).mean == pytest.approx(0.5)


def test_a_crash_is_shown_and_counted(grid: list[Result], tmp_path: Path) -> None:
    crashed = [
        Result(**{**vars(r), "regret": r.regret[:3] + (1.5,) * 47, "crash": Crash(3, "no `idea`")})
        if (r.method, r.task, r.seed) == ("tpe", "one", 0)
        else r
        for r in grid
    ]

    text = report_of(crashed, tmp_path)

    assert "- tpe crashed on one, seed 0, at trial 3" in text
    assert "`no 'idea'`" in text
    worse = standings_of(crashed)[0].mean("tpe", 50).mean
    assert worse == pytest.approx(0.425 + (1.5 - 0.4) / 6)


def test_a_missing_cell_takes_its_partners_with_it_and_is_named(
    grid: list[Result], tmp_path: Path
) -> None:
    text = report_of([r for r in grid if (r.method, r.task, r.seed) != ("tpe", "one", 2)], tmp_path)

    assert "  - tpe on one, seed 2" in text
    assert "**f-one** (1 tasks, 5 seeds)" in text


def test_two_seeds_make_no_verdict(grid: list[Result], tmp_path: Path) -> None:
    text = report_of([r for r in grid if r.seed < 2 and r.task == "two"], tmp_path)

    assert "-0.300 [too few seeds] unclear" in text


def test_the_page_of_curves_needs_nothing_but_itself(grid: list[Result], tmp_path: Path) -> None:
    report_of(grid, tmp_path)
    page = (tmp_path / "curves.html").read_text(encoding="utf-8")

    assert "<script src" not in page
    assert "f-one (1 tasks)" in page


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no results; make some: luthier eval run"):
        write_report(tmp_path)
