"""Studies for those who use them: create or resume one, branch it, read it, hand it on."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .analysis import best_trials
from .audit import Audit, audit_of, spared_in
from .budget import Meters, read_meters
from .claims import Claim, claim
from .ledger import Ledger, StudyNotFoundError, open_ledger
from .outcomes import Outcome
from .records import Decision, EventRecord, Owner, StudyRecord, TrialRecord
from .spec import SpecError, StudySpec, diff, parse_spec
from .workspace import Workspace, find_workspace

if TYPE_CHECKING:
    import optuna
    import pandas as pd

_NO_LESSON = frozenset({Outcome.KILLED, Outcome.INFRASTRUCTURE})


class StudyConflictError(SpecError):
    """The name is taken by a study with another spec."""


@dataclass(frozen=True)
class Study:
    """A study in a workspace; reading it never disturbs whoever runs it."""

    ledger: Ledger
    workspace: Workspace
    name: str

    @property
    def record(self) -> StudyRecord:
        """The study as it is stored now."""
        return self.ledger.study(self.name)

    @property
    def spec(self) -> StudySpec:
        """What is tuned, and how."""
        return self.record.spec

    @property
    def owner(self) -> Owner | None:
        """Who runs it now, None if nobody does."""
        return self.ledger.owner(self.record)

    @property
    def state(self) -> str:
        """Its state; `interrupted` if it ought to run, but its worker died."""
        return state_of(self.record, self.owner)

    def trials(self, *, curves: bool = True) -> list[TrialRecord]:
        """Return its trials by number, with their curves unless told otherwise."""
        return self.ledger.trials(self.record, curves=curves)

    def decisions(self) -> dict[int, Decision]:
        """Return why each configuration was chosen, by trial number."""
        return self.ledger.decisions(self.record)

    def events(self) -> list[EventRecord]:
        """Return what happened, oldest first."""
        return self.ledger.events(self.record)

    def best(self) -> TrialRecord | None:
        """Return the best trial so far (of several objectives one of the Pareto front)."""
        found = best_trials(self.spec, self.trials(curves=False))
        return found[0] if found else None

    def audit(self) -> Audit | None:
        """Return what pruning saved and cost so far, None if it had nothing to do."""
        return audit_of(self.spec, self.trials(), spared_in(self.events()))

    def claim(self) -> Claim | None:
        """Return what may be said of the best trial; None without one, and of a Pareto front."""
        return claim(self.spec, self.trials(curves=False))

    def _repr_html_(self) -> str:
        """Return it as a notebook shows it: as it stands whenever the cell is run."""
        from .notebook import study_html

        return study_html(self)

    def attempt_folder(self, trial: TrialRecord) -> Path:
        """Return the folder with the logs and weights of a trial's latest attempt."""
        number = trial.attempts[-1].number if trial.attempts else 0
        return self.workspace.attempt_folder(self.name, trial.number, number)

    def to_optuna(self) -> optuna.Study:
        """Return an in-memory Optuna study of its trials."""
        from .optuna_bridge import rebuild

        return rebuild(self.spec, self.trials())

    def to_dataframe(self) -> pd.DataFrame:
        """Return its trials as a table: number, state, parameters, metrics, seconds, source."""
        import pandas as pd

        trials = self.trials(curves=False)
        return pd.DataFrame([trial_row(t) for t in trials], columns=_columns(self.spec, trials))


def open_study(name: str, workspace: Path | None = None) -> Study:
    """Open a study by name.

    Args:
        name: Its name.
        workspace: The workspace's folder; by default LUTHIER_HOME or `.luthier`.

    Raises:
        StudyNotFoundError: With the nearest name, or if there is no workspace.
        LedgerError: If the workspace cannot be read.
    """
    place = find_workspace() if workspace is None else Workspace(workspace.absolute())
    if not place.ledger_path.exists():
        raise StudyNotFoundError(f"there is no study {name!r}: {str(place.folder)!r} holds none")
    study = Study(open_ledger(place.ledger_path), place, name)
    _ = study.record
    return study


def state_of(study: StudyRecord, owner: Owner | None) -> str:
    """Return a study's state; `interrupted` if it ought to run, but nobody runs it."""
    if study.state == "running" and owner is None:
        return "interrupted"
    return study.state


def trial_row(trial: TrialRecord) -> dict[str, Any]:
    """Return a trial as one flat row, its parameters as `params.NAME`, metrics as `NAME`.

    A metric that is named like another column stands as `metrics.NAME`.
    """
    return {
        "number": trial.number,
        "state": str(trial.state),
        **{_metric_column(name): value for name, value in trial.metrics.items()},
        **{f"params.{name}": value for name, value in trial.configuration.items()},
        "seconds": trial.seconds,
        "attempts": len(trial.attempts),
        "source": trial.source,
        "imported": trial.imported,
        "repeat_of": trial.repeat_of,
        "seed": trial.seed,
        "reason": trial.reason,
    }


def read_study_meters(ledger: Ledger, study: StudyRecord, trials: Sequence[TrialRecord]) -> Meters:
    """Return what is spent and reserved of a study's budget, as its ledger has it."""
    spent, reserved = ledger.spending(study, "device_seconds")
    return read_meters(
        study.spec,
        trials=sum(trial.is_counted for trial in trials),
        wall_seconds=study.wall_seconds,
        device_spent=spent,
        device_reserved=reserved,
        tokens=ledger.spending(study, "tokens")[0],
        dollars=ledger.spending(study, "dollars")[0],
    )


_FIRST_COLUMNS = ("number", "state")
_LAST_COLUMNS = ("seconds", "attempts", "source", "imported", "repeat_of", "seed", "reason")


def _metric_column(name: str) -> str:
    return f"metrics.{name}" if name in _FIRST_COLUMNS + _LAST_COLUMNS else name


def _columns(spec: StudySpec, trials: Sequence[TrialRecord]) -> list[str]:
    """Return the columns of a study's table, which has them before its first trial."""
    metrics = dict.fromkeys([*spec.metrics, *(name for t in trials for name in t.metrics)])
    parameters = (f"params.{name}" for name in spec.space)
    return [*_FIRST_COLUMNS, *map(_metric_column, metrics), *parameters, *_LAST_COLUMNS]


def open_or_create(ledger: Ledger, spec: StudySpec, working_directory: Path) -> StudyRecord:
    """Return the study of a spec: the one of that name if its spec is the same, else a new one.

    Raises:
        StudyConflictError: If the name is taken by another spec; with the differences.
    """
    existing = next((study for study in ledger.studies() if study.name == spec.name), None)
    if existing is None:
        return ledger.create_study(spec, working_directory)
    if existing.spec.content_hash() == spec.content_hash():
        return existing
    changes = diff(existing.spec, spec)
    only_budget = all(change.path.startswith("budget.") for change in changes)
    ways = [
        f"`luthier branch {spec.name} SPEC --name NEW` to go on from its trials",
        "`--name NEW` for a study of its own",
    ]
    if only_budget:
        ways.insert(0, f"`luthier resume {spec.name} --trials N` to change its budget")
    if all(change.path.startswith("confirm.") for change in changes):
        ways.insert(0, f"`luthier confirm {spec.name} --repeats N` to repeat its best trials")
    raise StudyConflictError(
        f"study {spec.name!r} has another spec ({'; '.join(map(str, changes))}); "
        f"use {' or '.join(ways)}"
    )


def with_budget(spec: StudySpec, caps: Mapping[str, Any]) -> StudySpec:
    """Return the spec with some caps of its budget changed.

    Raises:
        SpecError: If a cap is unknown or not positive.
    """
    data = spec.to_dict()
    return parse_spec(data | {"budget": data["budget"] | dict(caps)}, "the budget")


def with_name(spec: StudySpec, name: str) -> StudySpec:
    """Return the spec under another name.

    Raises:
        SpecError: If it is no name for a study.
    """
    return parse_spec(spec.to_dict() | {"name": name}, "the study")


def branch(
    ledger: Ledger, parent: StudyRecord, spec: StudySpec, working_directory: Path
) -> tuple[StudyRecord, int]:
    """Create a study that goes on from another one's trials; return it and how many it took over.

    Trials stay valid if the objective is the same, their configuration lies in the new space, and
    they reported every metric that the new spec optimises (as a finite number) or limits. Killed
    ones are left behind, and repeats: a claim of the new study needs its own.

    Raises:
        LedgerError: If the name is taken.
    """
    trials = ledger.trials(parent, curves=True)
    imported = valid_trials(parent.spec, trials, spec)
    study = ledger.create_study(spec, working_directory, parent=parent, imported=imported)
    return study, len(imported)


def valid_trials(
    old: StudySpec, trials: Sequence[TrialRecord], new: StudySpec
) -> list[TrialRecord]:
    """Return the trials that a branch of their study may take over."""
    if old.objective != new.objective or old.seed != new.seed:
        return []
    needed = {*new.objectives, *(limit.left for limit in new.limits)}
    return [trial for trial in trials if _is_valid(trial, new, needed)]


def _is_valid(trial: TrialRecord, spec: StudySpec, needed: set[str]) -> bool:
    if not isinstance(trial.state, Outcome) or trial.state in _NO_LESSON or trial.is_repeat:
        return False
    if not spec.search_space.contains(trial.configuration):
        return False
    if trial.state is not Outcome.COMPLETE:
        return True
    # What was only watched may have been NaN, which is no value to optimise.
    finite = all(math.isfinite(trial.metrics.get(name, math.nan)) for name in spec.objectives)
    return finite and needed <= trial.metrics.keys()


def export_study(study: Study, path: Path) -> None:
    """Write a study's trials to a file: `.json` with everything, `.csv` as a table.

    Raises:
        SpecError: If the ending is neither, or the file cannot be written.
    """
    try:
        match path.suffix.lower():
            case ".json":
                text = json.dumps(to_document(study), indent=1, ensure_ascii=False)
                path.write_text(text + "\n", encoding="utf-8")
            case ".csv":
                _write_csv(study, path)
            case other:
                raise SpecError(f"the file must end in .json or .csv, but got {other!r}")
    except OSError as error:
        raise SpecError(f"cannot write {str(path)!r}: {error.strerror}") from None


def to_document(study: Study) -> dict[str, Any]:
    """Return a study as JSON-ready data: the spec, and every trial with its curve and decision."""
    record, decisions, trials = study.record, study.decisions(), study.trials()
    return {
        "name": record.name,
        "state": study.state,
        "reason": record.reason,
        "parent": record.parent,
        "spec": record.spec.to_dict(),
        "spec_hash": record.spec.content_hash(),
        "claim": claim_document(claim(record.spec, trials)),
        "trials": [trial_document(trial, decisions) for trial in trials],
    }


def claim_document(found: Claim | None) -> dict[str, Any] | None:
    """Return a claim as JSON-ready data, with its sentence."""
    return None if found is None else {"sentence": found.sentence, **asdict(found)}


def trial_document(trial: TrialRecord, decisions: dict[int, Decision]) -> dict[str, Any]:
    """Return a trial as JSON-ready data; a value that JSON has no number for becomes text."""
    decision = decisions.get(trial.number)
    return {
        "number": trial.number,
        "state": str(trial.state),
        "reason": trial.reason,
        "configuration": trial.configuration,
        "metrics": {name: _json_number(value) for name, value in trial.metrics.items()},
        "curves": {
            name: [[step, _json_number(value)] for step, value in curve.items()]
            for name, curve in (trial.curves or {}).items()
        },
        "decision": None if decision is None else asdict(decision),
        "imported": trial.imported,
        "repeat_of": trial.repeat_of,
        "seed": trial.seed,
        "created_at": trial.created_at,
        "finished_at": trial.finished_at,
        "attempts": [vars(attempt) for attempt in trial.attempts],
    }


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _write_csv(study: Study, path: Path) -> None:
    trials = study.trials(curves=False)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns(study.spec, trials))
        writer.writeheader()
        writer.writerows(trial_row(trial) for trial in trials)
