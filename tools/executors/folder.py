"""The files of an attempt's folder, by which its launcher, its trial and the worker speak.

All are replaced atomically, and none waits for the disk: what a power cut could take with it is of
use to nobody afterwards, since the attempt is gone as well and is made again.

    process.json    who runs it, and the trial's own process; whoever creates it first decides
    metrics.jsonl   reports, from the trial itself or read off its standard output
    stop            a request to stop: {"reason": ..., "at_once": ...}
    exception.json  type and message of what ended a Python trial
    outcome.json    the evidence of its end

The folder is the trial's as well: one that it removed or locked is made anew.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def claim(folder: Path, content: dict[str, Any]) -> bool:
    """Create `process.json` with `content` if nobody has; tell whether it was us.

    A launcher claims its attempt before it starts anything. A worker that finds an attempt without
    a launcher claims it as abandoned, so a launcher that comes late runs nothing.
    """
    temporary = folder / f"process.{os.getpid()}.tmp"
    with_folder(folder, lambda: temporary.write_text(json.dumps(content), encoding="utf-8"))
    try:
        os.link(temporary, folder / "process.json")
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def write_atomically(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file so that a reader sees the old or the new one, never a half."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    text = json.dumps(content)
    with_folder(path.parent, lambda: temporary.write_text(text, encoding="utf-8"))
    temporary.replace(path)


def with_folder(folder: Path, write: Callable[[], object]) -> None:
    """Write something in an attempt's folder, which is made anew if the trial took it away."""
    try:
        write()
    except (FileNotFoundError, PermissionError):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(folder.stat().st_mode | 0o700)
        write()


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object that a file holds, None if there is none or it is damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return None
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def wake(environment: Mapping[str, str]) -> None:
    """Wake the worker of a trial with this environment, if it listens."""
    path = environment.get("LUTHIER_WAKE")
    if path is None:
        return
    with contextlib.suppress(OSError):
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fifo, b"\n")
        finally:
            os.close(fifo)
