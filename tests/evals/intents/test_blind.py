"""The 60 requests written blind, without a language model: a gate on what is understood."""

from collections.abc import Sequence

import pytest
from luthier.evals.intents.__main__ import run, share
from luthier.evals.intents.cases import load
from luthier.evals.intents.hearing import Score

LEAST_SHARE = 0.9
"""A little below the share of points that was measured."""


@pytest.fixture(scope="module")
def blind() -> Sequence[Score]:
    """Each request said once, in a conversation of its own."""
    return run(load("blind"))


def test_as_much_is_understood_as_was_measured(blind: Sequence[Score]) -> None:
    assert len(blind) == 60
    assert share(blind) >= LEAST_SHARE


def test_nothing_spends_or_ends_anything_without_an_approval(blind: Sequence[Score]) -> None:
    assert [score.case.id for score in blind if score.outcome.unapproved] == []
