"""Keeps figures of a running study from being drawn with every report."""

from __future__ import annotations

import time
from collections.abc import Hashable

from .sight import Sight


class Pace:
    """Lets a new version of each study through only so often, and the last one in any case."""

    def __init__(self, seconds: float) -> None:
        """Let one through every so many seconds."""
        self._seconds = seconds
        self._shown: dict[int, tuple[float, Hashable]] = {}

    def version(self, sight: Sight) -> Hashable:
        """Return the version of a study to show now."""
        record = sight.snapshot.record
        taken, version = self._shown.get(record.id, (0.0, None))
        now = time.monotonic()
        if version != sight.version and now - taken >= self._seconds:
            version = sight.version
            self._shown[record.id] = now, version
        return version
