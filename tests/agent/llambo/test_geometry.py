"""Distances between configurations, and choosing far ones."""

import pytest
from luthier.agent.llambo.geometry import distance, farthest_first, nearest
from luthier.tools.space import Categorical, Float, SearchSpace

SPACE = SearchSpace.model_validate(
    {
        "parameters": {
            "x": Float(low=0, high=1),
            "lr": Float(low=1e-4, high=1, log=True),
            "kind": Categorical(choices=["a", "b", "c"]),
            "extra": Float(low=0, high=1, when={"kind": ["b"]}),
        }
    }
)


def at(x=0.5, lr=0.01, kind="a", **more):
    return {"x": x, "lr": lr, "kind": kind, **more}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (at(), 0.0),
        (at(x=0.75), 0.25),
        (at(lr=0.1), 0.25),
        (at(x=0.6, lr=0.1), 0.25),
        (at(kind="c"), 1.0),
        (at(kind="b", extra=0.1), 1.0),
    ],
)
def test_the_distance_is_that_of_the_parameter_that_differs_most(other, expected):
    assert distance(SPACE, at(), other) == pytest.approx(expected)


def test_nothing_is_near_where_there_is_nothing():
    assert nearest(SPACE, at(), []) == 1.0


def test_far_ones_are_chosen_after_the_first():
    points = [at(x=x) for x in (0.5, 0.52, 0.0, 1.0, 0.9)]

    assert farthest_first(SPACE, points, 3) == [0, 2, 3]


def test_what_is_too_near_is_not_chosen():
    points = [at(x=x) for x in (0.5, 0.52, 0.53)]

    assert farthest_first(SPACE, points, 3, least=0.1) == [0]
    assert farthest_first(SPACE, points, 3, others=[at(x=0.51)], least=0.1) == []
