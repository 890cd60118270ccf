"""The devices of this machine, and how they are shared among trials."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import LuthierError
from .spec import Executor

_MOST_CPU_SLOTS = 8


class DeviceError(LuthierError, ValueError):
    """The devices that a spec asks for are not there."""


@dataclass(frozen=True)
class Slot:
    """The place of one running trial."""

    name: str
    """`cuda:0`, `cpu:3`."""
    environment: dict[str, str]
    """Variables that pin a trial to it."""


def cuda_devices(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the ids of the CUDA devices that this process may use.

    They are asked from the driver (NVML), so CUDA is not initialised. An inherited
    `CUDA_VISIBLE_DEVICES` is respected.
    """
    import pynvml

    inherited = environment.get("CUDA_VISIBLE_DEVICES")
    if inherited is not None:
        ids = [part.strip() for part in inherited.split(",")]
        # CUDA sees only what stands before the first that is not there.
        return list(itertools.takewhile(lambda part: part not in ("", "-1"), ids))
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, no device
        return []
    try:
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def plan_slots(executor: Executor, environment: Mapping[str, str] = os.environ) -> list[Slot]:
    """Return the slots that a spec's executor section means on this machine.

    Raises:
        DeviceError: If `device: cuda` is asked for where there is none, or more slots than devices.
    """
    devices = [] if executor.device == "cpu" else cuda_devices(environment)
    if executor.device == "cuda" and not devices:
        raise DeviceError(
            "executor.device is 'cuda', but no CUDA device is visible; "
            "use `device: auto` or `device: cpu`, or check CUDA_VISIBLE_DEVICES and the driver"
        )
    cores = len(os.sched_getaffinity(0))
    if devices:
        wanted = executor.slots or len(devices)
        if wanted > len(devices):
            raise DeviceError(
                f"executor.slots is {wanted}, but only {len(devices)} CUDA devices are visible"
            )
        threads = executor.threads or max(1, cores // wanted)
        return [
            Slot(f"cuda:{device}", {"CUDA_VISIBLE_DEVICES": device} | thread_limits(threads))
            for device in devices[:wanted]
        ]
    slots = executor.slots or min(cores, _MOST_CPU_SLOTS)
    threads = executor.threads or max(1, cores // slots)
    return [
        Slot(f"cpu:{index}", {"CUDA_VISIBLE_DEVICES": ""} | thread_limits(threads))
        for index in range(slots)
    ]


def thread_limits(threads: int) -> dict[str, str]:
    """Return the variables that numeric libraries read their number of threads from."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS")
    return {f"{name}_NUM_THREADS": str(threads) for name in names}
