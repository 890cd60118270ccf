"""Which device is at fault when trials fail on it, judged by what became of them elsewhere.

A trial that fails says little about its device: most failures are the code's. What tells is the
same configuration ending well on another device, so failures in a row are tried again elsewhere,
and two trials that did well there convict the device.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..tools.leases import devices_of
from ..tools.outcomes import Outcome
from .history import Ended

SUSPICIOUS = frozenset({Outcome.INFRASTRUCTURE, Outcome.CRASHED})
"""Ends for which a device may be to blame."""
_CONVICTING = 2
_IN_A_ROW = 3
_NEUTRAL = frozenset({Outcome.KILLED, Outcome.OUT_OF_MEMORY, Outcome.INVALID})
"""Ends that speak neither for a device nor against it."""


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
        """Its newest failures in a row, newest first, without those of trials that failed
        elsewhere too."""
        failed_elsewhere: set[int] = set()
        self._well_elsewhere: set[int] = set()
        self._others_ended = False
        self._others_did_well = False
        others_did_well = False
        for ended in reversed(recent):
            outcome, here = ended.attempt.outcome, device in devices_of(ended.attempt.slot)
            if (ended.attempt.finished_at or 0.0) < since:
                break
            if not here:
                self._others_ended = self._others_ended or not self.row
                if outcome in SUSPICIOUS:
                    failed_elsewhere.add(ended.trial)
                elif outcome not in _NEUTRAL:
                    self._well_elsewhere.add(ended.trial)
                    others_did_well = True
            elif outcome in SUSPICIOUS:
                if ended.trial not in failed_elsewhere:
                    self.row.append(ended)
                    self._others_did_well = others_did_well
            elif outcome not in _NEUTRAL:
                break

    @property
    def calls_for_another_opinion(self) -> bool:
        """Whether what fails on it now should be tried again on another device."""
        return len(self.row) >= _CONVICTING

    @property
    def holds_back(self) -> bool:
        """Whether to leave it idle until another device has had its say."""
        return self.calls_for_another_opinion and not self._others_ended

    def verdict(self) -> str | None:
        """Return why it is to be taken out of service, None if it may go on."""
        convicting = {ended.trial for ended in self.row} & self._well_elsewhere
        if len(convicting) >= _CONVICTING:
            names = ", ".join(str(number) for number in sorted(convicting))
            return f"trials {names} failed on it and ended well on other devices"
        machine = [e for e in self.row if e.attempt.outcome is Outcome.INFRASTRUCTURE]
        if len(machine) >= _IN_A_ROW and self._others_did_well:
            return (
                f"it lost {len(machine)} trials in a row ({machine[0].attempt.reason}), "
                "while other devices did well"
            )
        return None
