"""Studies and trials as tables for a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ..tools.outcomes import Outcome

if TYPE_CHECKING:
    from ..tools.budget import Meters
    from ..tools.records import Decision, TrialRecord
    from ..tools.space import Configuration
    from ..tools.spec import StudySpec

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of writing."""
_STYLES = {
    Outcome.COMPLETE: "green",
    Outcome.PRUNED: "yellow",
    Outcome.KILLED: "magenta",
    "running": "cyan",
    "waiting": "dim",
}
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDEST_METRIC = 14
_BESIDE_METRICS = 64
"""Columns of a terminal that the other columns of the trials' table need."""
_WIDE = 100
"""Columns of a terminal from which there is room for the devices that trials ran on."""


def plain(text: object) -> str:
    """Return text as one line without control characters, which could steer the terminal."""
    return _CONTROL.sub("�", re.sub(r"\s", " ", str(text)))


def plain_lines(text: str) -> str:
    """Return text with its lines kept, each as `plain` returns it."""
    return "\n".join(plain(line) for line in text.splitlines())


def state_text(state: object) -> Text:
    """Return a trial's state in its colour; failures are red."""
    return Text(plain(state).replace("_", " "), style=_STYLES.get(state, "red"))  # type: ignore[call-overload]


def number_text(value: float | None) -> str:
    """Return a metric's value in at most six significant digits."""
    return "" if value is None else f"{value:.6g}"


def seconds_text(seconds: float) -> str:
    """Return a duration as `12.3 s`, `4:05` or `2:04:05`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def configuration_text(configuration: Configuration) -> str:
    """Return a configuration as `lr=0.01 optimizer=sgd`."""
    return plain(
        " ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in configuration.items()
        )
    )


def sparkline(values: Iterable[float], width: int = 24) -> str:
    """Return values as a row of blocks; one that is not finite is a `!`."""
    points = list(values)
    if len(points) > width:
        points = [points[i * (len(points) - 1) // (width - 1)] for i in range(width)]
    finite = [value for value in points if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BLOCKS[int((value - low) * scale)] if math.isfinite(value) else "!" for value in points
    )


def trials_table(
    spec: StudySpec,
    trials: Sequence[TrialRecord],
    *,
    width: int,
    best: Sequence[int] = (),
    latest: Mapping[int, Mapping[str, tuple[int, float]]] | None = None,
    running_seconds: Mapping[int, float] = {},
) -> Table:
    """Return trials as a table, a row each, one line a row.

    Args:
        spec: Their study's spec.
        trials: The trials, in the order of the rows.
        width: The terminal's width; watched metrics for which it has no room are left out.
        best: Numbers of the best ones, which are marked.
        latest: Where running trials stand, by number: metric to step and value. With it the table
            has a column for the step.
        running_seconds: How long running trials have run, by number.
    """
    metrics = _metrics_that_fit(spec, width)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in metrics:
        table.add_column(Text(plain(name)), justify="right", no_wrap=True, max_width=_WIDEST_METRIC)
    if latest is not None:
        table.add_column("step", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    if width >= _WIDE:
        table.add_column("on", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("configuration", ratio=1)  # alone gives way where there is little room
    for trial in trials:
        configuration = Text(configuration_text(trial.configuration), no_wrap=True)
        configuration.overflow = "ellipsis"
        reports = (latest or {}).get(trial.number, {})
        values = {name: value for name, (_, value) in reports.items()} | trial.metrics
        step = max((step for step, _ in reports.values()), default="")
        seconds = trial.seconds + running_seconds.get(trial.number, 0.0)
        marked = trial.number in best
        table.add_row(
            f"★ {trial.number}" if marked else str(trial.number),
            state_text(trial.state),
            *(number_text(values.get(name)) for name in metrics),
            *([] if latest is None else [str(step)]),
            seconds_text(seconds),
            *([Text(plain(_place(trial)))] if width >= _WIDE else []),
            Text(plain(_source(trial))),
            configuration,
            style="bold" if marked else "",
        )
    return table


def _source(trial: TrialRecord) -> str:
    return f"{trial.source} {trial.repeat_of}" if trial.is_repeat else trial.source


def _place(trial: TrialRecord) -> str:
    return trial.attempts[-1].slot if trial.attempts else ""


def _metrics_that_fit(spec: StudySpec, width: int) -> list[str]:
    """Return the metrics that are optimised, and as many of the others as there is room for."""
    needs = {name: min(max(len(name), 8), _WIDEST_METRIC) + 2 for name in spec.metrics}
    room = width - _BESIDE_METRICS - sum(needs[name] for name in spec.objectives)
    watched = []
    for name in spec.metrics:
        if name not in spec.objectives and needs[name] <= room:
            room -= needs[name]
            watched.append(name)
    return [name for name in spec.metrics if name in spec.objectives or name in watched]


def counts_text(counts: Mapping[str, int]) -> Text:
    """Return how many trials there are in each state."""
    text = Text()
    for index, (state, count) in enumerate(counts.items()):
        text.append(", " if index else "")
        text.append(f"{count} ")
        text.append_text(state_text(Outcome(state) if state in set(Outcome) else state))
    return text


def meters_text(meters: Meters) -> str:
    """Return what of the budget is used: `12 of 40 trials, 1:02 of 10:00 wall time`."""
    parts = []
    for meter in meters.all():
        if meter.name == "tokens" and meter.cap is None and meter.spent:
            parts.append(f"{meter.spent:,.0f} tokens")
        if meter.cap is None:
            continue
        match meter.name:
            case "trials":
                parts.append(f"{meter.spent:g} of {meter.cap:g} trials")
            case "tokens":
                parts.append(f"{meter.spent:,.0f} of {meter.cap:,.0f} tokens")
            case "dollars":
                parts.append(f"{meter.spent:.4f} of {meter.cap:g} dollars")
            case _:
                name = meter.name.removesuffix("_seconds") + " time"
                parts.append(f"{seconds_text(meter.spent)} of {seconds_text(meter.cap)} {name}")
    return ", ".join(parts)


def decision_text(decision: Decision) -> str:
    """Return why a configuration was chosen."""
    late = ", chosen before a fresher proposal was ready" if decision.deadline_missed else ""
    text = (
        f"{plain(decision.source)}: {plain(decision.reason)}{late} (saw {decision.seen_ended} "
        f"ended and {decision.seen_pending} pending trials, took {decision.seconds:.2f} s)"
    )
    expected = decision.prediction
    if expected is not None:
        text += (
            f"\nexpected {expected.mean:.4g}, four times in five between {expected.low:.4g} and "
            f"{expected.high:.4g}"
        )
    if decision.prompt_version:
        text += f"\nprompts {plain(decision.prompt_version)}, {decision.tokens:,} tokens"
    return text
