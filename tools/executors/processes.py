"""What is asked of the kernel about processes: who they are, what they hold, what they left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_VICTIM_SCORE = 500
_PSS = re.compile(r"^Pss: +(\d+) kB$", re.M)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None if there is none.

    With the pid it names a process for good: pids are used again, the pair is not.
    """
    fields = _status_fields(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def session_of(pid: int) -> int | None:
    """Return the session of a process, which is the pid of who began it; None if there is none."""
    fields = _status_fields(pid)
    return int(fields[3]) if fields else None


def _status_fields(pid: int) -> list[str]:
    """Return what the kernel tells of a process from its state on, nothing if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return fields.rpartition(")")[2].split()


def die_with_parent() -> None:
    """Have this process killed as soon as its parent is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def become_subreaper() -> None:
    """Make this process inherit every orphan among its descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def volunteer_as_victim() -> None:
    """Offer this process and its children to the kernel's out-of-memory killer before others."""
    with contextlib.suppress(OSError):
        score = int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))
        raised = max(score, _VICTIM_SCORE)
        Path("/proc/self/oom_score_adj").write_text(str(raised), encoding="ascii")


def descendants(pid: int) -> Iterator[int]:
    """Yield the children of a process, and theirs; zombies as well."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text(encoding="ascii").split():
                yield int(child)
                yield from descendants(int(child))


def kill_descendants() -> bool:
    """Kill whatever this process brought into the world, and tell whether there was anything."""
    pids = list(descendants(os.getpid()))
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


def kill_session(leader: int) -> None:
    """Kill the processes of a session whose leader's parent can no longer do it."""
    for process in Path("/proc").glob("[0-9]*"):
        if session_of(int(process.name)) == leader:
            with contextlib.suppress(OSError):
                os.kill(int(process.name), signal.SIGKILL)


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the memory that processes use together; what they share counts for each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
            total += int(fields[1]) * _PAGE_BYTES
    return total


def proportional_bytes(pids: Iterable[int]) -> int:
    """Return the memory that processes use together; what they share counts once.

    It is exact, and slow: the kernel walks all their pages.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            total += sum(int(kilobytes) << 10 for kilobytes in _PSS.findall(rollup))
    return total


def main_memory_bytes() -> int:
    """Return the main memory of this machine, or of its control group where that has less."""
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    with contextlib.suppress(OSError, ValueError):  # no control group, or "max"
        total = min(total, int((_control_group() / "memory.max").read_text(encoding="ascii")))
    return total


def _control_group() -> Path:
    group = Path("/proc/self/cgroup").read_text(encoding="ascii").rpartition("::")[2].strip()
    return Path(f"/sys/fs/cgroup{group}")


def kernel_oom_kills() -> int:
    """Return the out-of-memory kills of this control group (cgroup v2), 0 where unknown."""
    try:
        events = (_control_group() / "memory.events").read_text(encoding="ascii")
    except (OSError, ValueError):
        return 0
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))


def _load_libc() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None


_LIBC = _load_libc()


def _prctl(option: int, argument: int) -> None:
    if sys.platform == "linux" and _LIBC is not None:
        _LIBC.prctl(option, argument, 0, 0, 0)
