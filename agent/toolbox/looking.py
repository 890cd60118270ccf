"""Tools that look at the machine, a script, a data file, and what studies there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from ...tools.space import Categorical, Parameter, did_you_mean
from .declaring import Answer, Tool, ToolError, number, quoted, visible
from .desk import Desk

_ROWS = 100_000
_MOST_CLASSES = 20
_MOST_BYTES = 500 << 20


class LookAtMachine(Tool):
    """Show the devices of this machine, how many trials run at a time, and who holds what."""

    def run(self, desk: Desk) -> Answer:
        """Read what the machine has, and the register of leases."""
        from ...tools.devices import plan_devices
        from ...tools.executor_spec import Executor
        from ...tools.lease_file import look

        plan, register = plan_devices(Executor()), look()
        return {
            "devices": [
                {
                    "device": device.name,
                    "capacity": number(device.capacity),
                    "held_by": sorted({visible(h.study) for h in register.holders_of(device.name)}),
                    "in_service": device.name not in register.out_of_service,
                }
                for device in plan.devices
            ],
            "trials_at_a_time": plan.slots,
        }


class LookAtScript(Tool):
    """Read a Python training script without running it.

    Answers the parameters that could be tuned, with sensible ranges, the metrics that it prints,
    and what could not be read.
    """

    script: str
    """Path of the script, relative to the project folder."""

    def run(self, desk: Desk) -> Answer:
        """Read the script's syntax tree."""
        from ...tools.script import read_script

        reading = read_script(desk.path(self.script))
        return {
            "parameters": {
                visible(name): parameter_text(read.parameter)
                for name, read in reading.found.items()
            },
            "read_from": reading.source,
            "metrics": [
                {"name": visible(m.name), "direction": m.direction or "unknown"}
                for m in reading.metrics
            ],
            "seed_argument": reading.seed_argument and visible(reading.seed_argument),
            "not_read": [quoted(remark.text, 160) for remark in reading.unread[:10]],
            "left_alone": [quoted(remark.text, 120) for remark in reading.left_alone[:10]],
        }


class LookAtData(Tool):
    """Describe a .csv, .parquet or .npz file: columns, types, missing values, class balance.

    No row and no value of it is shown.
    """

    data: str
    """Path of the file, relative to the project folder."""
    target: str | None = None
    """The column to predict, for its class balance."""

    def run(self, desk: Desk) -> Answer:
        """Read the file, up to 100,000 rows of a table."""
        path = desk.path(self.data)
        if path.stat().st_size > _MOST_BYTES:
            raise ToolError(f"{visible(self.data)!r} has more than 500 MB; describe it yourself")
        if path.suffix == ".npz":
            return _arrays(path)
        table = _table(path)
        if self.target is not None and self.target not in table.columns:
            raise ToolError(
                f"there is no column {visible(self.target)!r}"
                + did_you_mean(self.target, [visible(c) for c in table.columns])
            )
        columns = {
            visible(name): {
                "type": str(table[name].dtype),
                "missing": int(table[name].isna().sum()),
                "different_values": int(table[name].nunique()),
            }
            for name in table.columns[:60]
        }
        answer = {"rows": len(table), "columns": len(table.columns), "described": columns}
        if len(table) == _ROWS:
            answer["note"] = "the first 100,000 rows"
        if self.target is not None:
            answer["target"] = _target(table[self.target])
        return answer


def _table(path: Path) -> Any:
    import pandas as pd

    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, nrows=_ROWS)
        if path.suffix == ".parquet":
            return pd.read_parquet(path).head(_ROWS)
    except (ValueError, OSError) as error:  # also what pandas' and pyarrow's parsers raise
        raise ToolError(f"cannot read {path.name!r} as a table: {visible(error, 200)}") from None
    raise ToolError(f"{visible(path.name)!r} must end in .csv, .parquet or .npz")


def _target(column: Any) -> Answer:
    shares = column.value_counts(normalize=True)
    if len(shares) > _MOST_CLASSES:
        return {"kind": "number" if column.dtype.kind in "iuf" else "text", "classes": len(shares)}
    # Shares without their labels: those would be values of the data.
    return {"classes": len(shares), "shares": [number(float(share)) for share in shares]}


def _arrays(path: Path) -> Answer:
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {
                "arrays": {
                    visible(name): {"shape": list(file[name].shape), "type": str(file[name].dtype)}
                    for name in file.files[:20]
                }
            }
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ToolError(f"cannot read {path.name!r}: {visible(error, 200)}") from None


class ListStudies(Tool):
    """List the studies of this workspace, newest first, and the drafts that were not started."""

    most: int = Field(default=10, ge=1, le=50)
    """How many studies."""

    def run(self, desk: Desk) -> Answer:
        """Read the ledger."""
        from ...tools.study import state_of

        studies = desk.ledger.studies()
        known = {study.name for study in studies}
        drafts = [d.key for d in desk.conversations.drafts(10) if d.spec.name not in known]
        rows = [
            {
                "name": study.name,
                "state": state_of(study, desk.ledger.owner(study)),
                "optimises": {visible(n): d for n, d in study.spec.objectives.items()},
                "trials": len(desk.ledger.trials(study)),
            }
            for study in studies[::-1][: self.most]
        ]
        return {"studies": rows, "of": len(studies), "drafts": drafts}


def parameter_text(parameter: Parameter) -> str:
    """Return a parameter in a few words: `float 1e-05..0.1 log, default 0.001: step size`."""
    if isinstance(parameter, Categorical):
        text = "one of " + ", ".join(visible(choice, 40) for choice in parameter.choices[:12])
    else:
        text = f"{parameter.type} {parameter.low:g}..{parameter.high:g}"
        text += " log" if parameter.log else ""
    if parameter.default is not None:
        text += f", default {visible(parameter.default, 40)}"
    return text
