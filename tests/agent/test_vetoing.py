"""What cannot fit into memory is vetoed before it runs, and the optimiser learns from it."""

import pytest
from luthier.agent.classical import Proposal, propose
from luthier.agent.vetoing import Vetoing
from luthier.tools.feasibility import Need
from luthier.tools.outcomes import Outcome
from luthier.tools.records import Decision, Veto
from luthier.tools.spec import parse_spec

SPEC = parse_spec(
    {
        "name": "s",
        "objective": {"kind": "script", "command": ["python", "train.py"]},
        "space": {"x": {"type": "int", "low": 1, "high": 1000, "log": True}},
        "metrics": {"loss": {"direction": "minimize"}},
        "budget": {"trials": 20},
    }
)


def up_to(limit):
    return lambda configuration: Need(configuration["x"], configuration["x"] <= limit)


def ten_less_up_to(limit):
    return lambda configuration: Need(10 - configuration["x"], 10 - configuration["x"] <= limit)


def counting_up(trials):
    return Proposal({"x": len(trials)}, Decision("sobol", "next"))


def test_the_first_that_fits_is_proposed_and_says_what_was_vetoed():
    vetoing = Vetoing(counting_up, ten_less_up_to(7))
    proposal = vetoing([])
    assert proposal.configuration == {"x": 3}
    decision = proposal.decision
    assert (decision.source, decision.memory_bytes) == ("sobol", 7)
    assert decision.vetoes == tuple(Veto({"x": x}, "sobol", 10 - x) for x in range(3))


def test_a_veto_looks_like_a_trial_that_ran_out_of_memory_to_who_proposes_next():
    seen = []
    vetoing = Vetoing(lambda trials: seen.append(trials) or counting_up(trials), ten_less_up_to(9))
    vetoing([])
    vetoing([])
    assert [trial.state for trial in seen[-1]] == [Outcome.OUT_OF_MEMORY]
    assert [trial.configuration for trial in seen[-1]] == [{"x": 0}]


def test_vetoes_of_an_earlier_worker_are_remembered():
    veto = Veto({"x": 7}, "gp", 99)
    vetoing = Vetoing(counting_up, up_to(50), [Decision("gp", "", vetoes=(veto,))])
    assert vetoing([]).configuration == {"x": 1}


def test_what_is_not_known_is_not_vetoed():
    proposal = Vetoing(counting_up, lambda _: None)([])
    assert (proposal.decision.memory_bytes, proposal.decision.vetoes) == (None, ())


def test_where_nothing_fits_trials_show_it():
    proposal = Vetoing(counting_up, lambda _: Need(99, False))([])
    assert proposal.decision.memory_bytes == 99
    assert len(proposal.decision.vetoes) == 20


@pytest.mark.parametrize("limit", [30, 300])
def test_the_classical_optimiser_stays_within_what_fits(limit):
    vetoing = Vetoing(lambda trials: propose(SPEC, trials), up_to(limit))
    assert all(vetoing([]).configuration["x"] <= limit for _ in range(3))


def test_a_study_of_a_recipe_runs_only_what_fits(lab):
    study = lab.create(
        objective={"kind": "recipe", "options": {"data": "iris", "epochs": 1}},
        space={"width": {"type": "int", "low": 16, "high": 400_000, "log": True}},
        metrics={"val_acc": {"direction": "maximize"}},
        budget={"trials": 6},
        executor={"memory_gib": 1.0, "device": "cpu", "slots": 1},
        sampler={"kind": "sobol"},
    )
    lab.run(study)
    decisions = study.decisions()
    assert {trial.state for trial in study.trials()} == {Outcome.COMPLETE}
    assert all(decision.memory_bytes < 2 << 30 for decision in decisions.values())
    vetoes = [veto for decision in decisions.values() for veto in decision.vetoes]
    assert vetoes
    assert all(veto.needed_bytes > 1 << 30 for veto in vetoes)
