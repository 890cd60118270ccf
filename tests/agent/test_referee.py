"""What a Gaussian process says of configurations that others propose."""

import numpy as np
from luthier.agent.referee import Referee
from luthier.tools.space import Categorical, Configuration, Float, SearchSpace

SPACE = SearchSpace(
    parameters={"x": Float(low=0.0, high=1.0), "kind": Categorical(choices=["a", "b"])}
)


def loss(configuration: Configuration) -> float:
    return abs(float(configuration["x"] or 0.0) - 0.3) + (configuration["kind"] == "b")


def referee(trials: int = 12) -> Referee:
    rng = np.random.default_rng(0)
    tried = [SPACE.sample(rng) for _ in range(trials)]
    return Referee(SPACE, tried, [loss(c) for c in tried], seed=0)


def test_what_lies_near_the_best_is_worth_more_than_what_lies_far_away() -> None:
    near, far, other = referee().improvement(
        [{"x": 0.3, "kind": "a"}, {"x": 0.95, "kind": "a"}, {"x": 0.3, "kind": "b"}]
    )
    assert near > far
    assert near > other


def test_the_usual_configuration_lies_between_a_good_one_and_a_bad_one() -> None:
    judge = referee()
    good, bad = judge.improvement([{"x": 0.3, "kind": "a"}, {"x": 0.95, "kind": "b"}])
    assert bad < judge.usual() < good


def test_the_same_seed_gives_the_same_judgement() -> None:
    asked: list[Configuration] = [{"x": 0.5, "kind": "a"}]
    assert referee().improvement(asked) == referee().improvement(asked)
