"""What the rule of acceptance lets through, by a simulation smaller than the command's."""

from luthier.agent.workflow.accept import Z
from luthier.evals.workflow.acceptance import EFFECTS, LIMIT, PROPOSALS, SHARES, TASKS, simulate


def test_few_of_the_edits_that_the_rule_accepts_are_worthless() -> None:
    for cached in (False, True):
        assert 0.0 < simulate(TASKS, Z, cached=cached, runs=500).share <= LIMIT


def test_a_higher_mean_alone_lets_worthless_edits_through() -> None:
    assert simulate(TASKS, 0.0, runs=100).share > 0.4


def test_a_narrower_bound_is_too_little_on_sixteen_tasks() -> None:
    assert simulate(TASKS, 1.28, runs=200).share > LIMIT


def test_a_rule_that_accepts_nothing_gains_nothing() -> None:
    rates = simulate(TASKS, 1e9, runs=5)

    assert (rates.accepted, rates.share, rates.gain) == (0.0, 0.0, 0.0)


def test_a_rule_that_accepts_everything_gains_what_the_proposals_add() -> None:
    rates = simulate(TASKS, -1e9, runs=400)
    mean = sum(effect * share for effect, share in zip(EFFECTS, SHARES, strict=True))

    assert rates.accepted == PROPOSALS
    assert abs(rates.gain - PROPOSALS * mean) < 0.02
    assert abs(rates.share - (SHARES[1] + SHARES[2])) < 0.02


def test_the_seed_decides() -> None:
    assert simulate(8, 1.0, runs=20) == simulate(8, 1.0, runs=20)
    assert simulate(8, 1.0, runs=20) != simulate(8, 1.0, runs=20, seed=1)
