"""Whether a device's memory has come back after its last trial, before the next one gets it."""

from __future__ import annotations

from pathlib import Path

from .device_memory import Memory, belongs_to
from .devices import DeviceError
from .lease_file import Holder, Register, Settling

_SLACK_BYTES = 128 << 20
"""Memory by which a device may differ from what it was, and still counts as given back."""
_PATIENCE_SECONDS = 30.0
"""How long a device waits for memory that is used by nobody of ours."""


class MemoryWatch:
    """Looks at the memory of devices before they are leased."""

    def __init__(self, memory: Memory) -> None:
        """Look at nothing yet."""
        self._memory = memory
        self.floors: dict[str, int] = {}
        """Bytes of each device that nobody of ours used when it was last looked at."""
        self.stuck: dict[str, str] = {}
        """Devices that were found not to come back by themselves, with the reason."""

    def why_not(self, register: Register, device: str, now: float) -> str | None:
        """Return why a device may not be leased yet, None if it may."""
        try:
            for settling in [s for s in register.settling if s.device == device]:
                reason = self._why_unsettled(register, settling, now)
                if reason is not None:
                    return reason
                register.settling.remove(settling)
            self.floors[device] = self._floor(register, device)
        except DeviceError as error:
            self.stuck[device] = str(error)
            return str(error)
        return None

    def _why_unsettled(self, register: Register, settling: Settling, now: float) -> str | None:
        device = settling.device
        holders = register.holders_of(device)
        processes = self._memory.processes(device)
        others = sum(self._held_by(holder, device, processes) for holder in holders)
        excess = self._memory.used_bytes(device) - settling.floor - others
        if excess <= _SLACK_BYTES:
            return None
        whose = f"a trial of study {settling.study!r}"
        if now - settling.since < _PATIENCE_SECONDS:
            return f"{device} still has {excess >> 20} MiB in use after {whose}"
        left = [pid for pid in processes if belongs_to(pid, Path(settling.attempt))]
        if not left:
            return None
        reason = f"process {left[0]} of {whose} still holds {processes[left[0]] >> 20} MiB"
        self.stuck[device] = reason
        return f"{device} is not free: {reason}"

    def _held_by(self, holder: Holder, device: str, processes: dict[int, int]) -> int:
        """Return what a trial uses of a device; its share where its processes cannot be told."""
        measured = _bytes_of(holder, processes)
        return measured or int(holder.share * self._memory.total_bytes(device))

    def _floor(self, register: Register, device: str) -> int:
        used = self._memory.used_bytes(device)
        holders = register.holders_of(device)
        if not holders:
            return used
        processes = self._memory.processes(device)
        return max(0, used - sum(_bytes_of(holder, processes) for holder in holders))


def _bytes_of(holder: Holder, processes: dict[int, int]) -> int:
    if holder.attempt is None:
        return 0
    folder = Path(holder.attempt)
    return sum(used for pid, used in processes.items() if belongs_to(pid, folder))
