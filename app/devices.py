"""The command that shows the devices of this machine, and puts one back in service."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Optional

import typer
from rich.text import Text

from .tables import number_text, plain
from .terminal import AsJson, out, print_json, study_named

if TYPE_CHECKING:
    from rich.table import Table

    from ..tools.device_memory import Memory
    from ..tools.devices import DevicePlan
    from ..tools.lease_file import Register
    from ..tools.study import Study

app = typer.Typer()


@app.command()
def devices(
    as_json: AsJson = False,
    reset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="DEVICE", help="Put a device back in service, such as cuda:0."),
    ] = None,
    study: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="STUDY", help="Those of a study's pretend lab instead."),
    ] = None,
) -> None:
    """Show the devices of this machine, and who holds what of them."""
    place = lab_of(study_named(study)) if study is not None else this_machine()
    if reset is not None:
        reset_device(reset, place)
    rows = device_rows(place)
    if as_json:
        print_json(rows)
        return
    out().print(_table(rows))
    for row in rows:
        if row["out_of_service"] is not None:
            hint = f"Put it back in service with: luthier devices --reset {plain(row['device'])}"
            out().print(hint, markup=False, highlight=False)


class Place(NamedTuple):
    """Where devices are."""

    register: Path | None
    """The folder of their register; None for this user's."""
    plans: tuple[DevicePlan, ...]
    now: float
    """What time it is there, in seconds since 1970."""


def this_machine() -> Place:
    """Return the GPUs and the cores that studies share here."""
    from ..tools.devices import plan_devices
    from ..tools.executor_spec import Executor

    plans = plan_devices(Executor()), plan_devices(Executor(device="cpu"))
    return Place(None, plans, time.time())


def lab_of(study: Study) -> Place:
    """Return a study's pretend devices."""
    from ..tools.devices import DeviceError, plan_devices

    executor = study.spec.executor
    if executor.lab is None:
        raise DeviceError(f"study {study.name!r} has no pretend lab; leave `--study` out")
    now = study.ledger.last_event_time(study.record)
    return Place(study.workspace.lab_folder(study.name), (plan_devices(executor),), now)


def reset_device(device: str, place: Place) -> None:
    """Put a device back in service.

    Raises:
        DeviceError: If there is none of that name, or it is in service.
    """
    from ..tools.devices import DeviceError
    from ..tools.lease_file import LeaseFile

    with LeaseFile(place.register).open() as register:
        if register.reset(device, place.now):
            return
    names = [row["device"] for row in device_rows(place)]
    if device in names:
        raise DeviceError(f"device {device!r} is in service, so there is nothing to reset")
    raise DeviceError(f"there is no device {device!r}; the devices here are {', '.join(names)}")


def device_rows(place: Place) -> list[dict[str, Any]]:
    """Return the devices that are visible there, and those that the register knows besides."""
    from ..tools.device_memory import open_memory
    from ..tools.lease_file import look

    visible = [device for plan in place.plans for device in plan.devices]
    capacities = {device.name: device.capacity for device in visible}
    memory = open_memory(visible)
    told = {d.name: _bytes(d.name, memory) for d in visible if memory is not None and d.cuda_id}
    register = look(place.register)
    held = [device for holder in register.holders for device in holder.devices]
    names = dict.fromkeys([*capacities, *held, *register.out_of_service])
    return [
        _row(name, register) | {"capacity": capacities.get(name), "bytes": told.get(name)}
        for name in names
    ]


def _row(name: str, register: Register) -> dict[str, Any]:
    broken, now = register.out_of_service.get(name), time.time()
    return {
        "device": name,
        "holders": [
            {
                "lease": holder.name,
                "share": holder.share,
                "study": holder.study,
                "pid": holder.living_pid(now),
                "attempt": holder.attempt,
            }
            for holder in register.holders_of(name)
        ],
        "out_of_service": None if broken is None else broken.model_dump(),
    }


def _bytes(device: str, memory: Memory) -> dict[str, int] | None:
    """Return how much memory of a device is used, and how much there is; None where unknown."""
    from ..tools.devices import DeviceError

    try:
        return {"used": memory.used_bytes(device), "total": memory.total_bytes(device)}
    except DeviceError:
        return None


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("device", "capacity", "held by", "memory", "state"):
        table.add_column(column)
    for row in rows:
        holders = [f"{h['study']} (pid {h['pid']}): {h['lease']}" for h in row["holders"]]
        table.add_row(
            Text(plain(row["device"])),
            number_text(row["capacity"]) + (" cores" if row["device"] == "cpu" else ""),
            Text("\n".join(plain(holder) for holder in holders)),
            _memory(row["bytes"]),
            _state(row["out_of_service"]),
        )
    return table


def _memory(told: dict[str, int] | None) -> str:
    if told is None:
        return ""
    return f"{told['used'] / 2**30:.1f} of {told['total'] / 2**30:.1f} GiB"


def _state(broken: dict[str, Any] | None) -> Text:
    if broken is None:
        return Text("in service", style="green")
    since = datetime.fromtimestamp(broken["since"]).strftime("%Y-%m-%d %H:%M")
    return Text(f"out of service since {since}: {plain(broken['reason'])}", style="red")
