"""The command that shows the devices of this machine, and puts one back in service."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.text import Text

from .tables import number_text, plain
from .terminal import AsJson, out, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from ..tools.device_memory import Memory
    from ..tools.lease_file import Register

app = typer.Typer()


@app.command()
def devices(
    as_json: AsJson = False,
    reset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="DEVICE", help="Put a device back in service, such as cuda:0."),
    ] = None,
) -> None:
    """Show the devices of this machine, and who holds what of them."""
    if reset is not None:
        _reset(reset)
    rows = _rows()
    if as_json:
        print_json(rows)
        return
    out().print(_table(rows))
    for row in rows:
        if row["out_of_service"] is not None:
            hint = f"Put it back in service with: luthier devices --reset {plain(row['device'])}"
            out().print(hint, markup=False, highlight=False)


def _reset(device: str) -> None:
    from ..tools.devices import DeviceError
    from ..tools.lease_file import LeaseFile

    with LeaseFile().open() as register:
        if register.reset(device, time.time()):
            return
    names = [row["device"] for row in _rows()]
    if device in names:
        raise DeviceError(f"device {device!r} is in service, so there is nothing to reset")
    raise DeviceError(f"there is no device {device!r}; the devices here are {', '.join(names)}")


def _rows() -> list[dict[str, Any]]:
    """Return the devices that are visible here, and those that the register knows besides."""
    from ..tools.device_memory import open_memory
    from ..tools.devices import plan_devices
    from ..tools.lease_file import look
    from ..tools.spec import Executor

    plan, cpu = plan_devices(Executor()), plan_devices(Executor(device="cpu"))
    capacities = {device.name: device.capacity for device in (*plan.devices, *cpu.devices)}
    memory = open_memory(plan.devices)
    told = {} if memory is None else {d.name: _bytes(d.name, memory) for d in plan.devices}
    register = look()
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
