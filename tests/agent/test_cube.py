"""Spaces as the unit cube: every point is a configuration's, and neighbours are near."""

import numpy as np
import pytest
from luthier.agent.cube import Cube
from luthier.tools.space import SearchSpace

SPACE = SearchSpace.model_validate(
    {
        "parameters": {
            "x": {"type": "float", "low": 1e-4, "high": 1, "log": True},
            "step": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1},
            "n": {"type": "int", "low": 1, "high": 64, "log": True},
            "many": {"type": "int", "low": 0, "high": 10**6},
            "kind": {"type": "categorical", "choices": ["a", 1, None]},
        }
    }
)

BRANCHES = SearchSpace.model_validate(
    {
        "parameters": {
            "depth": {"type": "int", "low": 1, "high": 3, "when": {"net": [True]}},
            "width": {
                "type": "int",
                "low": 8,
                "high": 64,
                "when": {"net": [True], "depth": [2, 3]},
            },
            "net": {"type": "categorical", "choices": [True, False]},
            "rate": {"type": "float", "low": 0, "high": 1},
            "trees": {"type": "int", "low": 1, "high": 99, "when": {"net": [False]}},
        }
    }
)


def rng():
    return np.random.default_rng(3)


def drawn(cube, how):
    points = cube.spread(200, rng())
    return points if how == "spread" else cube.around(points[:10], 20, 0.3, rng())


@pytest.mark.parametrize("space", [SPACE, BRANCHES], ids=["flat", "branches"])
@pytest.mark.parametrize("how", ["spread", "around"])
def test_every_point_is_that_of_its_configuration(how, space):
    cube = Cube(space)
    points = drawn(cube, how)
    configurations = [cube.configuration(point) for point in points]
    for configuration in configurations:
        space.validate_configuration(configuration)
    assert cube.points(configurations) == pytest.approx(points, abs=1e-6)


@pytest.mark.parametrize("how", ["spread", "around"])
def test_what_breaks_a_constraint_is_left_out(how):
    space = SPACE.model_copy(update={"constraints": []})
    constrained = SearchSpace.model_validate(
        {"parameters": space.model_dump()["parameters"], "constraints": ["n < 8"]}
    )
    cube = Cube(constrained)
    points = drawn(cube, how)
    assert 0 < len(points) < 200
    assert all(cube.configuration(point)["n"] < 8 for point in points)


def test_a_neighbour_is_another_configuration_that_differs_in_few_parameters():
    cube = Cube(SPACE)
    (home,) = cube.spread(1, rng())
    near = cube.around(home[None], 500, 0.05, rng())
    differ = (near != home).sum(axis=1)
    assert differ.mean() < 2.5
    # Only the end of a range, and the same choice drawn again, stay.
    assert (differ > 0).mean() > 0.85
    assert np.abs(near[:, 0] - home[0]).max() < 0.3


def test_a_short_move_on_a_grid_is_one_step():
    space = SearchSpace.model_validate({"parameters": {"n": {"type": "int", "low": 1, "high": 9}}})
    cube = Cube(space)
    near = cube.around(cube.points([{"n": 5}]), 50, 1e-3, rng())
    assert {cube.configuration(point)["n"] for point in near} == {4, 6}


def test_branches_are_farther_apart_than_what_is_active_in_them_mostly_is():
    cube = Cube(BRANCHES)
    small, large, other = cube.points(
        [
            {"net": False, "trees": 30, "rate": 0.5},
            {"net": False, "trees": 70, "rate": 0.5},
            {"net": True, "depth": 1, "rate": 0.5},
        ]
    )
    assert small[0] == large[0]  # what neither has keeps them not apart
    assert np.abs(small - other)[4] > np.abs(small - large)[4]


def test_a_move_into_another_branch_starts_anywhere_in_it():
    cube = Cube(BRANCHES)
    (home,) = cube.points([{"net": False, "trees": 30, "rate": 0.5}])
    near = cube.around(home[None], 500, 0.01, rng())
    entered = [c for c in map(cube.configuration, near) if c["net"]]
    assert {c["depth"] for c in entered} == {1, 2, 3}
    assert len({c["width"] for c in entered if "width" in c}) > 20


def test_no_configurations_have_no_points():
    assert Cube(SPACE).points([]).shape == (0, 5)
