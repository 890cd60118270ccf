"""Tools that say how a study stands, what is best, and why: features and shares, no raw logs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import Field

from ...tools.feasibility import memory_notes
from ...tools.records import TrialRecord
from ...tools.spec import StudySpec
from ...tools.study import Study
from ...tools.winner import export_winner
from .declaring import Answer, Tool, ToolError, number, plain_values, quoted, visible
from .desk import Desk, trial_of

_THUMBNAIL = 12
_TOP_SHARE = 0.25


class StudyStatus(Tool):
    """Say how a study stands.

    Its state, its trials by how they ended, what of the budget is used, the best so far.
    """

    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Read the ledger."""
        from ...tools.analysis import counts
        from ...tools.budget import expected_trial_seconds, forecast_seconds
        from ...tools.study import read_study_meters

        study = desk.study(self.study)
        record, trials = study.record, study.trials(curves=False)
        meters = read_study_meters(desk.ledger, record, trials)
        running = sum(trial.state == "running" for trial in trials)
        left = forecast_seconds(meters, expected_trial_seconds(trials), max(1, running))
        return {
            "study": study.name,
            "state": "starting" if study.state == "created" and study.owner else study.state,
            "reason": quoted(record.reason, 200),
            "trials": counts(trials),
            "budget": {
                meter.name: {"used": number(meter.spent), "of": meter.cap}
                for meter in meters.all()
                if meter.cap is not None
            },
            "seconds_to_go": number(left) if study.state == "running" else None,
            **_best(study, trials),
        }


class BestTrials(Tool):
    """Show the best configuration so far with its metrics, and what may be claimed of it."""

    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Read the ledger."""
        study = desk.study(self.study)
        return {"study": study.name, "state": study.state, **_best(study, study.trials())}


class ShowTrial(Tool):
    """Show one trial: its configuration, why it was chosen, its metrics, how it ended."""

    trial: int = Field(ge=0)
    """The trial's number."""
    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Read the ledger."""
        study = desk.study(self.study)
        trial = trial_of(study, self.trial)
        decision = study.decisions().get(trial.number)
        tail = trial.attempts[-1].error_tail.strip() if trial.attempts else ""
        return {
            "study": study.name,
            **trial_row(trial),
            "reason": quoted(trial.reason, 200),
            "why": None
            if decision is None
            else {
                "proposed_by": visible(decision.source),
                "because": quoted(decision.reason, 300),
                "had_seen": decision.seen_ended,
                "memory": [quoted(note, 200) for note in memory_notes(trial, decision)[:4]],
            },
            "seconds": number(trial.seconds),
            "attempts": len(trial.attempts),
            "last_lines_of_errors": quoted(tail[-600:], 600) if tail else None,
        }


class CompareTrials(Tool):
    """Compare trials: what differs between their configurations, and their metrics."""

    trials: list[int] = Field(min_length=2, max_length=6)
    """Their numbers."""
    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Read the ledger."""
        study = desk.study(self.study)
        found = [trial_of(study, n) for n in self.trials]
        names = dict.fromkeys(name for trial in found for name in trial.configuration)
        differing = {
            name: [trial.configuration.get(name) for trial in found]
            for name in names
            if len({repr(trial.configuration.get(name)) for trial in found}) > 1
        }
        return {
            "trials": [trial.number for trial in found],
            "states": [str(trial.state) for trial in found],
            "differing_parameters": plain_values(differing),
            "metrics": {
                visible(name): [number(trial.metrics.get(name)) for trial in found]
                for name in study.spec.metrics
            },
            "note": "single runs differ by chance, too" if len(found) > 1 else "",
        }


class ReadCurve(Tool):
    """Describe the learning curve of a trial.

    Best and last value, slope at the end, whether it still improves, and a dozen points.
    """

    trial: int = Field(ge=0)
    """The trial's number."""
    metric: str | None = None
    """By default the one that decides."""
    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Read the ledger."""
        study = desk.study(self.study)
        curves = trial_of(study, self.trial, curves=True).curves or {}
        metric = self.metric or next(iter(study.spec.objectives))
        if metric not in curves:
            known = ", ".join(visible(name) for name in curves) or "none"
            raise ToolError(
                f"trial {self.trial} has no curve of {visible(metric)!r}; it has {known}"
            )
        direction = study.spec.objectives.get(metric, "minimize")
        return {"trial": self.trial, "metric": visible(metric)} | curve_features(
            curves[metric], maximize=direction == "maximize"
        )


class ParameterImportance(Tool):
    """Say which parameters set the best trials apart, and in which ranges the best ones lie."""

    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Compare the best trials with all."""
        from ...tools.analysis import importance

        study = desk.study(self.study)
        trials = [trial for trial in study.trials(curves=False) if not trial.is_repeat]
        shares = importance(study.spec, trials)
        if shares is None:
            raise ToolError("that needs at least 10 complete trials which differ")
        return {
            "study": study.name,
            "importance": {visible(name): number(share) for name, share in shares.items()},
            "best_quarter": _top_ranges(study.spec, trials),
        }


class WriteReport(Tool):
    """Write the report of a study: one HTML page and a Markdown summary, in the workspace."""

    effect = "notes"

    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Let the front end write it."""
        study = desk.study(self.study)
        if desk.write_report is None:
            raise ToolError(f"reports are written by `luthier report {study.name}`")
        return {"study": study.name, "report": str(desk.write_report(study))}


class ExportWinner(Tool):
    """Write the best configuration, and its model if one was kept, as files in the workspace."""

    effect = "notes"

    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Write what there is."""
        study = desk.study(self.study)
        if study.best() is None:
            raise ToolError(f"no trial of {study.name!r} is complete yet")
        return {"study": study.name, "files": [str(path) for path in export_winner(study)]}


def trial_row(trial: TrialRecord) -> Answer:
    """Return what a trial is and came to, in short."""
    return {
        "trial": trial.number,
        "state": str(trial.state),
        "configuration": plain_values(trial.configuration),
        "metrics": {visible(name): number(value) for name, value in trial.metrics.items()},
    }


def _best(study: Study, trials: Sequence[TrialRecord]) -> Answer:
    from ...tools.analysis import best_trials
    from ...tools.claims import NO_CLAIM_OF_FRONTS, claim

    spec = study.spec
    best = best_trials(spec, trials)
    if not best:
        return {"best": None}
    told = claim(spec, trials)
    return {
        "best": [trial_row(trial) for trial in best[:5]],
        "may_be_claimed": NO_CLAIM_OF_FRONTS if told is None else told.sentence,
    }


class StudyReviews(Tool):
    """Show what a language model said of a study while it ran, beside a classical rule.

    How far it comes, where good values lie, what to repeat, and how right both have been.
    """

    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Read the newest review, and mark all of them."""
        from ...tools.reviews import View, credit, reviews_in

        study = desk.study(self.study)
        found, trials = reviews_in(study.events()), study.trials(curves=False)
        if not found:
            return {"study": study.name, "reviews": 0}
        newest = found[-1]

        def told(view: View) -> Answer:
            return {
                "says": quoted(view.text),
                "best_will_be": [number(view.low), number(view.high)],
                "ranges": {
                    visible(r.parameter): [number(r.low), number(r.high)] for r in view.ranges
                },
                "repeat": list(view.repeat),
                "stop": list(view.stop),
            }

        return {
            "study": study.name,
            "reviews": len(found),
            "after_trials": newest.trials,
            "model": told(newest.model)
            | {"hypothesis": quoted(newest.hypothesis), "risk": quoted(newest.risk)},
            "rule": told(newest.rule),
            "how_right_so_far": [vars(row) for row in credit(study.spec, found, trials)],
        }


def curve_features(curve: Mapping[int, float], *, maximize: bool) -> Answer:
    """Return what matters of a curve."""
    finite = [(step, value) for step, value in sorted(curve.items()) if math.isfinite(value)]
    answer: Answer = {"points": len(curve), "not_finite": len(curve) - len(finite)}
    if not finite:
        return answer
    best_step, best = (max if maximize else min)(finite, key=lambda point: point[1])
    last_step, last = finite[-1]
    quarter = finite[-max(2, len(finite) // 4) :]
    span = quarter[-1][0] - quarter[0][0]
    slope = (quarter[-1][1] - quarter[0][1]) / span if span else 0.0
    stride = max(1, math.ceil(len(finite) / _THUMBNAIL))
    return answer | {
        "first": number(finite[0][1]),
        "best": number(best),
        "best_step": best_step,
        "last": number(last),
        "last_step": last_step,
        "slope_at_the_end": number(slope),
        "still_improves": best_step == last_step and slope != 0,
        "some": [[step, number(value)] for step, value in finite[::stride]],
    }


def _top_ranges(spec: StudySpec, trials: Sequence[TrialRecord]) -> Answer:
    """Return where the best quarter of the complete trials lies, parameter by parameter."""
    metric, direction = next(iter(spec.objectives.items()))
    complete = [t for t in trials if t.state == "complete" and metric in t.metrics]
    ranked = sorted(complete, key=lambda t: t.metrics[metric], reverse=direction == "maximize")
    top = ranked[: max(1, math.ceil(len(ranked) * _TOP_SHARE))]
    found: Answer = {}
    for name in spec.space:
        values = [t.configuration[name] for t in top if name in t.configuration]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if numbers and len(numbers) == len(values):
            found[visible(name)] = [number(min(numbers)), number(max(numbers))]
        elif values:
            found[visible(name)] = sorted({visible(value) for value in values})
    return found
