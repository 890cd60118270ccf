"""When an edit has earned its place."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.agent.workflow.accept import COST, LATENCY, judge

N = 16
BEFORE = {f"case{i}": 0.5 for i in range(N)}


def after(*gains: float) -> dict[str, float]:
    return {name: 0.5 + gains[i % len(gains)] for i, name in enumerate(BEFORE)}


def test_a_gain_everywhere_is_accepted_with_its_bound() -> None:
    verdict = judge(BEFORE, after(0.10, 0.12), max_drop=0.02)
    assert verdict.accepted
    assert verdict.mean == pytest.approx(0.11)
    assert 0.10 < verdict.bound < 0.11


def test_a_mean_that_chance_may_have_made_is_not() -> None:
    verdict = judge(BEFORE, after(0.2, -0.15), max_drop=0.5)
    assert not verdict.accepted
    assert "not beyond chance" in verdict.reason


def test_one_case_that_loses_much_ends_it_whatever_the_others_gain() -> None:
    found = after(0.3)
    found["case3"] = 0.4
    assert "'case3' loses 0.1" in judge(BEFORE, found, max_drop=0.05).reason


def test_a_guarded_case_may_lose_nothing() -> None:
    found = after(0.3)
    found["case3"] = 0.499
    assert judge(BEFORE, found, max_drop=0.05).accepted
    assert "guarded case 'case3'" in judge(BEFORE, found, max_drop=0.05, guards=["case3"]).reason


def took(*pairs: tuple[float, float], latency: float = LATENCY) -> str:
    seconds = {f"case{i}": pair for i, pair in enumerate(pairs)}
    return judge(BEFORE, after(0.1), max_drop=0, seconds=seconds, latency=latency).reason


def test_what_is_much_slower_is_not_accepted() -> None:
    assert took(*[(0.5, 1.2), (0.6, 1.4)] * 4) == "it takes 10.40 s instead of 4.40 s"


def test_where_time_is_to_decide_on_nothing_it_does_not() -> None:
    assert took(*[(0.5, 1.2), (0.6, 1.4)] * 4, latency=math.inf).startswith("a mean gain")


@pytest.mark.parametrize(
    "pairs",
    [
        [(0.001, 0.01), (0.002, 0.03)] * 4,
        [(1.0, 1.2), (1.0, 1.3)] * 4,
        [(1.0, 1.0)] * 7 + [(1.0, 9.0)],
        [(0.1, 10.0)],
        [],
    ],
    ids=["milliseconds", "a little", "once", "one case", "all of them failed before"],
)
def test_what_chance_or_a_busy_machine_may_have_slowed_down_is_accepted(
    pairs: list[tuple[float, float]],
) -> None:
    assert took(*pairs).startswith("a mean gain")


def cost(*pairs: tuple[float, float], most: float = COST) -> str:
    costs = {f"case{i}": pair for i, pair in enumerate(pairs)}
    return judge(BEFORE, after(0.1), max_drop=0, costs=costs, cost=most).reason


def test_what_costs_much_more_is_not_accepted() -> None:
    assert cost((100, 300), (100, 90)) == "it costs 390 instead of 200"
    assert cost((100, 300), (100, 90), most=math.inf).startswith("a mean gain")


@pytest.mark.parametrize("pairs", [[], [(100, 125), (100, 120)], [(0, 9)]])
def test_what_costs_little_more_or_was_free_is_accepted(pairs: list[tuple[float, float]]) -> None:
    assert cost(*pairs).startswith("a mean gain")


def test_with_few_cases_the_evidence_is_low() -> None:
    few = {name: 0.5 for name in ("a", "b", "c")}
    assert judge(few, dict.fromkeys(few, 0.9), max_drop=0).low_evidence


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_nothing_is_accepted_that_does_not_gain_on_the_mean(gains: list[float]) -> None:
    before = {str(i): 0.0 for i in range(len(gains))}
    verdict = judge(before, {str(i): gain for i, gain in enumerate(gains)}, max_drop=2.0)
    assert verdict.bound <= verdict.mean + 1e-12
    assert not verdict.accepted or verdict.mean > 0
