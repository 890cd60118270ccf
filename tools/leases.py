"""The leases of one study: the rights of its trials to devices, held machine-wide."""

from __future__ import annotations

import functools
import itertools
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .device_memory import Memory
from .devices import DevicePlan
from .lease_file import (
    TICKET_SECONDS,
    Holder,
    LeaseFile,
    OutOfService,
    Process,
    Register,
    Ticket,
)
from .settling import MemoryWatch

_ROUNDING = 1e-9
_MOST_REASONS = 4
"""Reasons that a refusal gives before it only counts the others."""


@dataclass(frozen=True)
class Lease:
    """The right of one trial to its devices."""

    name: str
    """As the ledger keeps it: `cuda:0`; `cuda:0,1` for both; `cuda:0/1`, `cpu:1` for a share."""
    devices: tuple[str, ...]
    environment: dict[str, str] = field(hash=False)
    """Variables that pin the trial to them; none for one that runs already."""
    key: str = ""
    """What it is in the register."""


class Standing(NamedTuple):
    """Which devices serve."""

    out_of_service: dict[str, OutOfService]
    """Those that do not, with the reason."""
    reset_at: dict[str, float]
    """When others were put back in service, in seconds since 1970."""


class Leases:
    """What one study holds and asks for.

    Used by one thread. Everything raises LeaseError where the register cannot be locked or written.
    """

    def __init__(
        self,
        plan: DevicePlan,
        study: str,
        *,
        folder: Path | None = None,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.time,
        ticket_seconds: float = TICKET_SECONDS,
    ) -> None:
        """Begin without any lease.

        Args:
            plan: The study's devices, and what a trial takes of them.
            study: The study's name, which others are told.
            folder: Where the register is; by default where all studies of this user have it.
            memory: What is known of the devices' memory; None does without.
            clock: Tells the time.
            ticket_seconds: How long a request keeps its place in the queue without being repeated.

        Raises:
            LeaseError: If the folder is somebody else's.
        """
        self._plan = plan
        self.slots = plan.slots
        """Most leases at a time."""
        self.per_trial = plan.per_trial
        """How many devices a lease is of."""
        self.devices = frozenset(device.name for device in plan.devices)
        """All devices that it may use."""
        self._names = [device.name for device in plan.devices]
        self._study = study
        self._watch = None if memory is None else MemoryWatch(memory)
        self._clock = clock
        self._file = LeaseFile(folder, clock, ticket_seconds)
        self._worker = Process.current()
        self._held: dict[str, Holder] = {}
        self._handed_back: set[str] = set()
        self._refusal: str | None = None

    @contextmanager
    def _open(self) -> Iterator[Register]:
        with self._file.open() as register:
            # Of a file that was damaged, each worker restores what is its own.
            known = {holder.key for holder in register.holders}
            register.holders += [h for key, h in self._held.items() if key not in known]
            self._remove(register, self._handed_back)
            self._handed_back.clear()
            yield register

    def _remove(self, register: Register, keys: Collection[str]) -> None:
        for holder in [h for h in register.holders if h.key in keys and self._is_ours(h)]:
            register.remove(holder, self._clock())

    def acquire(
        self, avoid: Collection[str] = (), attempt_folder: Path | None = None
    ) -> Lease | None:
        """Return a lease for one trial, None if there is none for us now.

        Who gets none has a place in the queue, and keeps it by asking again every second or sooner.

        Args:
            avoid: Devices that the trial shall not get.
            attempt_folder: Where the attempt will be; its launcher then holds the lease too, so
                that it outlives this worker.
        """
        if self._watch is not None:
            self._watch.stuck.clear()
        with self._open() as register:
            ticket = self._draw(register, avoid)
            if len(self._held) >= self._plan.slots:
                register.tickets.remove(ticket)
                self._refusal = f"all {self._plan.slots} slots of the study are taken"
                return None
            free = self._free(register, ticket)
            reasons = {name: self._why_not(register, name, free, ticket) for name in self._names}
            fit = [name for name, reason in reasons.items() if reason is None]
            if len(fit) < self._plan.per_trial:
                self._refusal = self._explain(reasons)
                return None
            self._refusal = None
            register.tickets.remove(ticket)
            fit.sort(key=lambda name: -free[name])
            devices = [name for name in self._names if name in fit[: self._plan.per_trial]]
            holder = self._hold(register, self._free_name(register, devices), devices)
            if self._watch is not None:
                holder.floors = {name: self._watch.floors[name] for name in devices}
            if attempt_folder is not None:
                self._bind(holder, attempt_folder)
        return self._lease(holder, self._plan.environment(holder.devices))

    def _draw(self, register: Register, avoid: Collection[str]) -> Ticket:
        """Return our ticket, renewed; a new one at the end of the queue if we had none."""
        ticket = next((t for t in register.tickets if self._is_ours(t)), None)
        if ticket is None:
            ticket = Ticket(
                study=self._study,
                worker=self._worker,
                devices=[],
                per_trial=self._plan.per_trial,
                share=self._plan.share,
                renewed=0.0,
            )
            register.tickets.append(ticket)
        ticket.devices = [name for name in self._names if name not in avoid]
        ticket.renewed = self._clock()
        return ticket

    def _is_ours(self, record: Ticket | Holder) -> bool:
        return (record.study, record.worker) == (self._study, self._worker)

    def _free(self, register: Register, ours: Ticket) -> dict[str, float]:
        """Return what is left of each device for us, after those who have waited longer.

        They are kept what they need even where not all of it is free yet: a trial of many devices
        would wait for ever if smaller ones took each as it comes.
        """
        older = list(itertools.takewhile(lambda ticket: ticket is not ours, register.tickets))
        free = {name: 1.0 for ticket in older for name in ticket.devices}
        free |= {device.name: device.capacity for device in self._plan.devices}
        for name in free:
            free[name] -= register.taken(name)
        for ticket in older:
            usable = [name for name in ticket.devices if name not in register.out_of_service]
            if len(usable) >= ticket.per_trial:
                for name in sorted(usable, key=lambda name: -free[name])[: ticket.per_trial]:
                    free[name] -= ticket.share
        return free

    def _why_not(
        self, register: Register, device: str, free: dict[str, float], ours: Ticket
    ) -> str | None:
        """Return why a device is not ours to take now, None if it is."""
        if device in register.out_of_service:
            return f"{device} is out of service: {register.out_of_service[device].reason}"
        if device not in ours.devices:
            return f"{device} is to be avoided"
        now = self._clock()
        if free[device] < self._plan.share - _ROUNDING:
            holders = [(h.study, h.living_pid(now)) for h in register.holders_of(device)]
            if holders:
                return f"{device} is held by {_studies(holders)}"
            waiting = [(t.study, t.worker.pid) for t in register.tickets if device in t.devices]
            return f"{device} goes first to {_studies(waiting[:1])}"
        return None if self._watch is None else self._watch.why_not(register, device, now)

    def _explain(self, reasons: dict[str, str | None]) -> str:
        given = [reason for reason in reasons.values() if reason is not None]
        text = "; ".join(given[:_MOST_REASONS])
        if len(given) > _MOST_REASONS:
            text += f"; and {len(given) - _MOST_REASONS} more devices are not free"
        return text

    def _hold(self, register: Register, name: str, devices: list[str]) -> Holder:
        holder = Holder(
            key=uuid.uuid4().hex,
            name=name,
            devices=devices,
            share=self._plan.share,
            study=self._study,
            worker=self._worker,
        )
        register.holders.append(holder)
        self._held[holder.key] = holder
        return holder

    def _free_name(self, register: Register, devices: Sequence[str]) -> str:
        """Return a lease's name; shares of a device are numbered, the lowest free one first."""
        if devices != ["cpu"] and self._plan.share == 1.0:
            return _join(devices)
        taken = {holder.name for holder in register.holders}
        pattern = "cpu:{}" if devices == ["cpu"] else f"{devices[0]}/{{}}"
        return next(name for name in map(pattern.format, itertools.count()) if name not in taken)

    def refusal(self) -> str | None:
        """Return why the last `acquire` got nothing, and who holds what; None if it got a lease."""
        return self._refusal

    def stuck(self) -> dict[str, str]:
        """Return the devices that the last `acquire` found to be beyond help, with the reason.

        A process of an ended trial does not give its memory back, or the driver does not answer.
        Such a device is given to nobody; it is better taken out of service.
        """
        return {} if self._watch is None else dict(self._watch.stuck)

    def _bind(self, holder: Holder, attempt_folder: Path) -> None:
        holder.attempt, holder.bound_at = str(attempt_folder), self._clock()
        self._held[holder.key] = holder

    def adopt(self, name: str, attempt_folder: Path) -> Lease:
        """Take over the lease of an attempt that another worker started.

        If it is not in the register any more, it is made anew even where there is no room for it,
        since the attempt runs.

        Args:
            name: The lease's name, as the ledger has it.
            attempt_folder: The attempt's folder.
        """
        with self._open() as register:
            holder = next((h for h in register.holders if h.attempt == str(attempt_folder)), None)
            if holder is None:
                holder = self._hold(register, name, list(devices_of(name)))
            holder.study, holder.worker, holder.let_go = self._study, self._worker, False
            self._bind(holder, attempt_folder)
        return self._lease(holder, {})

    def _lease(self, holder: Holder, environment: dict[str, str]) -> Lease:
        return Lease(holder.name, tuple(holder.devices), environment, holder.key)

    def release(self, lease: Lease) -> None:
        """Give a lease back."""
        self.hand_back(lease)
        self.flush()

    def hand_back(self, lease: Lease) -> None:
        """Give a lease back together with the next request, or by `flush` if there is none.

        Who ends one trial most often begins another: both are one look at the register then.
        """
        self._held.pop(lease.key, None)
        self._handed_back.add(lease.key)

    def flush(self) -> None:
        """Let others have what was handed back."""
        if self._handed_back:
            with self._open():
                pass

    def close(self) -> None:
        """Give back what is not bound, and leave the rest to the attempts that it is bound to."""
        held, self._held = self._held, {}
        with self._open() as register:
            register.tickets = [t for t in register.tickets if not self._is_ours(t)]
            for holder in [h for h in register.holders if h.key in held and self._is_ours(h)]:
                holder.let_go = True
                if holder.attempt is None:
                    register.remove(holder, self._clock())

    def take_out(self, device: str, reason: str) -> None:
        """Take a device out of service, for all studies, until somebody resets it."""
        with self._open() as register:
            register.take_out(device, reason, self._clock())

    def reset(self, device: str) -> bool:
        """Put a device back in service; tell whether it was out of it."""
        with self._open() as register:
            return register.reset(device, self._clock())

    def standing(self) -> Standing:
        """Return which devices are out of service, and when others were put back in it."""
        with self._open() as register:
            return Standing(register.out_of_service, register.resets)


def _studies(pairs: Sequence[tuple[str, int | None]]) -> str:
    return " and ".join(dict.fromkeys(f"study {study!r} (pid {pid})" for study, pid in pairs))


def _join(devices: Sequence[str]) -> str:
    """Return devices as one short name: `cuda:0,1`, and `cuda:0-3,6` for a row of them."""
    kind, _, first = devices[0].partition(":")
    if not first.isdecimal():
        return devices[0]
    indices = sorted(int(device.partition(":")[2]) for device in devices)
    parts: list[str] = []
    for _, group in itertools.groupby(enumerate(indices), lambda pair: pair[1] - pair[0]):
        row = [index for _, index in group]
        parts += [f"{row[0]}-{row[-1]}"] if len(row) > 2 else map(str, row)
    return f"{kind}:{','.join(parts)}"


@functools.cache
def devices_of(name: str) -> tuple[str, ...]:
    """Return the devices that a lease's name means."""
    kind, _, place = name.partition(":")
    if kind == "cpu":
        return (kind,)
    indices: list[str] = []
    for part in place.partition("/")[0].split(","):
        row = re.fullmatch(r"(\d+)-(\d+)", part)
        indices += map(str, range(int(row[1]), int(row[2]) + 1)) if row else [part]
    return tuple(f"{kind}:{index}" for index in indices)
