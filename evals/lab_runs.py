"""Studies in a pretend lab, run to their end in this process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..agent.limits import Policy
from ..agent.tuner import Ending, OnTrial
from ..agent.worker import assemble, open_clock
from ..tools.database import Database
from ..tools.devices import plan_devices
from ..tools.ledger import Ledger
from ..tools.spec import StudySpec, parse_spec
from ..tools.study import Study, open_or_create
from ..tools.workspace import Workspace
from .lab import SPACE

PATIENT = Policy(patience_share=math.inf, patience_seconds=math.inf)
"""Every proposal is waited for, so that a run does not depend on the machine's speed."""


def lab_spec(
    trials: int,
    devices: Sequence[Mapping[str, Any]],
    hanging: Sequence[int] = (),
    **changes: Any,
) -> StudySpec:
    """Return the spec of a study of the pretend network.

    Args:
        trials: Its budget.
        devices: The lab's devices, as `executor.lab.devices` has them.
        hanging: Numbers of the trials that hang.
        changes: Other fields of the spec. The lab's clock stands while the loop computes, so that
            a run is the same whenever it is repeated.
    """
    lab = {"rate": 0, "devices": devices, "hanging_trials": hanging}
    return parse_spec(
        {
            "name": "lab",
            "objective": {"kind": "callable", "reference": "luthier.evals.lab:network"},
            "space": SPACE,
            "metrics": {"val_acc": {"direction": "maximize"}},
            "budget": {"trials": trials},
            "sampler": {"kind": "random"},
            "executor": {"kind": "simulated", "lab": lab},
            **changes,
        }
    )


def create(database: Database, spec: StudySpec) -> Study:
    """Store a study, or find it stored, in the workspace of a database."""
    ledger, workspace = Ledger(database), Workspace(database.path.parent)
    return Study(ledger, workspace, open_or_create(ledger, spec, Path.cwd()).name)


def run(study: Study, policy: Policy = PATIENT, on_trial: OnTrial | None = None) -> Ending:
    """Run a study to its end, by the loop alone: without heartbeat, mirror and signals."""
    writer = study.ledger.acquire(study.record, open_clock(study.ledger, study.record))
    plan = plan_devices(study.spec.executor)
    with assemble(study.ledger, writer, study.workspace, plan, policy, on_trial) as tuner:
        ending = tuner.run()
    writer.release()
    return ending
