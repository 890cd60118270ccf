"""Metrics as a trial writes them: JSON lines in a file, or lines on standard output.

Everything here is untrusted text: lines are bounded, parsed and never evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_LINE = 10_000
"""Characters of a line that are looked at."""
_MAX_READ = 1 << 20
_MARK = 64  # bytes of a report that hold the time at which it was made
_STEP_DIGITS = 15
_STEPS = 10**_STEP_DIGITS  # more than any training has, and exact as a float and in SQL
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"


@dataclass(frozen=True)
class Report:
    """Metrics of one step; `step` is None for a trial's final values."""

    step: int | None
    metrics: dict[str, float]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a metric's pattern (`Metric.pattern`) to a regular expression.

    Literal text but for `{value}` and `{step}` (a number), `*` (any text) and white space (any
    white space). The groups of the result are `value` and, where the pattern has it, `step`.
    """
    first, *rest = [_segment(text) for text in pattern.split("*")]
    # An atomic group keeps its first match, so that a long line cannot make the search explode.
    return re.compile(first + "".join(f"(?>.*?{each})" for each in rest), re.IGNORECASE)


def _segment(text: str) -> str:
    """Return the regular expression of a pattern's text between two `*`."""
    expression = ""
    for part in re.split(r"(\{value\}|\{step\}|\s+)", text):
        if part == "{value}":
            expression += f"(?P<value>{_NUMBER})"
        elif part == "{step}":
            expression += r"(?P<step>\d+)"
        elif part.isspace():
            expression += r"\s+"
        else:
            expression += re.escape(part)
    return expression


@dataclass
class OutputReader:
    """Finds metrics in the lines of a trial's standard output."""

    patterns: Mapping[str, str]
    """Metric name to its pattern."""
    names: frozenset[str]
    """Metrics that are looked for in JSON lines."""
    found: bool = False
    """Whether any line held a report so far."""
    _counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._compiled = {name: compile_pattern(text) for name, text in self.patterns.items()}

    def read(self, line: str) -> list[Report]:
        """Return the reports that one line holds.

        A match without a step counts as that metric's next step, beginning at 1.
        """
        line = line[:MAX_LINE]
        reports = []
        for name, pattern in self._compiled.items():
            match = pattern.search(line)
            if match is not None:
                self._counts[name] = self._counts.get(name, 0) + 1
                step = match.groupdict().get("step")
                if step is None:
                    reports.append(Report(self._counts[name], {name: float(match["value"])}))
                elif len(step) <= _STEP_DIGITS:
                    reports.append(Report(int(step), {name: float(match["value"])}))
        if line.lstrip().startswith("{"):
            reports += self._read_json(line)
        self.found = self.found or bool(reports)
        return reports

    def _read_json(self, line: str) -> list[Report]:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            return []
        if not isinstance(data, dict):
            return []
        metrics = {name: _number(data[name]) for name in self.names & data.keys()}
        found = {name: value for name, value in metrics.items() if value is not None}
        if not found:
            return []
        step = _number(data.get("step", data.get("epoch")))
        return [Report(int(step) if step is not None and 0 <= step < _STEPS else None, found)]


def parse_report(line: bytes) -> Report | None:
    """Parse one line of a metrics file; None if it is not a whole report."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get("metrics"), dict):
        return None
    step = data.get("step")
    if step is not None and (type(step) is not int or not 0 <= step < _STEPS):
        return None
    metrics = {_text(name)[:200]: _number(value) for name, value in data["metrics"].items()}
    found = {name: value for name, value in metrics.items() if value is not None}
    return Report(step, found) if found else None


@dataclass
class MetricsFile:
    """Follows a metrics file as it grows; torn and foreign lines are passed over."""

    path: Path
    offset: int = 0
    _before: bytes = b""
    """What stands before the offset, unless the file was replaced, which is read from its start."""

    def read_new(self) -> list[Report]:
        """Return the whole reports written since the last call, at most about 1 MB of them.

        No report is left only if the list is empty.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset - len(self._before))
                if file.read(len(self._before)) != self._before:
                    self.offset = file.seek(0)
                while block := file.read(_MAX_READ):
                    end = block.rfind(b"\n") + 1
                    if end == 0 and len(block) == _MAX_READ:  # a line of a megabyte is no report
                        end = len(block)
                    self.offset += end
                    self._before = block[max(0, end - _MARK) : end] or self._before
                    parsed = [parse_report(line) for line in block[:end].splitlines()]
                    reports = [report for report in parsed if report is not None]
                    if reports or end == 0:
                        return reports
                    file.seek(self.offset)
        except FileNotFoundError:
            pass
        return []


def _text(name: str) -> str:
    # JSON can spell halves of characters, which no database stores.
    return name.encode("utf-8", "replace").decode()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
