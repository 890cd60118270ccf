"""The report of a study: one self-contained HTML page, and a summary in Markdown."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..tools.analysis import best_trials, counts, feasible, importance
from ..tools.audit import AUDITED, audit_of, spared_in
from ..tools.budget import Meter, read_meters
from ..tools.claims import NO_CLAIM_OF_FRONTS, claim
from ..tools.feasibility import estimate_error
from ..tools.outcomes import Outcome
from ..tools.plot_style import OUTCOME_COLORS
from ..tools.plots import panels
from ..tools.records import Decision, EventRecord, StudyRecord, TrialRecord
from ..tools.reviews import KIND, credit, reviews_in
from ..tools.spec import CallableObjective, Objective, ScriptObjective, StudySpec

_TEMPLATES = Path(__file__).parent / "templates"
_GOOD_ENDS = (Outcome.COMPLETE, Outcome.PRUNED)
_FAILURES_SHOWN = 50
_ERROR_LINES = 20
_ERROR_CHARACTERS = 4000
_PRETEND = " (in a pretend lab: nothing was trained)"
_ROUTINE = ("started", "stopping", "ended", "repeating", "advice", AUDITED, KIND)
"""Events of every trial, which the trials themselves or the account of pruning tell."""
_EVENTS_SHOWN = 200
_TOP = 10
_HALF_WIDTH = 460
"""Pixels of a figure that shares its row with another."""
_TERMINAL_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class ReportPaths:
    """Where a report was written."""

    html: Path
    markdown: Path


def write_report(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    decisions: Mapping[int, Decision],
    events: Sequence[EventRecord],
    folder: Path,
) -> ReportPaths:
    """Write `<study>.html` and `<study>.md`, each replaced at once or not at all.

    The page needs nothing but itself: no network, no server.

    Args:
        study: The study, in any state.
        trials: All its trials, numbered from 0 without gaps, with their curves.
        decisions: Why each trial's configuration was chosen, by trial number.
        events: What happened, oldest first.
        folder: Where to write; made if it is missing.

    Raises:
        OSError: If the folder cannot be written.
    """
    content = _content(study, trials, decisions, events)
    environment = _environment()
    folder.mkdir(parents=True, exist_ok=True)
    paths = ReportPaths(folder / f"{study.name}.html", folder / f"{study.name}.md")
    _replace(
        paths.html,
        environment.get_template("report.html.j2").render(content, **_page(study, trials)),
    )
    _replace(paths.markdown, environment.get_template("report.md.j2").render(content))
    return paths


def _content(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    decisions: Mapping[int, Decision],
    events: Sequence[EventRecord],
) -> dict[str, Any]:
    """Return what both documents say."""
    spec = study.spec
    own = [trial for trial in trials if not trial.imported]
    best, reviews = best_trials(spec, trials), reviews_in(events)
    complete = [t for t in trials if t.state is Outcome.COMPLETE and not t.is_repeat]
    failed = [t for t in trials if isinstance(t.state, Outcome) and t.state not in _GOOD_ENDS]
    meters = read_meters(
        spec,
        trials=sum(trial.is_counted for trial in own),
        wall_seconds=study.wall_seconds,
        device_spent=sum(trial.seconds for trial in own),
        tokens=sum(event.data.get("tokens", 0) for event in events),
        dollars=sum(event.data.get("dollars", 0.0) for event in events),
    )
    return {
        "study": study,
        "spec": spec,
        "objective": describe(spec.objective) + (_PRETEND if spec.executor.lab else ""),
        "trials": trials,
        "decisions": decisions,
        "best": best,
        "claim": claim(spec, trials),
        "no_claim": NO_CLAIM_OF_FRONTS,
        "default": _default(own, decisions),
        "top": _ranked(spec, complete)[:_TOP],
        "feasible": {trial.number for trial in trials if feasible(trial, spec)},
        "counts": counts(trial for trial in trials if not trial.is_repeat),
        "repeats": sum(trial.is_repeat for trial in trials),
        "imported": sum(trial.imported for trial in trials),
        "audit": audit_of(spec, trials, spared_in(events)),
        "memory": estimate_error(trials, decisions),
        "vetoes": sum(len(decision.vetoes) for decision in decisions.values()),
        "importance": importance(spec, trials),
        "review": reviews[-1] if reviews else None,
        "outlooks": [review for review in reviews if review.trials < len(trials)],
        "credit": credit(spec, reviews, trials) if reviews else [],
        "meters": [m for m in meters.all() if m.spent or m.cap or m.name.endswith("seconds")],
        "failed": failed,
        "failures": [(t, _error_tail(t)) for t in failed[-_FAILURES_SHOWN:]],
        "events": [e for e in events if e.kind not in _ROUTINE][-_EVENTS_SHOWN:],
        "first": min((trial.created_at for trial in own), default=None),
        "last": max((trial.finished_at or trial.created_at for trial in own), default=None),
    }


def _page(study: StudyRecord, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return what only the page has: the figures, and the scripts that draw them."""
    drawn = panels(study.spec, trials)
    figures = ",".join("null" if p.figure is None else p.figure.to_json() for p in drawn)
    scripts = [get_plotlyjs(), (_TEMPLATES / "report.js").read_text(encoding="utf-8")]
    return {
        "panels": drawn,
        "odd": sum(panel.min_width <= _HALF_WIDTH for panel in drawn) % 2 == 1,
        "half_width": _HALF_WIDTH,
        # Only `<` can end a script element, and JSON has another way to write it.
        "figures": Markup(f"[{figures}]".replace("<", "\\u003c")),
        "plotly": Markup(scripts[0]),
        "script": Markup(scripts[1]),
        "style": Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        "policy": _policy(scripts),
        "colors": OUTCOME_COLORS,
        "metrics": list(study.spec.metrics),
        "parameters": list(study.spec.space),
        "yaml": without_secrets(study.spec).to_yaml(resolved=True),
    }


def without_secrets(spec: StudySpec) -> StudySpec:
    """Return the spec without the values of environment variables: a report is passed on."""
    if not isinstance(spec.objective, ScriptObjective):
        return spec
    hidden = dict.fromkeys(spec.objective.environment, "(not shown)")
    objective = spec.objective.model_copy(update={"environment": hidden})
    return spec.model_copy(update={"objective": objective})


def _policy(scripts: Sequence[str]) -> str:
    """Return the content security policy: no network, and no script but these."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _default(
    trials: Sequence[TrialRecord], decisions: Mapping[int, Decision]
) -> TrialRecord | None:
    """Return the trial of the default configuration, if it was tried."""
    for trial in trials:
        if trial.number in decisions and decisions[trial.number].source == "default":
            return trial
    return None


def _ranked(spec: StudySpec, complete: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that keep the limits, best first; of several objectives, by the first."""
    name, direction = next(iter(spec.objectives.items()))
    sign = -1 if direction == "maximize" else 1
    front = {trial.number for trial in best_trials(spec, complete)}
    return sorted(
        (trial for trial in complete if feasible(trial, spec)),
        key=lambda t: (t.number not in front, sign * t.metrics[name], t.number),
    )


def describe(objective: Objective) -> str:
    """Return what runs, in a few words."""
    match objective:
        case ScriptObjective():
            return " ".join(objective.command)
        case CallableObjective():
            return objective.reference
        case _:
            return f"recipe {objective.recipe}"


def _error_tail(trial: TrialRecord) -> str:
    """Return the last lines of what the last attempt wrote to standard error."""
    return clean_tail(trial.attempts[-1].error_tail) if trial.attempts else ""


def clean_tail(text: str) -> str:
    """Return the last lines of a log, without the colors of a terminal."""
    plain = _TERMINAL_COLORS.sub("", text)
    return "\n".join(plain[-_ERROR_CHARACTERS:].splitlines()[-_ERROR_LINES:])


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "seconds": _seconds,
        "meter": _meter,
        "moment": _moment,
        "code": _code,
        "cell": _cell,
        "words": lambda text: str(text).replace("_", " "),
        "settings": _settings,
    }
    environment.globals["gain"] = _gain
    return environment


def _number(value: object) -> str:
    """Write a value as a person would: six digits, no tail of zeros; a gap as a dash."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def _meter(meter: Meter) -> str:
    write = _seconds if meter.name.endswith("seconds") else "{:,.10g}".format
    written = write(meter.spent)
    return written if meter.cap is None else f"{written} of {write(meter.cap)}"


def _moment(time: float | None) -> str:
    return "–" if time is None else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _settings(configuration: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {_number(value)}" for name, value in configuration.items())


def _gain(best: float, default: float) -> str:
    """Write how far a value is from another."""
    change = f"{best - default:+.4g}"
    return f"{change} ({(best - default) / abs(default):+.1%})" if default else change


def _code(text: object) -> str:
    """Make untrusted text a Markdown code span, in which nothing is interpreted."""
    flat = " ".join(str(text).replace("`", "'").split())
    return f"`{flat}`" if flat else ""


def _cell(text: object) -> str:
    """Make untrusted text a code span in a Markdown table, where a bar would end the cell."""
    return _code(text).replace("|", "\\|")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
