"""Configurations before there is any result."""

import itertools

import pytest
from luthier.agent.llambo.asking import Conversation
from luthier.agent.llambo.context import Problem, TaskCard
from luthier.agent.llambo.data_card import DataCard
from luthier.agent.llambo.geometry import NEAR, distance
from luthier.agent.llambo.past import (
    PastStudy,
    card_distance,
    carry_over,
    neighbours,
    past_studies,
    space_distance,
)
from luthier.agent.llambo.warmstart import SPREAD, warm_start
from luthier.agent.llambo.wishes import Limit, Wishes
from luthier.evals.advisers import minds
from luthier.tools.ledger import open_ledger
from luthier.tools.outcomes import Outcome, Verdict
from luthier.tools.records import Decision
from luthier.tools.space import Categorical, Float, Int, SearchSpace
from luthier.tools.spec import parse_spec
from luthier.tools.study import with_name


def portfolio(*values):
    return {"configurations": [{"role": "safe", "values": v} for v in values]}


def point(lr, units=64, **more):
    return {
        "lr": lr,
        "units": units,
        "dropout": 0.1,
        "optimizer": "adamw",
        "momentum": None,
        "warm": 0,
        "total": 10,
        **more,
    }


def far_apart(space, starts, least):
    configurations = [start.configuration for start in starts]
    return all(distance(space, a, b) >= least for a, b in itertools.combinations(configurations, 2))


def test_one_request_asks_for_twice_as_many_as_are_wanted(problem, model):
    llm = model(minds.textbook())

    warm = warm_start(Conversation(llm), problem, 4, seed=0)

    assert len(llm.asked) == 1
    assert "Give 8 configurations" in llm.asked[0][1][1].content
    assert [start.origin for start in warm.starts] == ["llm"] * 4
    assert warm.prompts == ("warmstart@1",)
    assert warm.usage.calls == 1


def test_what_comes_back_is_valid_and_spread_out(problem, model):
    warm = warm_start(Conversation(model(minds.novice())), problem, 6, seed=0)

    assert all(problem.space.contains(start.configuration) for start in warm.starts)
    assert far_apart(problem.space, warm.starts, SPREAD)


def test_the_most_trustworthy_one_comes_first(problem, says):
    answer = portfolio(point(1e-3), point(1e-3), point(1e-5), point(0.1, 8))

    warm = warm_start(Conversation(says(answer)), problem, 2, seed=0)

    assert [start.configuration["lr"] for start in warm.starts] == [1e-3, 0.1]
    assert warm.starts[0].reason == "a safe configuration to begin with"
    assert warm.faults == {"near another": 2}


def test_what_is_missing_comes_from_the_textbook_and_then_from_sobol(problem, says):
    warm = warm_start(Conversation(says(portfolio(point(0.1, 8)))), problem, 24, seed=0)

    origins = [start.origin for start in warm.starts]
    assert sorted(origins, key=["llm", "textbook", "sobol"].index) == origins
    assert origins.count("llm") == 1
    assert {"textbook", "sobol"} <= set(origins)
    assert far_apart(problem.space, warm.starts, NEAR)


def test_names_that_nobody_knows_are_left_to_sobol():
    space = SearchSpace(parameters={"q1": Float(low=0, high=1), "q2": Float(low=0, high=1)})

    warm = warm_start(None, Problem(space, "minimize"), 5, seed=0)

    assert [start.origin for start in warm.starts] == ["sobol"] * 5


def test_a_small_space_gives_as_many_as_it_has():
    space = SearchSpace(parameters={"kind": Categorical(choices=["a", "b"])})

    assert len(warm_start(None, Problem(space, "minimize"), 5, seed=0).starts) == 2


@pytest.mark.parametrize("cause", ["timeout", "refused", "budget"])
def test_without_an_answer_it_is_the_classical_start_with_the_cause(problem, failing, cause):
    warm = warm_start(Conversation(failing(cause)), problem, 3, seed=0)

    assert warm.error is not None
    assert warm.error.cause == cause
    assert warm.usage.prompt_tokens == 7
    assert [s.configuration for s in warm.starts] == [
        s.configuration for s in warm_start(None, problem, 3, seed=0).starts
    ]


@pytest.mark.parametrize("mind", [minds.garbage(), minds.injecting()])
def test_a_bad_answer_cannot_spoil_the_start(problem, model, mind):
    warm = warm_start(Conversation(model(mind)), problem, 5, seed=0)

    assert len(warm.starts) == 5
    assert all(problem.space.contains(start.configuration) for start in warm.starts)


def test_what_a_person_wants_comes_first_and_keeps_to_the_limits(problem, model):
    wishes = Wishes({"lr": 3e-4}, {"units": Limit(high=64)})

    warm = warm_start(Conversation(model(minds.novice())), problem, 5, seed=0, wishes=wishes)

    assert warm.starts[0].origin == "wish"
    assert warm.starts[0].configuration["lr"] == 3e-4
    assert all(start.configuration["units"] <= 64 for start in warm.starts)


def test_what_the_prompt_tells_depends_on_the_level(problem, model):
    llm = model(minds.novice())
    for level in ("none", "full"):
        card = TaskCard("A network for digits.", "loss", level=level)
        warm_start(Conversation(llm), Problem(problem.space, "minimize", card), 2, seed=0)

    told = ["A network for digits." in messages[1].content for _, messages in llm.asked]
    assert told == [False, True]


# --- earlier studies ------------------------------------------------------------------------

SMALL = SearchSpace.model_validate(
    {
        "parameters": {
            "lr": Float(low=1e-4, high=1.0, log=True),
            "units": Int(low=8, high=108),
            "optimizer": Categorical(choices=["sgd", "adamw"]),
        }
    }
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.0),
        ({"lr": Float(low=1e-4, high=1e-2, log=True)}, 0.5 / 3),
        ({"units": Int(low=58, high=158)}, (1 - 50 / 150) / 3),
        ({"optimizer": Categorical(choices=["sgd", "lion"])}, (1 - 1 / 3) / 3),
        ({"units": Categorical(choices=[8, 16])}, 1 / 3),
        ({"other": Float(low=0, high=1)}, 1 / 4),
    ],
)
def test_spaces_are_as_far_apart_as_their_ranges_differ(changes, expected):
    other = SearchSpace(parameters={**SMALL.parameters, **changes})

    assert space_distance(SMALL, other) == pytest.approx(expected)
    assert space_distance(other, SMALL) == pytest.approx(expected)


def test_data_sets_are_as_far_apart_as_their_sizes():
    small = DataCard(100, 10, class_shares=(0.5, 0.5))

    assert card_distance(small, small) == 0
    assert card_distance(small, DataCard(1000, 10, class_shares=(0.5, 0.5))) == pytest.approx(1 / 9)
    assert card_distance(small, DataCard(100, 10)) == pytest.approx(1 / 3)


def test_near_studies_are_found_and_the_distance_is_in_the_reason(problem):
    best = {"lr": 0.5, "units": 100, "optimizer": "adamw"}
    alike = PastStudy("alike", SMALL, (best,), DataCard(100, 10))
    other = PastStudy("other", SearchSpace(parameters={"x": Float(low=0, high=1)}), ({"x": 0.5},))

    (near,) = neighbours(SMALL, DataCard(100, 10), [other, alike])

    assert near.reason == (
        "among the best of study 'alike' at distance 0.00 (space 0.00, data 0.00)"
    )


def test_a_configuration_is_carried_over_into_the_new_ranges(problem):
    carried = carry_over(problem.space, {"lr": 0.5, "units": 100, "optimizer": "lion", "old": 1})

    assert problem.space.contains(carried)
    assert (carried["lr"], carried["units"]) == (0.1, 100)


def test_the_best_of_a_near_study_is_tried_and_told(problem, model):
    best = {"lr": 0.05, "units": 32, "optimizer": "adamw", "dropout": 0.2, "warm": 1, "total": 9}
    past = neighbours(problem.space, None, [PastStudy("old", problem.space, (best,))])
    llm = model(minds.novice())

    warm = warm_start(Conversation(llm), problem, 3, seed=0, past=past)

    assert (warm.starts[0].origin, warm.starts[0].configuration) == ("past study", best)
    assert "study 'old' at distance 0.00" in warm.starts[0].reason
    assert '[0.05,32,0.2,"adamw",null,1,9]' in llm.asked[0][1][1].content


def test_a_ledgers_studies_are_read_best_first(tmp_path):
    spec = parse_spec(
        {
            "name": "first",
            "objective": {"kind": "script", "command": ["python", "x.py"]},
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "metrics": {"acc": {"direction": "maximize"}},
        }
    )
    ledger = open_ledger(tmp_path / "ledger.db")
    ledger.create_study(with_name(spec, "empty"), tmp_path)
    writer = ledger.acquire(ledger.create_study(spec, tmp_path))
    for number, accuracy in enumerate((0.5, 0.9, 0.7, 0.1)):
        trial = writer.add_trial(number, {"x": number / 10}, Decision("gp", ""), "cpu:0", 0.0)
        writer.finish_attempt(
            trial,
            Verdict(Outcome.COMPLETE, "ended by itself"),
            metrics={"acc": accuracy},
            seconds=1.0,
            peak_bytes=0,
            error_tail="",
            again=False,
        )
    writer.release()

    (found,) = past_studies(ledger, {"first": DataCard(10, 2)})

    assert found.best == ({"x": 0.1}, {"x": 0.2}, {"x": 0.0})
    assert (found.name, found.data) == ("first", DataCard(10, 2))
    assert past_studies(ledger, without="first") == []
    ledger.close()
