"""Which device is at fault when trials fail on it, judged by what became of them elsewhere.

A trial that fails says little about its device: most failures are the code's. What tells is the
same configuration ending well on another device, so failures in a row are tried again elsewhere,
and two trials that did well there convict the device. Where none is left that could do better,
every device that lost three trials in a row is convicted, unless nothing ever ended well.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..tools.leases import devices_of
from ..tools.outcomes import Outcome
from .history import Ended

SUSPICIOUS = frozenset({Outcome.INFRASTRUCTURE, Outcome.CRASHED})
"""Ends for which a device may be to blame."""
_CONVICTING = 2
_IN_A_ROW = 3
_NEUTRAL = frozenset({Outcome.KILLED, Outcome.OUT_OF_MEMORY, Outcome.INVALID})
"""Ends that speak neither for a device nor against it."""


class Conviction(NamedTuple):
    """A device that is to be taken out of service, and why."""

    device: str
    reason: str
    failures: list[Ended]
    """The failures that it is to blame for."""


def convictions(suspicions: Collection[Suspicion], recent: Sequence[Ended]) -> list[Conviction]:
    """Return the devices that fail trials for reasons of their own.

    Args:
        suspicions: What speaks against each device in service.
        recent: Attempts by the time of their end.
    """
    found = [
        Conviction(suspicion.device, reason, suspicion.row)
        for suspicion in suspicions
        if (reason := suspicion.verdict()) is not None
    ]
    if found or not any(_speaks_for_its_device(ended) for ended in recent):
        return found
    if any(len({ended.trial for ended in s.lost}) < _IN_A_ROW for s in suspicions):
        return []
    return [
        Conviction(s.device, f"{_loss(s.lost)}, and no other device does better", s.lost)
        for s in suspicions
    ]


def _speaks_for_its_device(ended: Ended) -> bool:
    return ended.attempt.outcome not in SUSPICIOUS | _NEUTRAL


def _loss(lost: Sequence[Ended]) -> str:
    return f"it lost {len(lost)} trials in a row ({lost[0].attempt.reason})"


class Suspicion:
    """What the attempts that ended last say of one device."""

    def __init__(self, device: str, recent: Sequence[Ended], since: float) -> None:
        """Look at the evidence.

        Args:
            device: The device's name.
            recent: Attempts by the time of their end, oldest first.
            since: When the device was last put back in service; what was before is forgiven.
        """
        self.device = device
        self.row: list[Ended] = []
        """Its newest failures in a row, newest first, without those of trials that failed wherever
        else they ran."""
        self.lost: list[Ended] = []
        """Those of its newest failures in a row for which the machine is to blame."""
        elsewhere = [ended for ended in recent if device not in devices_of(ended.attempt.slot)]
        self._well_elsewhere = {e.trial for e in elsewhere if _speaks_for_its_device(e)}
        failed = {ended.trial for ended in elsewhere if ended.attempt.outcome in SUSPICIOUS}
        failed_elsewhere = failed - self._well_elsewhere
        self._others_ended = False
        self._others_did_well = False
        others_did_well = False
        for ended in reversed(recent):
            outcome = ended.attempt.outcome
            if (ended.attempt.finished_at or 0.0) < since:
                break
            if device not in devices_of(ended.attempt.slot):
                self._others_ended = self._others_ended or not self.row
                others_did_well = others_did_well or _speaks_for_its_device(ended)
            elif outcome in SUSPICIOUS:
                if outcome is Outcome.INFRASTRUCTURE:
                    self.lost.append(ended)
                if ended.trial not in failed_elsewhere:
                    self.row.append(ended)
                    self._others_did_well = others_did_well
            elif _speaks_for_its_device(ended):
                break

    @property
    def holds_back(self) -> bool:
        """Whether to leave it idle until another device has had its say."""
        return len(self.row) >= _CONVICTING and not self._others_ended

    def verdict(self) -> str | None:
        """Return why it is to be taken out of service, None if it may go on."""
        convicting = {ended.trial for ended in self.row} & self._well_elsewhere
        if len(convicting) >= _CONVICTING:
            names = ", ".join(str(number) for number in sorted(convicting))
            return f"trials {names} failed on it and ended well on other devices"
        machine = [e for e in self.row if e.attempt.outcome is Outcome.INFRASTRUCTURE]
        if len(machine) >= _IN_A_ROW and self._others_did_well:
            return f"{_loss(machine)}, while other devices did well"
        return None
