"""A training that sleeps and says when: it imports nothing, as its import would be measured too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

NAP_SECONDS = 0.5


def nap(configuration: Mapping[str, Any]) -> dict[str, float]:
    """Sleep, and report when it began and when it returned, in seconds since 1970."""
    began = time.time()
    time.sleep(NAP_SECONDS)
    return {"value": float(configuration["x"]), "began": began, "returned": time.time()}
