"""The best trials of a study as files to take along: configuration, evidence, model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .analysis import best_trials
from .spec import SpecError
from .study import Study, trial_document

_MODEL = "best.safetensors"
"""What a recipe saves in the folder of an attempt."""


def export_winner(study: Study) -> list[Path]:
    """Write the best trials into the workspace's folder of reports; return the files.

    These are `NAME.best.json`, with what is known of each of them, and `NAME.TRIAL.safetensors` for
    each that has kept a model.

    Raises:
        SpecError: If the folder cannot be written.
    """
    folder = study.workspace.reports
    found, decisions = best_trials(study.spec, study.trials()), study.decisions()
    best = folder / f"{study.name}.best.json"
    chosen = [trial_document(trial, decisions) for trial in found]
    models = {
        study.attempt_folder(t) / _MODEL: folder / f"{study.name}.{t.number}.safetensors"
        for t in found
    }
    kept = {source: target for source, target in models.items() if source.is_file()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        best.write_text(json.dumps(chosen, indent=1, ensure_ascii=False), encoding="utf-8")
        for source, target in kept.items():
            shutil.copyfile(source, target)
    except OSError as error:
        raise SpecError(f"cannot write to {str(folder)!r}: {error.strerror}") from None
    return [best, *kept.values()]
