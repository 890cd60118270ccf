"""Trainings that take a known time, for measurements.

This imports next to nothing: every trial imports it, and that would be measured too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

BEGAN = time.time()
"""When a trial's process came to the first line of its own code."""


def quick(configuration: Mapping[str, Any]) -> float:
    """Train nothing."""
    return float(configuration["x"])


def slow(configuration: Mapping[str, Any]) -> float:
    """Train for a second."""
    time.sleep(1.0)
    return float(configuration["x"])


def nap(configuration: Mapping[str, Any]) -> dict[str, float]:
    """Train for half a second, and report when it began and when it returned."""
    time.sleep(0.5)
    return {"value": float(configuration["x"]), "began": BEGAN, "returned": time.time()}
