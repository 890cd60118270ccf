"""A study as a notebook shows it: its state, what may be said of the best, the newest trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .records import TrialRecord
    from .study import Study

_SHOWN = 10
"""Trials in the table: the best, and the newest others."""


def study_html(study: Study) -> str:
    """Return a study as it stands now as a piece of HTML, in which all is text."""
    trials = study.trials(curves=False)
    searched = [trial for trial in trials if not trial.is_repeat]
    complete = sum(str(trial.state) == "complete" for trial in searched)
    head = f"Study {study.name}: {study.state}, {complete} of {len(searched)} trials complete"
    claim, best = study.claim(), study.best()
    said = "" if claim is None else f"<p>{escape(claim.quote)}: {escape(claim.sentence)}</p>"
    newest = [t for t in reversed(searched) if best is None or t.number != best.number]
    shown = newest[: _SHOWN - 1] if best is None else [best, *newest[: _SHOWN - 1]]
    return f"<div><p><b>{escape(head)}</b></p>{said}{_table(study, shown)}</div>"


def _table(study: Study, trials: Sequence[TrialRecord]) -> str:
    spec = study.spec
    names = ["trial", "state", *spec.metrics, *spec.space, "seconds", "source"]
    rows = [
        [
            str(trial.number),
            str(trial.state),
            *(_number(trial.metrics.get(name)) for name in spec.metrics),
            *(_number(trial.configuration.get(name)) for name in spec.space),
            f"{trial.seconds:.1f}",
            trial.source,
        ]
        for trial in trials
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return "" if value is None else str(value)
