"""What a worker asks a launcher to run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """One attempt to start."""

    folder: str
    """The attempt's folder; `process.json` and the rest go there."""
    working_directory: str
    environment: dict[str, str]
    """The trial's whole environment."""
    command: list[str] | None
    """Argument list of a script; None for a Python trial."""
    entry: dict[str, Any] | None
    """What a Python trial runs; see `entry.run_entry`."""
    import_path: list[str]
    """`sys.path` of a Python trial."""
    devices: list[str]
    """The devices that it has leased."""
    patterns: dict[str, str]
    """Metric name to its pattern on standard output."""
    metric_names: list[str]
    """Metrics that are looked for in JSON lines on standard output."""
    limit_seconds: float | None
    memory_bytes: int | None
    """Main memory that the trial's processes may use together; None leaves it to the kernel."""
    grace_seconds: float
    log_bytes: int


REHEARSAL = Request(
    folder="",
    working_directory="",
    environment={},
    command=None,
    entry={},
    import_path=[],
    devices=[],
    patterns={},
    metric_names=[],
    limit_seconds=None,
    memory_bytes=None,
    grace_seconds=0.0,
    log_bytes=0,
)
"""Nothing that anybody wants to run."""


def encode(request: Request) -> bytes:
    """Return a request as one line."""
    return json.dumps(vars(request)).encode() + b"\n"


def decode(line: bytes) -> Request:
    """Return the request that a line holds."""
    return Request(**json.loads(line))


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the keys of the language model, which no trial needs."""
    secret = ("LUTHIER_LLM_", "OPENAI_")
    return {name: value for name, value in environment.items() if not name.startswith(secret)}
