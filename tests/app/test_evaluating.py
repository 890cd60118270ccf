"""`luthier eval` from end to end."""

import pytest

from .conftest import Luthier

RUN = ("eval", "run", "synthetic", "--tasks", "conditional", "--methods", "random,tpe")


def test_run_then_report(luthier: Luthier) -> None:
    ran = luthier(*RUN, "--seeds", 2, "--trials", 6, "--output", "out")
    reported = luthier("eval", "report", "out")

    assert ran.code == 0
    assert ran.out.count("regret") == 4
    assert "Next: luthier eval report out" in ran.out
    assert reported.code == 0
    assert "## Mean regret" in reported.out
    assert "Written to out/report.md and out/curves.html." in reported.out


def test_list_shows_suites_and_methods(luthier: Luthier) -> None:
    listed = luthier("eval", "list").out

    assert "smoke: digits-mlp, bbob-sphere, conditional" in listed
    assert "tpe: Optuna's TPESampler()" in listed


def test_list_of_a_suite_shows_what_is_known_of_its_tasks(luthier: Luthier) -> None:
    listed = luthier("eval", "list", "synthetic").out

    assert "bbob-sphere (synthetic)" in listed
    assert "minimize; best 0, median" in listed
    assert "50 trials; 5 parameters: x1, x2, x3, x4, x5" in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "tabels"), "unknown suite 'tabels'; did you mean 'tables'?"),
        (("run", "tabels"), "unknown suite 'tabels'; did you mean 'tables'?"),
        (("run", "tables", "--tasks", "segmnt"), "no task 'segmnt'; did you mean 'segment'?"),
        (("run", "smoke", "--methods", "gp,tp"), "unknown method 'tp'; did you mean 'tpe'?"),
        (("report", "nowhere"), "'nowhere' holds no results; make some"),
    ],
)
def test_bad_input_gets_one_sentence(
    luthier: Luthier, arguments: tuple[str, ...], message: str
) -> None:
    run = luthier("eval", *arguments)

    assert run.code == 2
    assert message in run.err
    assert run.out == ""
