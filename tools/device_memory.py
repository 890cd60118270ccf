"""How much memory of a device is used, and by which processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from .devices import Device, DeviceError
from .executors.folder import read_json
from .executors.processes import session_of


class Memory(Protocol):
    """What is known of the memory of devices, by their names."""

    def used_bytes(self, device: str) -> int:
        """Return how much is used, by whomever."""

    def total_bytes(self, device: str) -> int:
        """Return how much there is."""

    def processes(self, device: str) -> dict[int, int]:
        """Return the processes that use it, with their bytes; 0 where the driver does not tell."""


def open_memory(devices: Iterable[Device]) -> Memory | None:
    """Return the memory of these devices; None if they have no memory of their own to read.

    That is so on the CPU, without a driver, and where a GPU shares the memory of the CPU.
    """
    import pynvml

    cuda = [device for device in devices if device.cuda_id]
    if not cuda:
        return None
    try:
        pynvml.nvmlInit()
        memory = NvmlMemory(cuda)
        for device in cuda:
            memory.used_bytes(device.name)
    except (pynvml.NVMLError, DeviceError):
        return None
    return memory


class NvmlMemory:
    """The memory of CUDA devices as the driver tells it, once NVML is initialised."""

    def __init__(self, devices: Iterable[Device]) -> None:
        """Find the devices in the driver."""
        import pynvml

        self._nvml = pynvml
        self._handles = {
            device.name: pynvml.nvmlDeviceGetHandleByIndex(int(device.cuda_id))
            if device.cuda_id.isdecimal()
            else pynvml.nvmlDeviceGetHandleByUUID(device.cuda_id)
            for device in devices
        }

    def used_bytes(self, device: str) -> int:
        """Return how much is used, by whomever."""
        return int(self._ask(self._nvml.nvmlDeviceGetMemoryInfo, device).used)

    def total_bytes(self, device: str) -> int:
        """Return how much there is."""
        return int(self._ask(self._nvml.nvmlDeviceGetMemoryInfo, device).total)

    def processes(self, device: str) -> dict[int, int]:
        """Return the processes that use it, with their bytes; 0 where the driver does not tell."""
        found = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, device)
        return {int(process.pid): int(process.usedGpuMemory or 0) for process in found}

    def _ask(self, question: Any, device: str) -> Any:
        try:
            return question(self._handles[device])
        except self._nvml.NVMLError as error:
            raise DeviceError(
                f"{device} does not answer ({error}); look at `nvidia-smi` and the kernel's log"
            ) from None


def belongs_to(pid: int, attempt_folder: Path) -> bool:
    """Tell whether a process was started by a trial, however far down and in whichever session."""
    with contextlib.suppress(OSError):
        config = f"LUTHIER_CONFIG={attempt_folder / 'config.json'}".encode()
        if config in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return True
    # One that is being torn down has no environment any more, but still its session.
    trial = read_json(attempt_folder / "trial.json")
    return trial is not None and session_of(pid) == trial.get("pid")
