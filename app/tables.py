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

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLES = {
    Outcome.COMPLETE: "green",
    Outcome.PRUNED: "yellow",
    Outcome.KILLED: "magenta",
    "running": "cyan",
    "waiting": "dim",
}
_BLOCKS = "▁▂▃▄▅▆▇█"


def plain(text: object) -> str:
    """Return text without control characters, with which it could steer the terminal."""
    return _CONTROL.sub("�", str(text))


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
    best: Sequence[int] = (),
    latest: Mapping[int, Mapping[str, tuple[int, float]]] = {},
    running_seconds: Mapping[int, float] = {},
) -> Table:
    """Return trials as a table, a row each.

    Args:
        spec: Their study's spec.
        trials: The trials, in the order of the rows.
        best: Numbers of the best ones, which are marked.
        latest: Where running trials stand: number to metric to step and value.
        running_seconds: How long running trials have run, by number.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in spec.metrics:
        table.add_column(plain(name), justify="right", no_wrap=True)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("configuration", ratio=1, no_wrap=True, overflow="ellipsis")
    for trial in trials:
        reports = latest.get(trial.number, {})
        values = {name: value for name, (_, value) in reports.items()} | trial.metrics
        steps = [step for step, _ in reports.values()]
        seconds = trial.seconds + running_seconds.get(trial.number, 0.0)
        marked = trial.number in best
        table.add_row(
            Text(f"★ {trial.number}" if marked else str(trial.number)),
            state_text(trial.state),
            *(Text(number_text(values.get(name))) for name in spec.metrics),
            str(max(steps)) if steps else "",
            seconds_text(seconds),
            Text(plain(trial.source)),
            Text(configuration_text(trial.configuration), style="" if marked else "dim"),
            style="bold" if marked else "",
        )
    return table


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
        if meter.cap is None:
            continue
        if meter.name == "trials":
            parts.append(f"{meter.spent:g} of {meter.cap:g} trials")
        else:
            name = meter.name.removesuffix("_seconds") + " time"
            parts.append(f"{seconds_text(meter.spent)} of {seconds_text(meter.cap)} {name}")
    return ", ".join(parts)


def decision_text(decision: Decision) -> str:
    """Return why a configuration was chosen."""
    late = ", chosen before a fresher proposal was ready" if decision.deadline_missed else ""
    return (
        f"{plain(decision.source)}: {plain(decision.reason)}{late} (saw {decision.seen_ended} "
        f"ended and {decision.seen_pending} pending trials, took {decision.seconds:.2f} s)"
    )
