"""Which device a trial gets: the leases of a study, less the devices that are suspect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..tools.leases import Lease, Leases, devices_of
from ..tools.outcomes import Outcome, Verdict
from ..tools.records import TrialRecord
from ..tools.writer import Writer
from .attempts import Run
from .breakers import SUSPICIOUS, Conviction, Suspicion, convictions
from .history import History


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

    def place(self, trial: TrialRecord | None, attempt_folder: Path) -> Lease | None:
        """Return a lease for a trial (None: a new one), None if no device is free for it now."""
        lease = self._leases.acquire(self._to_avoid(trial), attempt_folder)
        if lease is None:
            for device, reason in self._leases.stuck().items():
                self.take_out(device, reason)
        return lease

    def _to_avoid(self, trial: TrialRecord | None) -> set[str]:
        """Return the devices that a trial is better kept from, if that leaves enough others."""
        suspicions = self._suspicions()
        busy = {device for run in self._running.values() for device in run.lease.devices}
        # A device waits for the word of others only while something runs on them.
        held_back = {name for name, s in suspicions.items() if s.holds_back and busy - {name}}
        failed = {
            device
            for attempt in (trial.attempts if trial is not None else ())
            if attempt.outcome in SUSPICIOUS and not attempt.never_began
            for device in devices_of(attempt.slot)
        }
        for avoid in (held_back | failed, failed, held_back):
            if len(suspicions.keys() - avoid) >= self._leases.per_trial:
                return avoid
        return set()  # what failed everywhere must be tried somewhere all the same

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

    def convictions(self) -> list[Conviction]:
        """Return the devices in service that fail trials for reasons of their own."""
        return convictions(self._suspicions().values(), self._history.recent)

    def take_out(self, device: str, reason: str) -> None:
        """Take a device out of service."""
        self._writer.note("out_of_service", device=device, reason=reason)
        self._leases.take_out(device, reason)

    def _suspicions(self) -> dict[str, Suspicion]:
        """Return what speaks against the devices in service; nothing while no attempt failed."""
        recent = self._history.recent
        if not any(ended.attempt.outcome in SUSPICIOUS for ended in recent):
            return {}
        standing = self._leases.standing()
        return {
            device: Suspicion(device, recent, standing.reset_at.get(device, 0.0))
            for device in sorted(self._leases.devices)  # a set has another order in every process
            if device not in standing.out_of_service
        }
