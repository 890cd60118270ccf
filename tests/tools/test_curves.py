import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.tools.curves import FEWEST_POINTS, chance_to_reach


def chance(curve, steps, last, target):
    return chance_to_reach(list(steps), [curve(step) for step in steps], last, target)


SHAPES = {
    "power law": lambda step: 0.2 + step**-0.7,
    "shifted power law": lambda step: 0.2 + (step + 4) ** -1.3,
    "exponential": lambda step: 0.2 + math.exp(-step / 6),
    "logarithm": lambda step: 3 - 0.5 * math.log(step),
    "no change": lambda step: 0.4,
    "rising": lambda step: 0.2 + 0.01 * step,
}


@pytest.mark.parametrize("curve", SHAPES.values(), ids=SHAPES.keys())
def test_a_smooth_curve_is_foreseen(curve):
    end = curve(30)
    assert chance(curve, range(1, 16), 30, end + 0.15) > 0.9
    assert chance(curve, range(1, 16), 30, end - 0.15) < 0.1


def test_a_short_curve_is_not_continued():
    few = range(1, FEWEST_POINTS)
    assert chance(SHAPES["power law"], few, 20, 0.0) is None


def test_a_curve_that_gains_speed_is_not_continued():
    assert chance(lambda step: 1 - step**2 / 400, range(1, 9), 20, 0.0) is None


def test_a_curve_that_jumps_is_not_continued():
    assert chance(lambda step: step * 7 % 5, range(1, 9), 20, 0.0) is None


def test_a_curve_with_a_value_that_is_no_number_is_not_continued():
    assert chance(lambda step: math.nan if step == 3 else 1.0, range(1, 9), 20, 0.0) is None
    assert chance(lambda step: math.inf if step == 3 else 1.0, range(1, 9), 20, 0.0) is None


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=5, max_size=80),
    st.floats(-1e300, 1e300),
    st.integers(1, 1000),
)
def test_a_chance_is_a_probability(values, target, more):
    steps = list(range(1, len(values) + 1))
    chance = chance_to_reach(steps, values, len(values) + more, target)
    assert chance is None or 0 <= chance <= 1


@given(st.floats(0.1, 1e6), st.floats(-1e6, 1e6), st.integers(1, 50), st.integers(-5, 5))
def test_units_change_nothing(scale, offset, stride, start):
    values = [SHAPES["power law"](step) for step in range(1, 16)]
    plain = chance_to_reach(list(range(1, 16)), values, 30, 0.3)
    steps = [start + stride * step for step in range(1, 16)]
    moved = [offset + scale * value for value in values]
    other = chance_to_reach(steps, moved, start + stride * 30, offset + scale * 0.3)
    assert plain is not None
    assert other == pytest.approx(plain, abs=1e-3)
