"""How much memory of a device is used, and by which processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
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

    ids = {device.name: device.cuda_id for device in devices if device.cuda_id}
    if not ids:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    memory = NvmlMemory(ids)
    return memory if all(map(memory.is_told, ids)) else None


class NvmlMemory:
    """The memory of CUDA devices as the driver tells it, once NVML is initialised."""

    def __init__(self, cuda_ids: Mapping[str, str]) -> None:
        """Ask nothing yet.

        Args:
            cuda_ids: The devices' names, each with its index or UUID.
        """
        import pynvml

        self._nvml = pynvml
        self._ids = cuda_ids

    def is_told(self, device: str) -> bool:
        """Tell whether the driver can say how much memory a device uses, if it answers."""
        try:
            self._nvml.nvmlDeviceGetMemoryInfo(self._handle(device))
        except self._nvml.NVMLError_NotSupported:
            return False
        except self._nvml.NVMLError:
            return True
        return True

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

    def _ask(self, question: Callable[[Any], Any], device: str) -> Any:
        try:
            return question(self._handle(device))
        except self._nvml.NVMLError as error:
            raise DeviceError(
                f"{device} does not answer ({error}); look at `nvidia-smi` and the kernel's log"
            ) from None

    def _handle(self, device: str) -> Any:
        cuda_id = self._ids[device]
        if cuda_id.isdecimal():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(cuda_id))
        return self._nvml.nvmlDeviceGetHandleByUUID(cuda_id)


def belongs_to(pid: int, attempt_folder: Path) -> bool:
    """Tell whether a process was started by a trial, however far down and in whichever session."""
    with contextlib.suppress(OSError):
        config = f"LUTHIER_CONFIG={attempt_folder / 'config.json'}".encode()
        if config in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return True
    # One that is being torn down has no environment any more, but still its session.
    launcher = read_json(attempt_folder / "process.json") or {}
    trial = launcher.get("trial")
    return isinstance(trial, dict) and session_of(pid) == trial.get("pid")
