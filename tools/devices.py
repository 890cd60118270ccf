"""The devices of this machine, and how a study's trials share them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .errors import LuthierError
from .executor_spec import Executor

_MOST_CPU_SLOTS = 8
_MOST_SLOTS = 1024
_WAY_OUT = "use `device: auto` or `device: cpu`, or check CUDA_VISIBLE_DEVICES and the driver"
_SHORT_UUID = 12
"""Characters of a UUID in the name of a device that has no index, as a MIG instance."""


class DeviceError(LuthierError, ValueError):
    """A device that is asked for is not there, or does not answer."""


@dataclass(frozen=True)
class Device:
    """Something that trials run on; its name means the same to every process of this machine."""

    name: str
    """`cuda:0`, `cpu`."""
    capacity: float
    """What trials take shares of: 1 of a CUDA device, the number of cores of the CPU."""
    cuda_id: str = ""
    """What CUDA_VISIBLE_DEVICES calls it; empty for the CPU."""


@dataclass(frozen=True)
class DevicePlan:
    """The devices of a study, and what each of its trials takes of them."""

    devices: tuple[Device, ...]
    per_trial: int
    """Devices of one trial."""
    share: float
    """What one trial takes of the capacity of each of its devices."""
    slots: int
    """Most trials at a time."""
    threads: int
    """CPU threads of each process of a trial."""

    @property
    def is_cuda(self) -> bool:
        """Whether trials run on CUDA devices."""
        return self.devices[0].cuda_id != ""

    def environment(self, names: Collection[str]) -> dict[str, str]:
        """Return the variables that pin a trial to these devices.

        Where `torchrun` starts the training, it starts a process for each device, and meets them
        at a port of its own; arguments of the command line go before these variables.
        """
        ids = [device.cuda_id for device in self.devices if device.name in names]
        pinned = {"CUDA_VISIBLE_DEVICES": ",".join(ids), **thread_limits(self.threads)}
        if not self.is_cuda:
            return pinned
        return pinned | {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the driver's order, in which devices are named
            "PET_NPROC_PER_NODE": str(len(ids)),
            "PET_RDZV_BACKEND": "c10d",
            "PET_RDZV_ENDPOINT": "localhost:0",
        }


def driver_uuids() -> list[str] | None:
    """Return the UUIDs of the CUDA devices by index; None where there is no driver.

    They are asked from the driver (NVML), so CUDA is not initialised.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    uuids = []
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuids.append(str(pynvml.nvmlDeviceGetUUID(handle)))
            except pynvml.NVMLError:  # it is lost; the others keep their places
                uuids.append("")
    finally:
        pynvml.nvmlShutdown()
    return uuids


def cuda_devices(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the CUDA devices that this process may use, in CUDA's order.

    Each is the index that the driver (and `nvidia-smi`) gives it; one that has none, as a MIG
    instance, is its UUID. An inherited `CUDA_VISIBLE_DEVICES` is respected.
    """
    return _visible(environment, driver_uuids())


def _visible(environment: Mapping[str, str], uuids: list[str] | None) -> list[str]:
    inherited = environment.get("CUDA_VISIBLE_DEVICES")
    if inherited is None:
        return [str(index) for index in range(len(uuids or []))]
    found = (_physical(entry.strip(), uuids) for entry in inherited.split(","))
    # CUDA sees only what stands before the first that is not there.
    return [device for device in dict.fromkeys(itertools.takewhile(bool, found)) if device]


def _physical(entry: str, uuids: list[str] | None) -> str | None:
    """Return the device that an entry of CUDA_VISIBLE_DEVICES means, None if it is not there."""
    if entry.isdecimal():
        return str(int(entry)) if uuids is None or int(entry) < len(uuids) else None
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    if uuids is None or entry.startswith("MIG-"):
        return entry
    return next((str(index) for index, uuid in enumerate(uuids) if uuid.startswith(entry)), None)


def plan_devices(executor: Executor, environment: Mapping[str, str] = os.environ) -> DevicePlan:
    """Return how the trials of a spec share the devices of this machine.

    Raises:
        DeviceError: If the devices that it asks for are not there, or hold fewer trials.
    """
    cores = len(os.sched_getaffinity(0))
    if executor.lab is not None:
        lab = [Device(f"lab:{index}", 1.0) for index in range(len(executor.lab.devices))]
        return _share(executor, cores, lab)
    if executor.device == "cpu":
        return _plan_cpu(executor, cores)
    uuids = driver_uuids()
    visible = _visible(environment, uuids)
    if visible:
        return _plan_cuda(executor, cores, _chosen(executor, visible, uuids or []))
    asked = {
        "device is 'cuda'": executor.device == "cuda",
        f"devices is {executor.devices}": executor.devices is not None,
        f"devices_per_trial is {executor.devices_per_trial:g}": executor.devices_per_trial != 1,
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise DeviceError(f"executor.{what}, but no CUDA device is visible; {_WAY_OUT}")
    return _plan_cpu(executor, cores)


def _plan_cpu(executor: Executor, cores: int) -> DevicePlan:
    slots = executor.slots or min(cores, _MOST_CPU_SLOTS)
    return DevicePlan(
        devices=(Device("cpu", float(cores)),),
        per_trial=1,
        share=cores / slots,
        slots=slots,
        threads=executor.threads or max(1, cores // slots),
    )


def _plan_cuda(executor: Executor, cores: int, ids: Sequence[str]) -> DevicePlan:
    part = next((cuda_id for cuda_id in ids if not cuda_id.isdecimal()), None)
    if part is not None and executor.devices_per_trial > 1:
        raise DeviceError(
            f"executor.devices_per_trial is {executor.devices_per_trial:g}, but CUDA gives a "
            f"process only one device of the kind of {part!r}; use `devices_per_trial: 1`"
        )
    return _share(executor, cores, [Device(_name(cuda_id), 1.0, cuda_id) for cuda_id in ids])


def _share(executor: Executor, cores: int, devices: Sequence[Device]) -> DevicePlan:
    each = executor.devices_per_trial
    per_trial = max(1, int(each))
    there = f"only {len(devices)} {'CUDA' if devices[0].cuda_id else 'pretend'} devices are there"
    if per_trial > len(devices):
        raise DeviceError(f"executor.devices_per_trial is {per_trial}, but {there}")
    # 1 / 0.1 must not come out as 9.
    most = len(devices) // per_trial if each >= 1 else len(devices) * int(1 / each + 1e-9)
    slots = executor.slots or min(most, _MOST_SLOTS)
    if slots > most:
        raise DeviceError(
            f"executor.slots is {slots}, but {there}, which hold {most} trials with "
            f"`devices_per_trial: {each:g}`"
        )
    return DevicePlan(
        devices=tuple(devices),
        per_trial=per_trial,
        share=min(1.0, each),
        slots=slots,
        threads=executor.threads or max(1, cores // (slots * per_trial)),
    )


def _name(cuda_id: str) -> str:
    return f"cuda:{cuda_id if cuda_id.isdecimal() else cuda_id[:_SHORT_UUID]}"


def _chosen(executor: Executor, visible: Sequence[str], uuids: Sequence[str]) -> list[str]:
    """Return the devices that a spec names, by CUDA's index or by UUID; all if it names none."""
    if executor.devices is None:
        return list(visible)
    by_name = {str(index): device for index, device in enumerate(visible)}
    full = {uuids[int(d)] if d.isdecimal() and uuids else d: d for d in visible}
    chosen: list[str] = []
    for name in executor.devices:
        device = by_name.get(name, full.get(name))
        if device is None:
            there = ", ".join([*by_name, *(uuid for uuid in full if uuid[:1].isalpha())])
            raise DeviceError(
                f"executor.devices names {name!r}, which is not there; use some of {there}"
            )
        if device in chosen:
            raise DeviceError(f"executor.devices names the same device twice, as {name!r}")
        chosen.append(device)
    return chosen


def thread_limits(threads: int) -> dict[str, str]:
    """Return the variables that numeric libraries read their number of threads from."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS")
    return {f"{name}_NUM_THREADS": str(threads) for name in names}
