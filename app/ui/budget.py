"""The panel of budget and devices: what is spent, what is left, and who holds which device."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

from gradio.components import Component

from ...tools.budget import Meter, expected_trial_seconds, forecast_seconds
from ...tools.errors import LuthierError
from ..devices import device_rows, lab_of, this_machine
from ..tables import seconds_text
from .acts import act_html
from .place import PanelName
from .sight import Sight
from .writing import write

_LOOK_SECONDS = 5.0
"""How often the devices are looked at."""


class BudgetPanel:
    """Meters with their forecast, devices with their holders."""

    name: PanelName = "budget"
    title = "Budget"

    def build(self) -> None:
        """Lay out its components, in its tab."""
        page = act_html("lu-budget")
        # By itself, so that nothing that is typed into it is lost when the meters change.
        caps = act_html("lu-caps-form", write("caps"))
        self.inputs: list[Component] = []
        self.outputs: list[Component] = [page]
        self.acting = [page, caps]

    def key(self, sight: Sight, *values: Any) -> Hashable:
        """Return what it shows depends on."""
        wall = round(sight.snapshot.record.wall_seconds)
        return sight.version, wall, time.monotonic() // _LOOK_SECONDS

    def render(self, sight: Sight, *values: Any) -> list[Any]:
        """Return the panel."""
        snapshot = sight.snapshot
        try:
            devices = device_rows(
                this_machine() if sight.spec.executor.lab is None else lab_of(sight.study)
            )
            problem = ""
        except LuthierError as error:
            devices, problem = [], str(error)
        expected = expected_trial_seconds(snapshot.trials)
        page = write(
            "budget",
            meters=[_line(meter) for meter in snapshot.meters.all()],
            expected=expected,
            forecast=forecast(sight),
            running=sum(trial.state == "running" for trial in snapshot.trials),
            devices=devices,
            problem=problem,
            lab=sight.spec.executor.lab is not None,
        )
        return [page]


def forecast(sight: Sight) -> float | None:
    """Return the wall time until the budget is used, in seconds, at the pace of now."""
    snapshot = sight.snapshot
    slots = sum(trial.state == "running" for trial in snapshot.trials)
    if not slots:
        return None
    return forecast_seconds(snapshot.meters, expected_trial_seconds(snapshot.trials), slots)


def _line(meter: Meter) -> dict[str, Any]:
    def written(value: float) -> str:
        match meter.name:
            case "trials" | "tokens":
                return f"{value:,.0f}"
            case "dollars":
                return f"{value:.4f}"
            case _:
                return seconds_text(max(0.0, value))

    return {
        "name": meter.name.replace("_seconds", " time"),
        "spent": written(meter.spent),
        "cap": None if meter.cap is None else written(meter.cap),
        "left": None if meter.cap is None else written(meter.left),
        "reserved": written(meter.reserved) if meter.reserved else "",
        "share": meter.spent / meter.cap if meter.cap else None,
    }
