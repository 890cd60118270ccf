"""A running attempt as the loop sees it, and what its end means for the study."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..tools.executors.local import tail
from ..tools.executors.protocol import Handle
from ..tools.leases import Lease
from ..tools.outcomes import CONFIGURATION_FAULTS, Evidence, Outcome, StopReason, Verdict, classify
from ..tools.records import TrialRecord


@dataclass
class Run:
    """An attempt that runs on its devices."""

    trial: TrialRecord
    lease: Lease
    handle: Handle
    reserved: float
    adopted: bool = False
    """Whether another worker started it."""
    values: dict[str, float] = field(default_factory=dict)
    """Latest value of each metric."""
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    ended_for: str | None = None
    """Why the trial must end with this attempt, if the loop has decided so."""
    spared_at: int | None = None
    """The step at which it would have been stopped early if it were not audited."""

    @property
    def promoted(self) -> bool:
        """Whether it goes on with a trial that was pruned, and so is not to be pruned again."""
        return any(attempt.outcome is Outcome.PRUNED for attempt in self.trial.attempts)

    def elapsed(self, now: float) -> float:
        """Return the seconds from its start to `now`, both since 1970."""
        return max(0.0, now - self.trial.attempts[-1].started_at)

    def seconds(self, evidence: Evidence, now: float) -> float:
        """Return how long it ran; of one that was lost unseen, up to its last sign of life."""
        if evidence.seconds or not evidence.started:
            return evidence.seconds
        if not self.adopted:
            return self.elapsed(now)
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
        if self.ended_for is not None:
            return False
        if verdict.outcome is Outcome.INFRASTRUCTURE:
            if self.adopted and not evidence.started:
                return True  # its worker died before it could start it
            lost = [
                attempt
                for attempt in self.trial.attempts
                if attempt.outcome is Outcome.INFRASTRUCTURE and not attempt.never_began
            ]
            return len(lost) + 1 < most_attempts
        return verdict.outcome is Outcome.KILLED and evidence.stop_reason is StopReason.STOP


class Prospects:
    """Whether it makes sense to go on with a study, judged by how its trials end."""

    def __init__(
        self, study: str, required: Iterable[str], hopeless: int, hopeless_later: int
    ) -> None:
        """Begin without any trial.

        Args:
            study: The study's name.
            required: Metrics that every trial must report.
            hopeless: Trials that fail alike, with none that works, after which there is no hope.
            hopeless_later: Trials in a row that fail alike, after others that worked, likewise.
        """
        self._study = study
        self._required = list(required)
        self._hopeless = hopeless
        self._failures: list[Outcome] = []
        self._latest: deque[Outcome] = deque(maxlen=hopeless_later)
        self._hopeful = False

    def learn(self, outcome: Outcome) -> None:
        """Take in that a trial ended."""
        if outcome is not Outcome.KILLED:
            self._latest.append(outcome)
        if outcome in (Outcome.COMPLETE, Outcome.PRUNED):
            self._hopeful = True
        elif _is_failure(outcome):
            self._failures.append(outcome)

    def reason_to_halt(self, run: Run, verdict: Verdict, evidence: Evidence) -> str | None:
        """Return why no trial can succeed, after the latest that ended; None if one may."""
        see = f"see `luthier show {self._study} {run.trial.number}`"
        if self._hopeful:
            full = len(self._latest) == self._latest.maxlen
            if full and _is_failure(verdict.outcome) and len(set(self._latest)) == 1:
                return (
                    f"the last {len(self._latest)} trials all ended as {verdict.outcome} "
                    f"({verdict.reason}), which others did not; {see}"
                )
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
                f"({verdict.reason}); {see}"
            )
        return None


def _is_failure(outcome: Outcome) -> bool:
    return outcome in CONFIGURATION_FAULTS or outcome is Outcome.INFRASTRUCTURE
