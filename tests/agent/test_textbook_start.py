"""The start from the textbook: when it is opened, and what it costs where names mean nothing."""

import optuna
import pytest
from luthier.agent.classical import ClassicalSampler, propose
from luthier.agent.textbook_start import CONFIGURATIONS
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.space import SearchSpace
from luthier.tools.spec import parse_spec
from luthier.tools.textbook import prior_of

NAMED = {
    "lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": "sgd"}},
}
MASKED = {"X1": {**NAMED["lr"]}, "X2": {"type": "int", "low": 1, "high": 9}}


def spec(space, **sampler):
    return parse_spec(
        {
            "name": "s",
            "objective": {"kind": "callable", "reference": "m:f"},
            "space": space,
            "metrics": {"loss": {"direction": "minimize"}},
            "sampler": {"start_up_trials": 5, **sampler},
        }
    )


def trial(number, configuration, state=Outcome.COMPLETE):
    return TrialRecord(
        id=number,
        number=number,
        state=state,
        reason="",
        configuration=configuration,
        metrics={"loss": float(len(str(configuration)))} if state == Outcome.COMPLETE else {},
        source="test",
        created_at=float(number),
        finished_at=number + 1.0 if isinstance(state, Outcome) else None,
        curves={},
    )


def run(made, number, state=Outcome.COMPLETE):
    """Run a study in sequence; return the proposals."""
    trials, proposals = [], []
    for i in range(number):
        proposals.append(propose(made, trials))
        trials.append(trial(i, proposals[-1].configuration, state))
    return proposals


def sources(proposals):
    return [proposal.decision.source for proposal in proposals]


def test_a_study_with_known_names_begins_with_the_textbook_then_spreads():
    made = spec(NAMED)
    proposals = run(made, 6)
    assert sources(proposals) == ["textbook"] * CONFIGURATIONS + ["sobol"] * 2 + ["gp"]
    expected = prior_of(made.search_space).configurations(CONFIGURATIONS, made.seed)
    assert [p.configuration for p in proposals[:CONFIGURATIONS]] == expected


def test_the_reason_says_what_was_known_and_how_it_was_read():
    first = run(spec({**NAMED, "x9": MASKED["X2"]}), 1)[0]
    expected = "textbook values of lr (learning rate), optimizer (optimiser), momentum"
    assert first.decision.reason == expected


def test_the_defaults_come_before_the_textbook():
    space = {"lr": {**NAMED["lr"], "default": 0.5}}
    assert sources(run(spec(space), 2)) == ["default", "textbook"]


@pytest.mark.parametrize("kind", ["random", "sobol"])
def test_a_person_who_asks_for_a_spread_gets_a_spread(kind):
    assert set(sources(run(spec(NAMED, kind=kind), 3))) == {kind}


def test_the_textbook_can_be_left_closed():
    assert set(sources(run(spec(NAMED, prior="none"), 3))) == {"sobol"}


def test_names_without_a_meaning_change_nothing():
    with_prior, without = (run(spec(MASKED, prior=prior), 9) for prior in ("textbook", "none"))
    assert [p.configuration for p in with_prior] == [p.configuration for p in without]


@pytest.mark.parametrize("state", ["running", Outcome.CRASHED, Outcome.KILLED])
def test_each_configuration_of_the_textbook_is_tried_once_however_it_ends(state):
    proposals = run(spec(NAMED), 5, state)
    assert sources(proposals) == ["textbook"] * CONFIGURATIONS + ["sobol"] * 2


def test_a_short_start_up_has_a_short_textbook():
    assert sources(run(spec(NAMED, start_up_trials=1), 2)) == ["textbook", "gp"]


def test_a_study_that_took_over_trials_does_not_begin_again():
    made = spec(NAMED)
    over = prior_of(made.search_space).configurations(30, seed=9)[-12:]
    taken = [trial(i, configuration) for i, configuration in enumerate(over)]
    assert propose(made, taken).decision.source == "tpe"


def test_a_user_of_optuna_gets_the_textbook_after_own_trials():
    space = SearchSpace(parameters={"lr": NAMED["lr"], "x": MASKED["X2"]})
    study = optuna.create_study(sampler=ClassicalSampler(space, seed=0, start_up=5))
    study.enqueue_trial({"lr": 0.3, "x": 3})

    def objective(asked):
        asked.suggest_int("x", 1, 9)
        return asked.suggest_float("lr", 1e-5, 1.0, log=True)

    study.optimize(objective, n_trials=3)
    expected = prior_of(space).configurations(2, seed=0)
    assert [t.params for t in study.trials[1:]] == expected


def test_a_parameter_that_was_fixed_is_left_alone():
    space = SearchSpace(parameters={"lr": NAMED["lr"], "batch_size": MASKED["X2"]})
    sampler = ClassicalSampler(space, seed=0)
    fixed = optuna.samplers.PartialFixedSampler({"lr": 0.25}, sampler)
    study = optuna.create_study(sampler=fixed)
    asked = study.ask(space.to_optuna())
    assert asked.params["lr"] == 0.25
    assert asked.params["batch_size"] == prior_of(space).configurations(1, 0)[0]["batch_size"]
