"""A pretend network, for studies in a pretend lab: what training it would be like."""

from __future__ import annotations

import math
from typing import Any

from ..tools.executors.lab import Training
from ..tools.space import Configuration

STEPS = 10

SPACE: dict[str, dict[str, Any]] = {
    "lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
    "width": {"type": "int", "low": 16, "high": 2048, "log": True},
    "batch_size": {"type": "int", "low": 16, "high": 1024, "log": True},
}


def network(configuration: Configuration) -> Training:
    """Return the training of a pretend network with the parameters of `SPACE`.

    It learns best with a rate of 0.01 and many units, takes about a minute a step, and needs more
    memory the wider it is and the larger its batches are.
    """
    lr, width, batch = (float(configuration[name] or 0.0) for name in SPACE)
    limit = 0.5 + 0.4 * math.exp(-(math.log10(lr / 0.01) ** 2)) + 0.01 * math.log2(width / 16)
    return Training(
        steps=[{"val_acc": limit * (1 - math.exp(-step / 3))} for step in range(1, STEPS + 1)],
        step_seconds=20.0 + 40.0 * math.sqrt(width / 2048),
        memory_gib=2.0 + 20.0 * (width / 2048) * (batch / 1024),
    )
