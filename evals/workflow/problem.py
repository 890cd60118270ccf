"""A workflow to improve, and what simulated models know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from ...agent.workflow import ParamSet, Suite
from ...agent.workflow.evaluate import Workflow

Values = Mapping[str, Any]
"""New values by parameter."""


@dataclass(frozen=True)
class Problem:
    """One problem of the ablation."""

    name: str
    objective: str
    workflow: Workflow
    params: ParamSet
    suite: Suite
    fix: Callable[[str, Random], Values]
    """From a prompt's text to the edits that it speaks for; where it tells nothing, a guess."""
    guess: Callable[[Random], Values]
    """Edits of one who has not read anything."""
    harm: Callable[[Random], Values]
    """Edits that make it worse."""
