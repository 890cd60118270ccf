"""Answers of language models on disk: reused as a cache, or replayed as a study once got them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .answers import Cause, LLMError, Usage

Mode = Literal["cache", "record", "replay"]
"""`cache`: the k-th time that something is asked, it gets the k-th answer that is there, else a new
one. `record`: every answer is new and kept, failures too. `replay`: only what is there counts, and
nothing is sent."""


@dataclass(frozen=True)
class Entry:
    """What came of one request: a response or a failure."""

    status: int | None = None
    """HTTP status; None for a failure."""
    content_type: str = ""
    body: str = ""
    cause: Cause | None = None
    message: str = ""
    usage: Usage = Usage()


@dataclass(frozen=True)
class Place:
    """Where an entry is: under what was asked, and how often the same was asked before."""

    digest: str
    index: int


class Recording:
    """A folder of answers, one file each."""

    def __init__(self, folder: Path, mode: Mode) -> None:
        """Use a folder, which may be new.

        Args:
            folder: Where the files are; a recording has one of its own.
            mode: What it is for.
        """
        self.folder = folder
        self.mode = mode
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def place(self, path: str, body: Mapping[str, Any]) -> Place:
        """Count one request, and return where what comes of it belongs."""
        text = json.dumps([path, body], sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        with self._lock:
            # A study that was resumed goes on with its recording.
            while self.mode == "record" and self._file(Place(digest, self._asked[digest])).exists():
                self._asked[digest] += 1
            place = Place(digest, self._asked[digest])
            self._asked[digest] += 1
        return place

    def find(self, place: Place) -> Entry | None:
        """Return what is kept, None if a request must be sent.

        Raises:
            LLMError: If nothing is there in a replay.
        """
        if self.mode == "record":
            return None
        path = self._file(place)
        try:
            return _entry(json.loads(path.read_text(encoding="utf-8"))["answer"])
        except FileNotFoundError:
            problem = "has no answer to this request"
        except (OSError, ValueError, KeyError, TypeError):
            problem = f"holds a damaged answer, {path.name}"
        if self.mode == "replay":
            raise LLMError(
                f"the recording {self.folder} {problem}; the study that it comes from asked "
                "something else, so record it again",
                "no_endpoint",
            )
        return None

    def keep(self, place: Place, path: str, body: Mapping[str, Any], entry: Entry) -> None:
        """Keep what came of a request; a cache keeps no failures.

        Raises:
            LLMError: If it cannot be written: what is not in the recording must not be used, or a
                replay would take another way.
        """
        if self.mode == "cache" and entry.status != 200:
            return
        kept = {name: value for name, value in asdict(entry).items() if value not in (None, "")}
        text = json.dumps({"path": path, "request": body, "answer": kept}, indent=1)
        file = self._file(place)
        draft = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.replace(file)
        except OSError as error:
            raise LLMError(
                f"an answer cannot be kept in {str(self.folder)!r} ({error.strerror}); make room "
                "there, or make it writable",
                "unrecorded",
            ) from error

    def _file(self, place: Place) -> Path:
        return self.folder / place.digest[:2] / f"{place.digest}-{place.index}.json"


def _entry(data: Mapping[str, Any]) -> Entry:
    """Return an entry as it was kept.

    Raises:
        ValueError: If it is none.
    """
    entry = Entry(**{**data, "usage": Usage(**{"dollars": None, **data["usage"]})})
    if entry.status is None and entry.cause not in get_args(Cause):
        raise ValueError("neither a response nor a failure")
    return entry
