"""The part of a spec that says when a running trial is stopped early."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)

from .section import Section
from .space import Comparison

_RULE = re.compile(r"(.*?)(?:\s+after\s+(?:step\s+)?(\d+))?\s*", re.S)


class StopRule(BaseModel):
    """A reason to stop a trial, written as text: `val_loss > 10`, `val_acc < 0.3 after step 5`.

    It is parsed, never evaluated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    comparison: Comparison
    """A metric compared with a number."""
    after: int = Field(default=0, ge=0)
    """The first step at which it counts."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = _RULE.fullmatch(data)
        assert match is not None
        try:
            comparison = Comparison.model_validate(match[1])
        except ValidationError:
            comparison = None
        if comparison is None or isinstance(comparison.right, str):
            raise ValueError(
                "a rule must read `metric > number` or `metric > number after step 5` "
                f"(or <, <=, >=, ==, !=), but got {data!r}"
            )
        return {"comparison": comparison, "after": int(match[2] or 0)}

    @model_serializer
    def __str__(self) -> str:
        return f"{self.comparison}" + (f" after step {self.after}" if self.after else "")

    def applies(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Tell whether a trial that reports these metrics at a step is to be stopped."""
        known = step >= self.after and self.comparison.left in metrics
        return known and self.comparison.holds(metrics)


class Pruner(Section):
    """What stops unpromising trials early."""

    kind: Literal["auto", "none", "median", "successive_halving", "extrapolation", "wilcoxon"] = (
        "auto"
    )
    """`median` stops a trial whose best value is worse than the median of the complete ones at the
    same step; `successive_halving` all but the best third at steps that triple; `extrapolation` one
    whose curve, continued, has less than a 5% chance to beat the best; `auto` both of these.
    `wilcoxon` is for steps that are folds or seeds: it stops a trial that is worse than the best
    one fold by fold."""
    warmup_steps: int = Field(default=1, ge=0)
    """No trial is stopped before this step."""
    start_up_trials: int = Field(default=5, ge=1)
    """No trial is stopped before so many are complete."""
    audit: float = Field(default=0.2, ge=0, le=1)
    """Share of the trials that run to their end in any case, so that the report can say what
    pruning costs. 0 audits none."""
    stop_if: list[StopRule] = Field(default_factory=list)
    """Limits of yours that stop a trial at once, audited or not: `val_loss > 10`,
    `val_acc < 0.3 after step 5`. They hold with every kind."""
