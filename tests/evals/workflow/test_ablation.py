"""Problems of the ablation can be improved, and their cells tell what came of it."""

import json
from random import Random

import pytest
from luthier.agent.llm.answers import Message
from luthier.agent.workflow import sandbox
from luthier.agent.workflow.evaluate import Evaluator
from luthier.agent.workflow.propose import RandomProposer
from luthier.evals.advisers.editing import editor
from luthier.evals.advisers.mind import Request
from luthier.evals.workflow.__main__ import main, report
from luthier.evals.workflow.ablation import PROBLEMS, VIEWS, Cell, cells, mind_of, run_cell
from luthier.evals.workflow.battleship import SHIPS, SIZE, battleship
from luthier.evals.workflow.numerical import numerical
from luthier.evals.workflow.pipelines import pipelines
from luthier.evals.workflow.problem import Problem, Values

isolates = pytest.mark.skipif(
    sandbox.available() is not None, reason=f"no sandbox: {sandbox.available()}"
)


def mean(problem: Problem, values: Values, cases: int = 8) -> float:
    evaluator = Evaluator(problem.workflow, problem.suite)
    results = evaluator.evaluate(problem.params.but(values), problem.suite.cases[:cases])
    return sum(result.score for result in results.values()) / cases


def asked(problem: Problem, adviser: str) -> list[str]:
    """Return which parameters a simulated model edits that is shown nothing."""
    reply = mind_of(problem, adviser, 0)(Request((Message("user", "nothing"),)))
    return [edit["param"] for edit in json.loads(reply.texts[0])["edits"]]


@isolates
@pytest.mark.parametrize("make", [battleship, pipelines])
def test_what_the_feedback_speaks_for_helps_and_a_lie_does_not(make: object) -> None:
    assert callable(make)
    problem = make(0)
    told = "cells beside a hit were never tried; spread of columns 1.2 to 50"

    assert mean(problem, problem.fix(told, Random(0))) > mean(problem, {})
    assert mean(problem, problem.harm(Random(0))) <= mean(problem, {})


@isolates
def test_most_guesses_are_worse_than_what_the_feedback_speaks_for() -> None:
    problem = pipelines(0)
    best = mean(problem, problem.fix("spread of columns 1.2 to 50", Random(0)))

    guessed = [mean(problem, problem.guess(Random(seed))) for seed in range(8)]
    assert sum(score < best - 0.2 for score in guessed) > 4


def test_the_same_seed_makes_the_same_problem() -> None:
    for make in PROBLEMS.values():
        assert make(3).suite.cases == make(3).suite.cases
        assert make(3).suite.cases != make(4).suite.cases


def test_boards_hold_all_ships() -> None:
    for case in battleship(1).suite.cases:
        assert len(case.inputs) == sum(SHIPS)
        assert all(0 <= i < SIZE for cell in case.inputs for i in cell)


def test_labels_do_not_enter_a_table() -> None:
    case = pipelines(0).suite.cases[0]
    rows, classes, hidden = case.inputs

    assert (len(rows), len(classes), len(hidden)) == (80, 80, 40)


@isolates
def test_the_broken_recipe_is_told_with_its_line() -> None:
    problem = pipelines(0)
    case = problem.suite.cases[0]
    result = Evaluator(problem.workflow, problem.suite).evaluate(problem.params, [case])[case.name]

    assert result.score == 0.0
    assert result.feedback.error is not None
    assert (result.feedback.error.kind, result.feedback.error.line) == ("AttributeError", 3)


def test_a_fixer_with_the_graph_finds_the_number_and_one_without_does_not() -> None:
    found = {
        (cell.adviser, cell.proposer): cell for cell in cells(["numerical"], 3, [0], endpoint=None)
    }

    assert found["fixer", "optimizer"].end == pytest.approx(1.0, abs=0.05)
    assert found["fixer", "masked"].end < 0.5
    assert found["liar", "optimizer"].end == found["liar", "optimizer"].start
    assert found["liar", "optimizer"].accepted == 0
    assert {cell.proposals for cell in found.values()} == {3}
    assert {cell.calls for cell in found.values() if cell.adviser != "liar"} == {3}
    assert found["liar", "optimizer"].calls == 6
    assert {proposer for _, proposer in found} == {*VIEWS, "random"}


def test_a_cell_can_be_made_again() -> None:
    def ends() -> list[float]:
        problem = numerical(0)
        cell = run_cell(problem, "-", RandomProposer(), 4, 0)
        return [cell.start, cell.end, cell.accepted]

    assert ends() == ends()


def test_a_liar_names_the_scorer_and_a_guesser_does_not_read() -> None:
    assert asked(numerical(0), "liar") == ["x", "scorer"]
    assert asked(numerical(0), "guesser") == ["x"]


def test_an_editor_reads_the_prompt_without_its_fences() -> None:
    read = []
    mind = editor(lambda text, rng: read.append(text) or {}, "nothing", 0)

    reply = mind(Request((Message("user", "Look:\n> run a\n> > b"),)))

    assert read == ["Look:\nrun a\n> b"]
    assert json.loads(reply.texts[0]) == {"diagnosis": "nothing", "edits": []}


def test_a_report_tells_losses_and_that_models_are_simulated() -> None:
    done = [
        Cell(
            "numerical", "liar", "opro", seed, 6, 7, 1, start=0.5, end=end, worst=0.25, seconds=1.0
        )
        for seed, end in ((0, 0.5), (1, 0.3))
    ]
    text = report(done, steps=6, seeds=2, model=None, arguments=[])

    assert "| liar | opro | 0.500 | 0.400 | -0.100 | 0.250 | 2 of 12 | 14 | 1.0 |" in text
    assert "Plumbing" in text
    assert "Plumbing" not in report(done, steps=6, seeds=2, model="m", arguments=[])


@pytest.mark.parametrize(
    "arguments",
    [["--problems", "chess"], ["--llm", "http://127.0.0.1:1"], ["--steps", "0"]],
)
def test_what_cannot_be_run_is_refused_before_it_begins(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

    assert "error" in capsys.readouterr().err
