"""The classical optimiser: Optuna's own contract, and what a study may rely on."""

import itertools
import logging
import math
import threading
from dataclasses import replace

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.agent.classical import (
    ClassicalSampler,
    propose,
    propose_at_random,
    start_up_trials,
)
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.space import Float, SearchSpace
from luthier.tools.spec import parse_spec
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

examples = settings(derandomize=True, deadline=None, max_examples=12, database=None)


@pytest.fixture(autouse=True)
def _one_thread():
    """Compute as the proposals' own thread does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- Optuna's contract ----------------------------------------------------------------------

ELSEWHERE = {"unrelated": FloatDistribution(0, 1)}
KNOWN = {
    "test_nan_objective_value": {"x": FloatDistribution(0.1, 0.2)},
    "test_partial_fixed_sampling": {
        "x": FloatDistribution(-1, 1),
        "y": IntDistribution(-1, 1),
        "z": FloatDistribution(-1, 1),
    },
    "test_trial_relative_params": {
        "x": FloatDistribution(-10, 10),
        "y": FloatDistribution(-10, 10),
    },
    "test_sample_relative_categorical": {
        "x": CategoricalDistribution([1, 10, 100]),
        "y": CategoricalDistribution([-1, -10, -100]),
    },
    "test_conditional_sample_independent": {
        "category": CategoricalDistribution(["x", "y"]),
        "x": CategoricalDistribution(["a", "b"]),
        "y": CategoricalDistribution(["a", "b"]),
    },
    "test_dynamic_range_objective": {"x": FloatDistribution(0, 10), "y": IntDistribution(0, 10)},
}


def suggested(method, name):
    """Return the distribution that one of `optuna.testing`'s suggest methods asks for."""
    asked = optuna.trial.FixedTrial({name: 1})
    method(asked)
    return asked.distributions[name]


def space_of(request):
    """Return the space that a test of Optuna's searches: a `ClassicalSampler` must know it ahead.

    Where a test searches single points, or a space that changes, it is another one, as for a user
    who suggests a parameter that the sampler was not told of.
    """
    call = getattr(request.node, "callspec", None)
    parameters = call.params if call else {}
    test = request.node.originalname
    if test in KNOWN:
        distributions = KNOWN[test]
    elif "distribution" in parameters:
        distributions = {"x": parameters["distribution"]}
    elif "x_distribution" in parameters:
        other = CategoricalDistribution([-1, -10, -100])
        y = parameters.get("y_distribution", other)
        distributions = {"x": parameters["x_distribution"], "y": y}
    else:
        distributions = {
            name: suggested(parameters[f"suggest_method_{name}"], name)
            for name in ("x", "y")
            if f"suggest_method_{name}" in parameters
        }
    return SearchSpace.from_optuna(distributions or ELSEWHERE)


class Contract:
    """The start-up is short, so that the models behind it answer too."""

    @pytest.fixture
    def sampler(self, request):
        space = space_of(request)
        return lambda: ClassicalSampler(space, seed=0, start_up=1, kind=self.kind)


class TestBasic(Contract, BasicSamplerTestCase):
    kind = "auto"


class TestMultiObjective(Contract, MultiObjectiveSamplerTestCase):
    kind = "auto"


class TestRelativeTPE(Contract, RelativeSamplerTestCase):
    kind = "tpe"


class TestRelativeGP(Contract, RelativeSamplerTestCase):
    kind = "gp"


class TestRelativeSobol(Contract, RelativeSamplerTestCase):
    kind = "sobol"


def test_a_study_of_optunas_own_finds_what_it_seeks():
    space = SearchSpace(parameters={"x": Float(low=-1, high=1), "y": Float(low=-1, high=1)})
    study = optuna.create_study(sampler=ClassicalSampler(space, seed=0))
    study.optimize(
        lambda t: (t.suggest_float("x", -1, 1) - 0.3) ** 2 + t.suggest_float("y", -1, 1) ** 2,
        n_trials=12,
    )
    assert study.best_value < 0.05


# --- what a study may rely on ---------------------------------------------------------------


def spec(space, *, kind="auto", metrics=None, **changes):
    return parse_spec(
        {
            "name": "s",
            "objective": {"kind": "callable", "reference": "m:f"},
            "space": space,
            "metrics": metrics or {"loss": {"direction": "minimize"}},
            "sampler": {"kind": kind, **changes.pop("sampler", {})},
            **changes,
        }
    )


FLAT = {"x": {"type": "float", "low": 0, "high": 1}, "n": {"type": "int", "low": 1, "high": 9}}
GRID = {
    "x": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1},
    "kind": {"type": "categorical", "choices": ["a", "b", None]},
}
TREE = {
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]},
    "momentum": {"type": "float", "low": 0, "high": 0.99, "when": {"optimizer": "sgd"}},
    "layers": {"type": "int", "low": 1, "high": 3},
    "width": {"type": "int", "low": 8, "high": 64, "log": True, "when": {"layers": [2, 3]}},
}


def trial(number, configuration, state=Outcome.COMPLETE, **metrics):
    return TrialRecord(
        id=number,
        number=number,
        state=state,
        reason="",
        configuration=configuration,
        metrics=metrics,
        source="test",
        created_at=float(number),
        finished_at=number + 1.0 if isinstance(state, Outcome) else None,
        curves={},
    )


def loss_of(configuration):
    """Return a loss that depends on every parameter, whichever there are."""
    loss = 0.0
    for value in configuration.values():
        loss += (value - 0.4) ** 2 if isinstance(value, float) else len(str(value)) / 10
    return loss


def run(made, number, end=lambda n, c: trial(n, c, loss=loss_of(c))):
    """Run a study in sequence; return its trials and the source of each."""
    trials, sources = [], []
    for i in range(number):
        proposal = propose(made, trials)
        sources.append(proposal.decision.source)
        trials.append(end(i, proposal.configuration))
    return trials, sources


KINDS = ("auto", "gp", "tpe", "sobol", "random")


def test_the_defaults_come_first_even_late():
    space = {"x": {**FLAT["x"], "default": 0.25}, "n": {**FLAT["n"], "default": 3}}
    made = spec(space)
    first = propose(made, [])
    assert (first.configuration, first.decision.source) == ({"x": 0.25, "n": 3}, "default")
    late = propose(made, [trial(0, {"x": 0.1, "n": 1}, loss=1.0)])
    assert late.configuration == first.configuration
    pending = propose(made, [trial(0, first.configuration, "running")])
    assert pending.decision.source == "sobol"


def test_without_all_defaults_there_is_none_to_begin_with():
    made = spec({"x": {**FLAT["x"], "default": 0.25}, "n": FLAT["n"]})
    assert propose(made, []).decision.source == "sobol"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", [FLAT, GRID, TREE], ids=["flat", "grid", "tree"])
def test_every_proposal_belongs_to_the_space(kind, space):
    made = spec(space, kind=kind, sampler={"start_up_trials": 3})
    trials, _ = run(made, 7)
    for done in trials:
        made.search_space.validate_configuration(done.configuration)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_tried_twice_while_there_is_something_else(kind):
    made = spec(GRID, kind=kind, sampler={"start_up_trials": 4})
    trials, _ = run(made, 15)
    keys = {(round(t.configuration["x"], 6), t.configuration["kind"]) for t in trials}
    assert len(keys) == 15 == made.search_space.size()


def test_the_last_untried_configuration_of_many_is_found():
    space = {"a": {"type": "int", "low": 1, "high": 60}, "b": {"type": "int", "low": 1, "high": 60}}
    made = spec(space, kind="random", constraints=["a <= b"])
    everything = [{"a": a, "b": b} for a in range(1, 61) for b in range(a, 61)]
    left = everything.pop(1234)
    known = [trial(i, c, loss=1.0) for i, c in enumerate(everything)]
    assert propose(made, known).configuration == left
    assert propose_at_random(made, known).configuration == left


def test_an_exhausted_space_goes_on_with_what_it_has():
    made = spec({"kind": GRID["kind"]}, sampler={"start_up_trials": 1})
    trials, _ = run(made, 3)
    again = propose(made, trials)
    assert again.configuration in [t.configuration for t in trials]
    assert again.decision.source == "random"
    assert "tried before" in again.decision.reason


@pytest.mark.parametrize("kind", ["gp", "tpe", "sobol"])
def test_pending_trials_are_kept_clear_of(kind):
    made = spec(FLAT, kind=kind, sampler={"start_up_trials": 4})
    trials, _ = run(made, 8)
    for _ in range(3):
        proposal = propose(made, trials)
        assert proposal.configuration not in [t.configuration for t in trials]
        trials.append(trial(len(trials), proposal.configuration, "running"))


@pytest.mark.parametrize("kind", KINDS)
def test_constraints_hold_always(kind):
    space = {name: {"type": "int", "low": 1, "high": 40} for name in "abc"}
    made = spec(space, kind=kind, constraints=["a < b", "b < c"], sampler={"start_up_trials": 3})
    trials, _ = run(made, 8)
    assert all(t.configuration["a"] < t.configuration["b"] < t.configuration["c"] for t in trials)


def test_a_constraint_that_is_hard_to_meet_is_met():
    space = {"a": FLAT["x"], "b": {"type": "float", "low": 0, "high": 1}}
    made = spec(space, constraints=["a < 0.01"])
    trials, sources = run(made, 3)
    assert all(t.configuration["a"] < 0.01 for t in trials)
    assert "random" in sources


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", [FLAT, TREE], ids=["flat", "tree"])
def test_the_same_seed_and_history_give_the_same_proposal(kind, space):
    made = spec(space, kind=kind, seed=7, sampler={"start_up_trials": 3})
    trials, _ = run(made, 7)
    assert run(made, 7)[0] == trials
    # As read back by a worker that goes on with the study.
    resumed = spec(space, kind=kind, seed=7, sampler={"start_up_trials": 3})
    copies = [replace(t, id=t.id + 100, created_at=0.0, finished_at=1e9) for t in trials]
    assert propose(resumed, copies).configuration == propose(made, trials).configuration


def test_another_seed_gives_another_study():
    first, second = (run(spec(FLAT, seed=seed), 3)[0] for seed in (0, 1))
    assert [t.configuration for t in first] != [t.configuration for t in second]


@pytest.mark.parametrize("kind", ["gp", "tpe"])
def test_conditional_parameters_stand_only_where_they_are_active(kind):
    made = spec(TREE, kind=kind, sampler={"start_up_trials": 6})
    trials, _ = run(made, 16)
    for done in trials:
        c = done.configuration
        assert ("momentum" in c) == (c["optimizer"] == "sgd")
        assert ("width" in c) == (c["layers"] >= 2)
    assert {"momentum" in t.configuration for t in trials} == {True, False}


# --- failures -------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Outcome.CRASHED, Outcome.OUT_OF_MEMORY])
def test_a_region_that_fails_is_left(fault):
    def end(number, configuration):
        # The loss draws it to where the trial fails.
        if configuration["x"] > 0.6:
            return trial(number, configuration, fault)
        return trial(number, configuration, loss=-configuration["x"])

    made = spec({"x": FLAT["x"]}, sampler={"start_up_trials": 5})
    trials, _ = run(made, 14, end)
    assert any(t.state == fault for t in trials[:8])
    late = trials[8:]
    assert sum(t.state == fault for t in late) <= len(late) // 2
    assert max(-t.metrics["loss"] for t in trials if t.metrics) > 0.5


@pytest.mark.parametrize("state", [Outcome.CRASHED, Outcome.KILLED, Outcome.INFRASTRUCTURE])
def test_with_failures_only_the_space_is_searched_on(state):
    trials, sources = run(spec(FLAT), 8, lambda n, c: trial(n, c, state))
    assert set(sources) == {"sobol"}
    assert len({t.configuration["x"] for t in trials}) == 8


def test_pruned_trials_teach_and_count():
    def end(number, configuration):
        return trial(number, configuration, Outcome.PRUNED, loss=loss_of(configuration))

    _, sources = run(spec(FLAT, sampler={"start_up_trials": 4}), 6, end)
    assert sources == ["sobol"] * 4 + ["gp", "gp"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_pruned_trial_without_a_number_disturbs_nothing(value):
    made = spec(FLAT, sampler={"start_up_trials": 2})
    trials, _ = run(made, 4)
    trials.append(trial(4, {"x": 0.5, "n": 1}, Outcome.PRUNED, loss=value))
    trials.append(trial(5, {"x": 0.6, "n": 1}, Outcome.DIVERGED, loss=value))
    assert made.search_space.contains(propose(made, trials).configuration)


STATES = st.sampled_from([*Outcome, "running", "waiting"])


@examples
@given(
    st.lists(st.tuples(STATES, st.floats(0, 1), st.integers(1, 9)), max_size=12),
    st.sampled_from(["auto", "tpe", "gp"]),
)
def test_any_history_is_answered_with_something_new(history, kind):
    made = spec(FLAT, kind=kind, sampler={"start_up_trials": 2})
    trials = []
    for number, (state, x, n) in enumerate(history):
        metrics = {"loss": x + n} if state in (Outcome.COMPLETE, Outcome.PRUNED) else {}
        trials.append(trial(number, {"x": x, "n": n}, state, **metrics))
    proposal = propose(made, trials)
    made.search_space.validate_configuration(proposal.configuration)
    assert proposal.configuration not in [t.configuration for t in trials]
    assert propose(made, trials).configuration == proposal.configuration


# --- several objectives ---------------------------------------------------------------------


@pytest.mark.parametrize("space", [FLAT, TREE], ids=["flat", "tree"])
def test_several_objectives_are_optimised_together(space):
    metrics = {"loss": {"direction": "minimize"}, "acc": {"direction": "maximize"}}
    made = spec(space, metrics=metrics, sampler={"start_up_trials": 3})
    states = itertools.cycle([Outcome.COMPLETE, Outcome.COMPLETE, Outcome.CRASHED])

    def end(number, configuration):
        state = next(states)
        loss = loss_of(configuration)
        return trial(number, configuration, state, loss=loss, acc=1 - loss)

    trials, sources = run(made, 9, end)
    assert {"gp", "tpe"} & set(sources[5:])
    assert all(made.search_space.contains(t.configuration) for t in trials)


def test_limits_are_heeded():
    metrics = {"loss": {"direction": "minimize"}, "size": {"direction": "watch"}}
    made = spec(
        {"x": FLAT["x"]}, metrics=metrics, limits=["size <= 0.5"], sampler={"start_up_trials": 5}
    )
    trials, _ = run(made, 16, lambda n, c: trial(n, c, loss=-c["x"], size=c["x"]))
    late = [t.configuration["x"] for t in trials[8:]]
    assert sum(x <= 0.5 for x in late) >= len(late) // 2


# --- the start ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trials", "asked", "expected"),
    [(None, None, 6), (1, None, 4), (50, None, 6), (64, None, 8), (1000, None, 10), (20, 15, 15)],
)
def test_the_start_is_an_eighth_of_the_budget_within_limits(trials, asked, expected):
    budget = {"trials": trials, "wall_seconds": 60}
    made = spec(FLAT, budget=budget, sampler={"start_up_trials": asked} if asked else {})
    assert start_up_trials(made) == expected


@pytest.mark.parametrize("seed", range(3))
def test_the_start_covers_the_space(seed):
    space = {name: {"type": "float", "low": 0, "high": 1} for name in "ab"}
    made = spec(space, seed=seed, sampler={"start_up_trials": 8})
    trials, sources = run(made, 8)
    assert sources == ["sobol"] * 8
    for name in space:  # each eighth of each axis holds one
        assert sorted(int(t.configuration[name] * 8) for t in trials) == list(range(8))


def test_the_models_begin_after_the_start():
    made = spec(FLAT, sampler={"start_up_trials": 3})
    assert run(made, 8)[1] == ["sobol"] * 3 + ["gp"] * 5


@pytest.mark.parametrize(
    ("space", "source"),
    [
        (FLAT, "gp"),
        (TREE, "gp"),
        ({name: {"type": "categorical", "choices": list(range(9))} for name in "ab"}, "tpe"),
        ({f"x{i}": FLAT["x"] for i in range(21)}, "tpe"),
    ],
    ids=["flat", "conditional", "categorical", "wide"],
)
def test_the_model_suits_the_space(space, source):
    made = spec(space, sampler={"start_up_trials": 1})
    trials, _ = run(made, 2)
    assert propose(made, trials).decision.source == source


def test_among_branches_tpe_has_every_third_trial():
    space = {
        "kind": {"type": "categorical", "choices": ["a", "b"]},
        "x": {"type": "float", "low": 0, "high": 1, "when": {"kind": "a"}},
        "y": {"type": "float", "low": 0, "high": 1, "when": {"kind": "b"}},
    }
    made = spec(space, sampler={"start_up_trials": 1, "prior": "none"})
    assert run(made, 7, lambda n, c: trial(n, c, loss=c.get("x", 0.5)))[1] == [
        "sobol",
        "gp",
        "gp",
        "tpe",
        "gp",
        "gp",
        "tpe",
    ]


# --- manners --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_printed(kind, capfd):
    made = spec(FLAT, kind=kind, sampler={"start_up_trials": 2})
    run(made, 5)
    propose_at_random(made, [])
    assert capfd.readouterr() == ("", "")


def test_a_decision_says_who_and_why_and_how_long():
    made = spec(FLAT, sampler={"start_up_trials": 2})
    trials, _ = run(made, 4)
    decision = propose(made, trials).decision
    assert decision.source == "gp"
    assert decision.reason == "highest expected improvement under a Gaussian process"
    assert decision.seconds > 0


def test_two_studies_in_two_threads_do_not_disturb_each_other():
    made = [spec(FLAT, seed=seed, sampler={"start_up_trials": 2}) for seed in (1, 2)]
    expected = [run(one, 6)[0] for one in made]
    found = {}
    threads = [
        threading.Thread(target=lambda i=i, one=one: found.update({i: run(one, 6)[0]}))
        for i, one in enumerate(made)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[0], found[1]] == expected
    assert logging.getLogger("optuna").level == logging.INFO
