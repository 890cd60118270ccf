"""Which device a trial gets: the leases of a study, less the devices that are suspect."""

from __future__ import annotations

from collections.abc import Mapping

from ..tools.leases import Lease, Leases, devices_of
from ..tools.outcomes import Outcome, Verdict
from ..tools.records import TrialRecord
from ..tools.writer import Writer
from .attempts import Run
from .breakers import SUSPICIOUS, Suspicion
from .history import Ended, History


class Placement:
    """Gives devices to trials, and takes those out of service that fail them."""

    def __init__(
        self, leases: Leases, writer: Writer, history: History, running: Mapping[int, Run]
    ) -> None:
        """Begin with what the study's history says of its devices."""
        self._leases = leases
        self._writer = writer
        self._history = history
        self._running = running

    def place(self, trial: TrialRecord | None) -> Lease | None:
        """Return a lease for a trial (None: a new one), None if no device is free for it now."""
        suspicions = self._suspicions()
        busy = {device for run in self._running.values() for device in run.lease.devices}
        # Nobody waits for the word of a device on which nothing runs.
        held_back = {name for name, s in suspicions.items() if s.holds_back and busy - {name}}
        failed = {
            device
            for attempt in (trial.attempts if trial is not None else ())
            if attempt.outcome in SUSPICIOUS and not attempt.never_began
            for device in devices_of(attempt.slot)
        }
        # What failed everywhere must be tried somewhere all the same.
        avoid = held_back | (failed if suspicions.keys() - failed else set())
        lease = self._leases.acquire(avoid) if not avoid or suspicions.keys() - avoid else None
        if lease is None:
            for device, reason in self._leases.stuck().items():
                self._take_out(device, reason)
        return lease

    def is_suspect(self, run: Run, verdict: Verdict) -> bool:
        """Tell whether a crash may be its devices' fault, so that another one should try."""
        crashed_before = any(a.outcome is Outcome.CRASHED for a in run.trial.attempts)
        if verdict.outcome is not Outcome.CRASHED or crashed_before or run.ended_for is not None:
            return False
        suspicions = self._suspicions()
        return any(
            device in suspicions and suspicions[device].row and len(suspicions) > 1
            for device in run.lease.devices
        )

    def judge(self) -> list[Ended]:
        """Take devices out of service that fail trials for reasons of their own.

        Returns:
            The failures that they are to blame for.
        """
        blamed: list[Ended] = []
        for device, suspicion in self._suspicions().items():
            reason = suspicion.verdict()
            if reason is not None:
                self._take_out(device, reason)
                blamed += suspicion.row
        return blamed

    def _take_out(self, device: str, reason: str) -> None:
        self._leases.take_out(device, reason)
        self._writer.note("out_of_service", device=device, reason=reason)

    def _suspicions(self) -> dict[str, Suspicion]:
        """Return what speaks against the devices in service; nothing while no attempt failed."""
        recent = self._history.recent
        if not any(ended.attempt.outcome in SUSPICIOUS for ended in recent):
            return {}
        standing = self._leases.standing()
        return {
            device: Suspicion(device, recent, standing.reset_at.get(device, 0.0))
            for device in self._leases.devices
            if device not in standing.out_of_service
        }
