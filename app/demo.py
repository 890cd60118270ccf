"""The demo: a small network on the digits of scikit-learn, tuned and compared with its defaults."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..tools.ledger import open_ledger
from ..tools.recipes import supervised
from ..tools.records import TrialRecord
from ..tools.spec import RecipeObjective, StudySpec, parse_spec
from ..tools.study import Study, open_or_create, with_name
from ..tools.workspace import find_workspace

TRIALS = 40


def demo_spec() -> StudySpec:
    """Return the demo's spec."""
    return parse_spec(
        {
            "name": "demo",
            "objective": {"kind": "recipe", "options": {"data": "digits"}},
            "budget": {"trials": TRIALS},
        }
    )


def open_demo(spec: StudySpec) -> Study:
    """Return a demo's study: the latest one if it is unfinished, else a new one.

    Raises:
        LedgerError: If the workspace cannot be written.
    """
    workspace = find_workspace()
    ledger = open_ledger(workspace.ledger_path)
    name, number = spec.name, 1
    finished = {study.name for study in ledger.studies() if study.state == "finished"}
    while spec.name in finished:
        number += 1
        spec = with_name(spec, f"{name}-{number}")
    record = open_or_create(ledger, spec, Path.cwd())
    return Study(ledger, workspace, record.name)


def compare(study: Study) -> RenderableType:
    """Return the best trial beside the recipe's defaults, on the validation and the test split.

    The test split is read here, once for each, and by no trial.
    """
    best, default = study.best(), study.trials(curves=False)[0]
    if best is None:
        return Text("No trial is complete, so there is nothing to compare.", style="red")
    metric = next(iter(study.spec.objectives))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", f"validation ({metric})", "test (accuracy)"):
        table.add_column(column)
    for title, trial in (("defaults", default), (f"trial {best.number}", best)):
        if metric not in trial.metrics:
            continue
        table.add_row(
            title,
            f"{trial.metrics[metric]:.4f}",
            f"{_test_accuracy(study, trial):.4f}",
        )
    note = "One run each: a difference of a few images may be chance."
    return Group(table, Text(note, style="dim"))


def _test_accuracy(study: Study, trial: TrialRecord) -> float:
    objective = study.spec.objective
    assert isinstance(objective, RecipeObjective)
    options = supervised.Options.model_validate(objective.options)
    weights = study.attempt_folder(trial) / "best.safetensors"
    scores = supervised.evaluate_test(trial.configuration, options, study.spec.seed, weights)
    return scores["test_acc"]
