"""The panel of trials: a table, sorted, filtered and paged here; one open, several compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from ...tools.feasibility import memory_notes
from ...tools.outcomes import Outcome
from ...tools.plots import curves
from ...tools.records import TrialRecord
from ...tools.space import Comparison
from ...tools.spec import StudySpec
from ..report import clean_tail
from .acts import act_html
from .place import LONGEST_FILTER, PanelName, Place
from .sight import Sight
from .writing import message, write

_PAGE = 25
_MOST_PARAMETERS = 6
"""Parameters that have a column; the detail has them all."""
_LOG_BYTES = 16_000
_STATES = ["running", "waiting", *map(str, Outcome)]


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    key: str
    title: str
    value: Callable[[TrialRecord], Any]
    numeric: bool = False


class TrialsPanel:
    """The table, with the trial that is open above it and the comparison beneath."""

    name: PanelName = "trials"
    title = "Trials"

    def build(self) -> None:
        """Lay out its components, in its tab."""
        detail = act_html("lu-trial")
        plot = gr.Plot(visible=False, show_label=False, elem_id="lu-trial-curves")
        with gr.Row(elem_classes="lu-controls"):
            states = gr.Dropdown(
                choices=[(state.replace("_", " "), state) for state in _STATES],
                multiselect=True,
                elem_id="lu-states",
                label="Only these states",
                min_width=220,
            )
            text = gr.Textbox(
                label="Only what matches",
                placeholder="adam    or    lr < 0.01, val_acc > 0.9",
                max_length=LONGEST_FILTER,
                min_width=220,
                elem_id="lu-filter",
            )
        table = act_html("lu-trials")
        comparison = act_html("lu-comparison")
        trying = act_html("lu-try", write("try"))
        self.inputs: list[Component] = [states, text]
        self.outputs: list[Component] = [table, detail, comparison, plot]
        self.acting = [table, detail, comparison, trying]

    def filters(self, place: Place) -> list[Any]:
        """Return the values of its controls at a place."""
        return [[state for state in place.states if state in _STATES], place.text]

    def key(self, sight: Sight, *values: Any) -> Hashable:
        """Return what it shows depends on."""
        return sight.version, sight.place, values

    def render(self, sight: Sight, *values: Any) -> list[Any]:
        """Return the table, the detail, the comparison, and the curves of the open trial."""
        place = sight.place
        chosen = [t for t in map(sight.trial, place.compare) if t is not None]
        opened = sight.trial(place.trial)
        detail = ""
        if opened is not None:
            detail = _detail(sight, opened)
        elif place.trial is not None:
            last = f"the last one is {sight.trials[-1].number}" if sight.trials else "it has none"
            detail = message(f"This study has no trial {place.trial}; {last}.", "problem")
        comparison = _comparison(sight, chosen) if len(chosen) > 1 else ""
        table = _table(sight, place.states, place.text)
        plot = _plot(sight, [] if opened is None else [opened, *chosen])
        return [table, detail, comparison, plot]


def columns(spec: StudySpec) -> list[Column]:
    """Return the columns of a study's table."""
    metrics = [*spec.objectives, *(name for name in spec.metrics if name not in spec.objectives)]
    return [
        Column("number", "trial", lambda t: t.number, numeric=True),
        Column("state", "state", lambda t: str(t.state)),
        *(Column(f"metric:{name}", name, _metric(name), numeric=True) for name in metrics[:4]),
        Column("seconds", "time", lambda t: t.seconds, numeric=True),
        Column("memory", "memory", _memory, numeric=True),
        Column("source", "from", lambda t: t.source),
        *(
            Column(f"parameter:{name}", name, _parameter(name), numeric=True)
            for name in list(spec.space)[:_MOST_PARAMETERS]
        ),
    ]


def _metric(name: str) -> Callable[[TrialRecord], float | None]:
    return lambda trial: trial.metrics.get(name)


def _parameter(name: str) -> Callable[[TrialRecord], Any]:
    return lambda trial: trial.configuration.get(name)


def _memory(trial: TrialRecord) -> int | None:
    return max((a.peak_bytes or 0 for a in trial.attempts), default=0) or None


def order(trials: Sequence[TrialRecord], column: Column, *, descending: bool) -> list[TrialRecord]:
    """Sort trials by a column; those that have no value there stand last either way."""

    def is_gap(value: Any) -> bool:
        return value is None or (isinstance(value, float) and math.isnan(value))

    def rank(trial: TrialRecord) -> tuple[bool, Any]:
        value = column.value(trial)
        return isinstance(value, str), value

    there = [trial for trial in trials if not is_gap(column.value(trial))]
    gaps = [trial for trial in trials if is_gap(column.value(trial))]
    return sorted(there, key=rank, reverse=descending) + gaps


def matches(trial: TrialRecord, text: str) -> bool:
    """Tell whether a trial matches all parts of a text: comparisons, or words that occur in it."""
    values: dict[str, Any] = {**trial.configuration, **trial.metrics}
    return all(_matches(trial, values, part.strip()) for part in text.split(",") if part.strip())


def _matches(trial: TrialRecord, values: dict[str, Any], part: str) -> bool:
    try:
        comparison = Comparison.model_validate(part)
    except ValueError:
        said = [str(trial.number), trial.source, trial.reason, str(trial.state)]
        said += [f"{name}={value}" for name, value in trial.configuration.items()]
        return part.casefold() in " ".join(said).casefold()
    if not all(isinstance(values.get(name), int | float) for name in comparison.names()):
        return False
    return comparison.holds(values)


def _table(sight: Sight, states: Sequence[str], text: str) -> str:
    place = sight.place
    shown = columns(sight.spec)
    by_key = {column.key: column for column in shown}
    found = [
        _as_it_runs(sight, trial) if trial.state == "running" else trial
        for trial in sight.trials
        if not states or str(trial.state) in states
    ]
    found = [trial for trial in found if matches(trial, text)]
    found = order(found, by_key.get(place.sort, shown[0]), descending=place.descending)
    pages = max(1, math.ceil(len(found) / _PAGE))
    place = place.but(page=min(place.page, pages - 1))
    first = place.page * _PAGE
    rows = found[first : first + _PAGE]
    nothing = "No trial matches." if sight.trials else "This study has no trials yet."
    return write(
        "trials",
        rows=rows,
        columns=shown,
        place=place,
        best={trial.number for trial in sight.best},
        first=first + 1,
        last=first + len(rows),
        found=len(found),
        all=len(sight.trials),
        nothing=nothing,
    )


def _as_it_runs(sight: Sight, trial: TrialRecord) -> TrialRecord:
    """Return a running trial with what it has reported as its metrics, and its time so far."""
    latest = sight.snapshot.latest.get(trial.number, {})
    reported = {name: value for name, (_, value) in latest.items()}
    *earlier, attempt = trial.attempts
    running = replace(attempt, seconds=max(0.0, sight.snapshot.now - attempt.started_at))
    return replace(trial, metrics=reported | trial.metrics, attempts=(*earlier, running))


def _detail(sight: Sight, trial: TrialRecord) -> str:
    best = next((b for b in sight.best if b.number != trial.number), None)
    decision = sight.study.ledger.decisions(sight.snapshot.record, [trial.number]).get(trial.number)
    latest = sight.snapshot.latest.get(trial.number, {})
    reported: dict[str, tuple[float, int | None]] = {
        **{name: (value, step) for name, (step, value) in latest.items()},
        **{name: (value, None) for name, value in trial.metrics.items()},
    }
    logs, no_log = _logs(sight, trial)
    return write(
        "trial",
        trial=trial,
        owner=sight.study.owner,
        best=best,
        parameters=[
            (name, value, best.configuration.get(name, "–") if best else "", differs)
            for name, value in trial.configuration.items()
            for differs in [best is not None and best.configuration.get(name) != value]
        ],
        metrics=[(name, value, step) for name, (value, step) in reported.items()],
        decision=decision,
        memory=[] if decision is None else memory_notes(trial, decision),
        prediction=None if decision is None else vars(decision).get("prediction"),
        logs=logs,
        no_log=no_log,
        failed=trial.is_finished and trial.state not in (Outcome.COMPLETE, Outcome.PRUNED),
    )


def _logs(sight: Sight, trial: TrialRecord) -> tuple[list[tuple[str, str]], str]:
    """Return the ends of the newest attempt's logs, and why there are none."""
    if not trial.attempts:
        return [], "it has not run."
    folder = sight.study.attempt_folder(trial)
    logs = []
    for name in ("stderr.log", "stdout.log"):
        try:
            with (folder / name).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _LOG_BYTES))
                text = clean_tail(file.read().decode("utf-8", "replace"))
        except OSError:
            continue
        if text:
            logs.append((name, text))
    if not logs and (tail := clean_tail(trial.attempts[-1].error_tail)):
        logs.append(("stderr.log", tail))
    return logs, "it wrote nothing." if folder.exists() else "its files are gone."


def _comparison(sight: Sight, trials: Sequence[TrialRecord]) -> str:
    parameters = dict.fromkeys(name for trial in trials for name in trial.configuration)
    metrics = dict.fromkeys(name for trial in trials for name in trial.metrics)
    lines: list[tuple[str, list[Any], bool]] = []
    for name in metrics:
        lines.append((name, [trial.metrics.get(name) for trial in trials], False))
    for name in parameters:
        values = [trial.configuration.get(name) for trial in trials]
        lines.append((name, values, any(value != values[0] for value in values)))
    return write(
        "compare",
        trials=trials,
        lines=lines,
        place=sight.place,
        best={trial.number for trial in sight.best},
    )


def _plot(sight: Sight, trials: Sequence[TrialRecord]) -> Any:
    if not trials:
        return gr.Plot(visible=False)
    best = sight.best[:1] if len(sight.best) == 1 else []
    numbers = {trial.number for trial in [*trials, *best]}
    record = sight.snapshot.record
    drawn = sight.study.ledger.trials(record, curves=True, numbers=numbers)
    metric = next(iter(sight.spec.objectives))
    panel = curves(drawn, metric, {trial.number for trial in best})
    return gr.Plot(panel.figure, visible=panel.figure is not None)
