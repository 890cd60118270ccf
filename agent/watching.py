"""Reads what running attempts report, and stops those that are not worth going on."""

from __future__ import annotations

import math

from ..tools.audit import is_audited
from ..tools.executors.protocol import TrialExecutor
from ..tools.metrics import Report
from ..tools.outcomes import StopReason
from ..tools.pruning import Pruning
from ..tools.spec import StudySpec
from ..tools.writer import Writer
from .attempts import Run


class Watcher:
    """Records reports with what is decided for them, so that whoever comes next need not judge."""

    def __init__(self, writer: Writer, executor: TrialExecutor, pruning: Pruning) -> None:
        """Begin with the rule that stops trials early."""
        self._writer = writer
        self._executor = executor
        self._pruning = pruning

    @property
    def _spec(self) -> StudySpec:
        return self._writer.study.spec

    def observe(self, run: Run, *, ended: bool) -> None:
        """Take in what an attempt has reported since the last time; all of it if it has ended.

        One that reports faster than it can be read keeps nobody from the others.
        """
        while told := self._executor.reports(run.handle):
            spared_before = run.spared_at
            for report in told:
                run.values.update(report.metrics)
            reports = [self._guarded(report) for report in told]
            wanted = [self._judge(run, report) for report in reports]
            stop = next((reason for reason in wanted if reason is not None), None)
            if run.handle.stop_asked is not None:
                stop = None
            # In one transaction: what is recorded has been judged, whoever goes on from there.
            spared_at = run.spared_at if run.spared_at != spared_before else None
            self._writer.record_reports(run.trial, reports, stop, spared_at)
            if stop is not None:
                self._executor.stop(run.handle, stop)
            if not ended:
                break

    def _judge(self, run: Run, report: Report) -> StopReason | None:
        """Take in one report; return why the trial is to stop for it, if it is."""
        if report.step is None:
            return None
        news = {}
        for name, value in report.metrics.items():
            curve = run.curves.setdefault(name, {})
            if report.step not in curve:
                curve[report.step] = news[name] = value
        objectives = self._spec.objectives
        values = [news[name] for name in objectives if name in news]
        if any(not math.isfinite(value) for value in values):
            return StopReason.DIVERGED
        prune = len(values) == len(objectives) == 1 and self._pruning.should_prune(
            run.trial.number, report.step, values[0]
        )
        if run.promoted or run.trial.is_repeat:
            return None
        if any(rule.applies(report.step, news) for rule in self._spec.pruner.stop_if):
            return StopReason.STOP_IF
        if prune and is_audited(self._spec, run.trial.number):
            run.spared_at = report.step if run.spared_at is None else run.spared_at
            return None
        return StopReason.PRUNE if prune else None

    def _guarded(self, report: Report) -> Report:
        """Return a report without what only the guard may tell."""
        guard = self._spec.guard
        if guard is None:
            return report
        shown = {name: v for name, v in report.metrics.items() if name != guard.hold_out}
        return Report(report.step, shown)

    def stop(self, run: Run, reason: StopReason) -> None:
        """Stop an attempt, also if this worker dies before it has asked."""
        if run.handle.stop_asked is None:
            self._writer.note_stop(run.trial, reason, run.ended_for)
        self._executor.stop(run.handle, reason)

    def end_trial(self, run: Run, reason: str) -> None:
        """Stop an attempt and let its trial end with it."""
        if run.ended_for is None:
            run.ended_for = reason
            self.stop(run, StopReason.STOP)
