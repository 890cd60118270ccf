"""The file in which all studies of a user on this machine agree who holds which device."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import filelock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import LuthierError
from .executors.folder import read_json
from .executors.processes import start_ticks

TICKET_SECONDS = 3.0
"""How long a request keeps its place without being repeated."""
_CLAIM_SECONDS = 5.0
"""How long a launcher may take to say that it is there."""
_LOCK_SECONDS = 10.0


class LeaseError(LuthierError, RuntimeError):
    """The register of leases cannot be used."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Process(_Record):
    """A process, named for good by its pid and its start."""

    pid: int
    start: int

    @classmethod
    def current(cls) -> Process:
        """Return this process."""
        return cls(pid=os.getpid(), start=start_ticks(os.getpid()) or 0)

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return start_ticks(self.pid) == self.start


class Holder(_Record):
    """Who holds a lease: a worker, and the launcher of the attempt that the lease is bound to."""

    key: str
    name: str
    devices: list[str]
    share: float
    study: str
    worker: Process
    let_go: bool = False
    """Whether the worker left it to the attempt."""
    attempt: str | None = None
    """The attempt's folder."""
    bound_at: float = 0.0
    floors: dict[str, int] = Field(default_factory=dict)
    """Bytes of each device that nobody of ours used when the lease began, where that is known."""

    def living_pid(self, now: float) -> int | None:
        """Return the pid of who keeps it alive, None if it is dead."""
        if not self.let_go and self.worker.lives:
            return self.worker.pid
        if self.attempt is None:
            return None
        try:
            launcher = read_json(Path(self.attempt, "process.json"))
        except OSError:
            return None
        if launcher is None:
            # The worker may have died between asking for a launcher and the launcher's first word;
            # before it made the folder it had not asked.
            asked = Path(self.attempt).is_dir() and abs(now - self.bound_at) < _CLAIM_SECONDS
            return self.worker.pid if asked else None
        pid = launcher.get("pid")
        alive = isinstance(pid, int) and start_ticks(pid) == launcher.get("start")
        return pid if alive else None


class Ticket(_Record):
    """A request that waits for its turn."""

    study: str
    worker: Process
    devices: list[str]
    per_trial: int
    share: float
    renewed: float


class Settling(_Record):
    """Memory of a device that an attempt which has ended may not have given back yet."""

    device: str
    study: str
    attempt: str
    floor: int
    since: float


class OutOfService(_Record):
    """Why a device is given to nobody, and since when (seconds since 1970)."""

    reason: str
    since: float


class Register(_Record):
    """What the file holds."""

    format: Literal[1] = 1
    holders: list[Holder] = Field(default_factory=list)
    tickets: list[Ticket] = Field(default_factory=list)
    """In the order in which they were drawn."""
    settling: list[Settling] = Field(default_factory=list)
    out_of_service: dict[str, OutOfService] = Field(default_factory=dict)
    resets: dict[str, float] = Field(default_factory=dict)
    """When a device was last put back in service."""

    def holders_of(self, device: str) -> list[Holder]:
        """Return who holds a device, or a share of it."""
        return [holder for holder in self.holders if device in holder.devices]

    def taken(self, device: str) -> float:
        """Return how much of a device's capacity is held."""
        return sum(holder.share for holder in self.holders_of(device))

    def remove(self, holder: Holder, now: float) -> None:
        """End a lease; the memory of its attempt is watched until it is given back."""
        self.holders.remove(holder)
        if holder.attempt is not None:
            self.settling += [
                Settling(
                    device=device,
                    study=holder.study,
                    attempt=holder.attempt,
                    floor=floor,
                    since=now,
                )
                for device, floor in holder.floors.items()
            ]

    def prune(self, now: float, ticket_seconds: float) -> None:
        """Remove the leases of the dead, and the tickets of those who wait no more."""
        for holder in [h for h in self.holders if h.living_pid(now) is None]:
            self.remove(holder, now)
        self.tickets = [
            ticket
            for ticket in self.tickets
            if abs(now - ticket.renewed) < ticket_seconds and ticket.worker.lives
        ]

    def take_out(self, device: str, reason: str, now: float) -> None:
        """Take a device out of service; the first reason stands."""
        self.out_of_service.setdefault(device, OutOfService(reason=reason, since=now))

    def reset(self, device: str, now: float) -> bool:
        """Put a device back in service; tell whether it was out of it."""
        if self.out_of_service.pop(device, None) is None:
            return False
        self.resets[device] = now
        return True


def runtime_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return this user's folder for what lasts as long as the machine is up."""
    base = environment.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        return Path(base, "luthier")
    return Path(f"/tmp/luthier-{os.getuid()}")


class LeaseFile:
    """The register on disk, read and replaced under one lock."""

    def __init__(
        self,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
        ticket_seconds: float = TICKET_SECONDS,
    ) -> None:
        """Make the folder if there is none.

        Raises:
            LeaseError: If the folder is somebody else's.
        """
        self.folder = runtime_folder() if folder is None else folder
        self._clock = clock
        self._ticket_seconds = ticket_seconds
        self._path = self.folder / "leases.json"
        with _as_lease_error(self.folder):
            self._prepare()
        # The lock is held for about a millisecond, so whoever waits for it looks again soon.
        self._lock = filelock.FileLock(
            self.folder / "leases.lock", timeout=_LOCK_SECONDS, poll_interval=0.001
        )

    def _prepare(self) -> None:
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise LeaseError(
                f"{str(self.folder)!r} is not a folder of yours, so leases of devices cannot be "
                "kept there; remove it, or set XDG_RUNTIME_DIR to a folder of your own"
            )
        if found.st_mode & 0o077:
            self.folder.chmod(0o700)

    @contextlib.contextmanager
    def open(self) -> Iterator[Register]:
        """Hold the register, without the dead; what is changed in it is written at the end.

        Raises:
            LeaseError: If it cannot be locked or written.
        """
        with _as_lease_error(self.folder), self._lock:
            text = self._read()
            register = self._parse(text)
            register.prune(self._clock(), self._ticket_seconds)
            yield register
            changed = register.model_dump_json()
            if changed != text:
                # After a power cut nobody holds anything, so nobody waits for the disk.
                temporary = self.folder / "leases.tmp"
                temporary.write_text(changed, encoding="utf-8")
                temporary.replace(self._path)

    def _read(self) -> str | None:
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            return ""
        return self._path.read_text(encoding="utf-8", errors="replace")

    def _parse(self, text: str | None) -> Register:
        if text is None:
            return Register()
        try:
            return Register.model_validate_json(text)
        except ValidationError:  # damaged, or of another version
            self._path.replace(self.folder / f"leases.{time.time_ns()}.damaged")
            return Register()


def look(folder: Path | None = None) -> Register:
    """Return a register as it is now, by default this user's; where there is none, none is made.

    Raises:
        LeaseError: If it cannot be read.
    """
    if not (runtime_folder() if folder is None else folder).exists():
        return Register()
    with LeaseFile(folder).open() as register:
        return register


@contextlib.contextmanager
def _as_lease_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except filelock.Timeout:
        raise LeaseError(
            f"the leases in {str(folder)!r} are locked by another process that does not go on; "
            "find it with `fuser`, and continue or end it"
        ) from None
    except OSError as error:
        raise LeaseError(
            f"cannot keep leases of devices in {str(folder)!r}: {error.strerror or error}"
        ) from None
