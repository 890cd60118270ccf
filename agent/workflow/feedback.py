"""What is said of one run of a workflow: a score, and why it is not better."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from .sandbox import CodeError

LONGEST = 2_000
"""Characters of a text that a proposer is shown."""
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_SHORTEST_SECRET = 6


@dataclass(frozen=True)
class Failure:
    """What ended a run."""

    kind: str
    message: str
    line: int | None = None
    """The line of the trainable code, from 1, where it is known."""
    op: str = ""
    """The op that raised it."""


@dataclass(frozen=True)
class Feedback:
    """What is said of one run; its texts may quote strangers."""

    score: float
    """More is better; what is not finite counts as a failed run."""
    text: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: Failure | None = None
    cost: float | None = None
    """What the run cost, in whatever the suite counts (tokens, dollars); None if it counts nothing.
    """

    def lines(self) -> str:
        """Return it as a proposer reads it, redacted and cut."""
        parts = [f"score {self.score:.6g}"]
        parts += [f"{name} {value:.6g}" for name, value in self.metrics.items()]
        if self.cost is not None:
            parts.append(f"cost {self.cost:.6g}")
        found = ", ".join(parts)
        if self.error is not None:
            where = f" in line {self.error.line}" if self.error.line is not None else ""
            by = f" in {self.error.op}" if self.error.op else ""
            found += f"\nfailed{by} with {self.error.kind}{where}: {self.error.message}"
        if self.text:
            found += f"\n{self.text}"
        return redacted(found)[:LONGEST]


def failure_of(error: BaseException, op: str) -> Failure:
    """Return what a run's exception says, also one without arguments."""
    if isinstance(error, CodeError):
        return Failure(error.kind, _kept(error.message), error.line, op)
    return Failure(type(error).__name__, _kept(str(error)), None, op)


def _kept(message: str) -> str:
    """Return a message as it may be stored: a stranger's, which may quote secrets."""
    return redacted(message)[:LONGEST].encode(errors="backslashreplace").decode()


def redacted(text: str) -> str:
    """Return text without the secrets of this process's environment."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and any(word in name.upper() for word in _SECRET):
            text = text.replace(value, "[secret]")
    return text
