"""A running attempt as the loop sees it, and what its end means for the study."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..tools.devices import Slot
from ..tools.executors.local import tail
from ..tools.executors.protocol import Handle
from ..tools.outcomes import CONFIGURATION_FAULTS, Evidence, Outcome, StopReason, Verdict, classify
from ..tools.records import TrialRecord


@dataclass
class Run:
    """An attempt that runs on a slot."""

    trial: TrialRecord
    slot: Slot
    handle: Handle
    reserved: float
    adopted: bool = False
    """Whether another worker started it."""
    values: dict[str, float] = field(default_factory=dict)
    """Latest value of each metric."""
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    ended_for: str | None = None
    """Why the trial must end with this attempt, if the loop has decided so."""

    @property
    def promoted(self) -> bool:
        """Whether it goes on with a trial that was pruned, and so is not to be pruned again."""
        return any(attempt.outcome is Outcome.PRUNED for attempt in self.trial.attempts)

    @property
    def elapsed(self) -> float:
        """Seconds since it was started."""
        return max(0.0, time.time() - self.trial.attempts[-1].started_at)

    def seconds(self, evidence: Evidence) -> float:
        """Return how long it ran; of one that was lost unseen, up to its last sign of life."""
        if evidence.seconds or not evidence.started:
            return evidence.seconds
        if not self.adopted:
            return self.elapsed
        seen = max((p.stat().st_mtime for p in self.handle.folder.glob("*.*")), default=0.0)
        return max(0.0, seen - self.trial.attempts[-1].started_at)

    def verdict(self, evidence: Evidence, required: Iterable[str]) -> Verdict:
        """Return how it ended, with the loop's own reason where the loop ended it."""
        verdict = classify(evidence, self.values, required)
        if verdict.outcome is Outcome.KILLED and self.ended_for is not None:
            return Verdict(Outcome.KILLED, self.ended_for)
        return verdict

    def may_run_again(self, verdict: Verdict, evidence: Evidence, most_attempts: int) -> bool:
        """Tell whether the trial gets another attempt: it was broken off, or the machine failed.

        Args:
            verdict: How this attempt ended.
            evidence: The evidence of it.
            most_attempts: Attempts before a failing machine counts against the trial.
        """
        if verdict.outcome is Outcome.INFRASTRUCTURE:
            lost = [a for a in self.trial.attempts if a.outcome is Outcome.INFRASTRUCTURE]
            return len(lost) + 1 < most_attempts
        return (
            verdict.outcome is Outcome.KILLED
            and self.ended_for is None
            and evidence.stop_reason is StopReason.STOP
        )


class Prospects:
    """Whether it makes sense to go on with a study, judged by how its first trials end."""

    def __init__(self, study: str, required: Iterable[str], hopeless: int) -> None:
        """Begin without any trial.

        Args:
            study: The study's name.
            required: Metrics that every trial must report.
            hopeless: Trials that fail alike, with none that works, after which there is no hope.
        """
        self._study = study
        self._required = list(required)
        self._hopeless = hopeless
        self._failures: list[Outcome] = []
        self._hopeful = False

    def learn(self, outcome: Outcome) -> None:
        """Take in that a trial ended."""
        if outcome in (Outcome.COMPLETE, Outcome.PRUNED):
            self._hopeful = True
        elif outcome in CONFIGURATION_FAULTS or outcome is Outcome.INFRASTRUCTURE:
            self._failures.append(outcome)

    def reason_to_halt(self, run: Run, verdict: Verdict, evidence: Evidence) -> str | None:
        """Return why no trial can succeed, after the latest that ended; None if one may."""
        if self._hopeful:
            return None
        missing = [name for name in self._required if name not in run.values]
        if missing and verdict.outcome is Outcome.CRASHED and evidence.exit_code == 0:
            output = tail(run.handle.folder, "stdout.log", lines=10)
            return (
                f"trial {run.trial.number} ended without reporting {', '.join(missing)}; call "
                "luthier.report, or give the metric a `pattern`; the last lines of its output "
                f"were:\n{output or '(none)'}"
            )
        if len(self._failures) >= self._hopeless and len(set(self._failures)) == 1:
            return (
                f"the first {len(self._failures)} trials all ended as {verdict.outcome} "
                f"({verdict.reason}); see `luthier show {self._study} {run.trial.number}`"
            )
        return None
