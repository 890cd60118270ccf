"""The demo of a pretend lab: what goes wrong with GPUs, and what becomes of the study."""

from __future__ import annotations

import os
import signal
import time

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ..agent.worker import start_detached
from ..evals.lab import SPACE
from ..tools.analysis import counts
from ..tools.outcomes import Outcome
from ..tools.spec import StudySpec, parse_spec
from ..tools.study import Study
from .live import View
from .tables import counts_text, plain

TRIALS = 32
_KILLED_AFTER = 10
"""Trials that have ended when the worker is killed."""
_PAUSE_SECONDS = 2.0


def lab_spec() -> StudySpec:
    """Return the demo's spec: four pretend GPUs, of which one dies and one is small."""
    return parse_spec(
        {
            "name": "lab",
            "objective": {"kind": "callable", "reference": "luthier.evals.lab:network"},
            "space": SPACE,
            "metrics": {"val_acc": {"direction": "maximize"}},
            "budget": {"trials": TRIALS, "silence_seconds": "4m"},
            "executor": {
                "kind": "simulated",
                "lab": {
                    "devices": [
                        {"memory_gib": 24},
                        {"memory_gib": 24, "dies_at": "9m"},
                        {"memory_gib": 2.5},
                        {"memory_gib": 24, "preempted_at": ["14m"]},
                    ],
                    "hanging_trials": [6],
                    "rate": 60,
                    "jumps": False,
                },
            },
        }
    )


def watch_lab(study: Study, console: Console) -> None:
    """Run the study behind, show it, and kill its worker in the middle.

    Raises:
        WorkerError: If a worker cannot start.
    """
    lab = "A pretend lab of four GPUs; a second here is a minute there. One GPU will die, one is"
    console.print(f"{lab} small, one is taken back, one trial hangs, and the worker is killed.\n")
    start_detached(study.ledger, study.record, study.workspace)
    with View(study, console) as view:
        killed_at = None
        while killed_at is None or study.owner is not None:
            snapshot = view.show()
            owner = study.owner
            if owner is None:
                break
            if killed_at is None and sum(t.is_finished for t in snapshot.trials) >= _KILLED_AFTER:
                os.kill(owner.pid, signal.SIGKILL)
                killed_at = time.monotonic()
                while time.monotonic() < killed_at + _PAUSE_SECONDS:
                    view.show()
                    time.sleep(0.1)
                start_detached(study.ledger, study.record, study.workspace)
            time.sleep(0.1)
        view.show()


def story(study: Study) -> RenderableType:
    """Return what happened, read off the ledger."""
    trials, events = study.trials(curves=False), study.events()
    begun = study.record.created_at
    lines = []
    for event in events:
        data = event.data
        match event.kind:
            case "out_of_service":
                what = f"{data['device']} is taken out of service: {data['reason']}"
            case "reopened":
                what = f"trial {event.trial} gets another chance, on another device"
            case "adopted":
                what = f"trial {event.trial} is taken over by the new worker"
            case "stopping" if data["reason"] == "silence":
                what = f"trial {event.trial} has been silent for too long and is stopped"
            case "ended" if data["outcome"] in _TROUBLE:
                what = f"trial {event.trial}: {data['outcome']}, {data['reason']}"
            case _:
                continue
        minutes, seconds = divmod(round(event.time - begun), 60)
        lines.append(Text.assemble((f"{minutes:3}:{seconds:02}  ", "dim"), plain(what)))
    summary = Text("\n") + counts_text(counts(trials))
    again = sum(len(trial.attempts) > 1 for trial in trials)
    lost = sum(trial.state is Outcome.INFRASTRUCTURE for trial in trials)
    summary.append(f": {len(trials)} trials, {again} run again, {lost} lost to the machine.")
    return Group(*lines, summary)


_TROUBLE = {Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT, Outcome.INFRASTRUCTURE, Outcome.CRASHED}
