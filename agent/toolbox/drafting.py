"""Tools that draft a study's spec: from a script, from data, by changing another one."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from ...tools.budget import expected_trial_seconds, forecast_seconds, read_meters
from ...tools.section import Seconds
from ...tools.space import did_you_mean
from ...tools.spec import StudySpec, diff, parse_spec
from ..conversations import Draft
from .declaring import Answer, Estimate, Tool, ToolError, number, quoted, visible
from .desk import Desk
from .looking import parameter_text

Direction = Literal["maximize", "minimize"]


class DraftFromScript(Tool):
    """Draft a study that tunes a training script as it is; nothing is started.

    Ask the person for what they have not said: which metric decides, and how much may be spent.
    """

    effect = "notes"

    script: str
    """Path of the script, relative to the project folder."""
    metric: str
    """The metric that decides, by its name in the script."""
    direction: Direction
    """Whether it should be large or small."""
    trials: int | None = Field(default=None, ge=1, le=100_000)
    """Number of trials; the person's number."""
    wall_time: Seconds | None = None
    """Time that the study may take in all, as "30m" or seconds; the person's number."""
    pattern: str | None = None
    """Only for a metric that was not read: the line that the script prints, with {value} for the
    number, {step} for the epoch and * for any text. Empty if it calls `luthier.report`."""
    name: str | None = None
    """Name of the study, if the person gave one."""

    def run(self, desk: Desk) -> Answer:
        """Read the script, and keep the draft."""
        from ...tools.first_spec import render_spec, study_name
        from ...tools.script import read_script

        path = desk.path(self.script)
        reading = read_script(path)
        if not reading.found:
            remarks = (visible(remark.text, 160) for remark in reading.unread[:3])
            reasons = "; ".join(remarks) or "it has none"
            raise ToolError(
                f"no parameter of {visible(self.script)!r} could be read ({reasons}); "
                "write a spec by hand, which `luthier init` begins"
            )
        command = ["python", _relative(path)]
        data = yaml.safe_load(render_spec(reading, self.name or study_name(path), command))
        known = {m.name: {"pattern": m.pattern} if m.pattern else {} for m in reading.metrics}
        if self.metric not in known and self.pattern is None:
            names = [visible(name) for name in known]
            raise ToolError(
                f"{visible(self.script)!r} does not print a metric {visible(self.metric)!r}; it "
                f"prints {', '.join(names) or 'none that could be read'}"
                + (did_you_mean(self.metric, names) if names else "; give its `pattern`")
            )
        chosen = {"pattern": self.pattern} if self.pattern else known.get(self.metric, {})
        watched = {name: {"direction": "watch"} | form for name, form in known.items()}
        data["metrics"] = {
            self.metric: {"direction": self.direction} | chosen,
            **{name: form for name, form in watched.items() if name != self.metric},
        }
        data["budget"] = _budget(self.trials, self.wall_time)
        spec = _free_name(desk, parse_spec(data, "the draft"), path.parent)
        unread = [quoted(remark.text, 160) for remark in reading.unread[:5]]
        return draft_answer(desk, _keep(desk, spec, path.parent)) | {"not_read": unread}


class DraftFromData(Tool):
    """Draft a study that trains a small network on a data file; nothing is started.

    For people without a training script.
    """

    effect = "notes"

    data: str
    """Path of a .csv, .parquet or .npz file, or one of breast_cancer, diabetes, digits, iris,
    wine."""
    target: str = "target"
    """The column to predict."""
    task: Literal["classification", "regression"]
    """Classes, or a number."""
    model: Literal["mlp", "cnn"] = "mlp"
    """A network for tables, or for images."""
    trials: int | None = Field(default=None, ge=1, le=100_000)
    """Number of trials; the person's number."""
    wall_time: Seconds | None = None
    """Time that the study may take in all, as "30m" or seconds; the person's number."""
    name: str | None = None
    """Name of the study, if the person gave one."""

    def run(self, desk: Desk) -> Answer:
        """Check that the data fits, and keep the draft."""
        from ...tools.recipes.data import BUNDLED

        bundled = self.data in BUNDLED
        path = None if bundled else desk.path(self.data)
        options: dict[str, Any] = {
            "data": self.data if path is None else str(path),
            "target": self.target,
            "task": self.task,
            "model": self.model,
        }
        data = {
            "name": self.name or _plain_name(Path(self.data).stem),
            "objective": {"kind": "recipe", "options": options},
            "budget": _budget(self.trials, self.wall_time),
        }
        folder = desk.project if path is None else path.parent
        spec = _free_name(desk, parse_spec(data, "the draft"), folder)
        return draft_answer(desk, _keep(desk, spec, folder))


class ChangeDraft(Tool):
    """Change a draft, or take a study's spec and change that: name, budget, ranges, pruner.

    Answers the differences and a new draft; the old one stays as it was.
    """

    effect = "notes"

    draft: str
    """A draft's key, or the name of a study whose spec is taken."""
    changes: dict[str, Any]
    """Path to its new value, as in {"budget.trials": 20, "space.lr.high": 0.1}; null removes: a
    parameter then keeps the script's own value."""

    def run(self, desk: Desk) -> Answer:
        """Apply the changes, check the whole, and keep it."""
        before = draft_or_study(desk, self.draft)
        data = copy.deepcopy(before.spec.to_dict())
        for path, value in self.changes.items():
            _set(data, path.split("."), value)
            if value is None and path.startswith("space."):
                _unname(data, path.removeprefix("space."))
        spec = parse_spec(data, "the changed draft")
        if "name" not in self.changes:
            spec = _free_name(desk, spec, before.folder)
        changes = [visible(change, 200) for change in diff(before.spec, spec)]
        if not changes and spec.name == before.spec.name:
            raise ToolError(f"nothing changes in {self.draft!r}; it has these values already")
        return {"changes": changes} | draft_answer(desk, _keep(desk, spec, before.folder))


class ShowDraft(Tool):
    """Show a draft, or the spec of a study: what is tuned, for what, within which limits."""

    draft: str
    """A draft's key, or a study's name."""

    def run(self, desk: Desk) -> Answer:
        """Read it."""
        return draft_answer(desk, draft_or_study(desk, self.draft))


def draft_or_study(desk: Desk, key: str) -> Draft:
    """Return a draft by its key, or what a study of this name was made from.

    Raises:
        ToolError: If there is neither; with the ones that there are.
    """
    found = desk.conversations.draft(key)
    if found is not None:
        return found
    for study in desk.ledger.studies():
        if study.name == key:
            return Draft(study.name, study.spec, study.working_directory)
    keys = [draft.key for draft in desk.conversations.drafts()]
    raise ToolError(f"there is no draft {visible(key)!r}" + did_you_mean(key, keys))


def spec_summary(spec: StudySpec) -> Answer:
    """Return what a person has to see of a spec before they say yes."""
    objective = spec.objective
    runs: Answer = {"kind": objective.kind}
    if objective.kind == "script":
        runs["command"] = quoted(" ".join(objective.command))
    elif objective.kind == "recipe":
        runs["options"] = quoted(objective.options)
    return {
        "name": spec.name,
        "runs": runs,
        "metrics": {visible(name): metric.direction for name, metric in spec.metrics.items()},
        "space": {visible(name): parameter_text(p) for name, p in spec.space.items()},
        "budget": {k: v for k, v in spec.budget.model_dump().items() if v is not None},
        "sampler": spec.sampler.kind,
        "pruner": spec.pruner.kind,
    }


def draft_answer(desk: Desk, draft: Draft) -> Answer:
    """Return a draft with what it will take."""
    estimate = estimate_of(desk, draft.spec, draft.folder)
    known = estimate.to_dict() if estimate.device_seconds is not None else {
        **estimate.to_dict(), "note": "how long a trial takes shows with the first one"
    }  # fmt: skip
    return {"draft": draft.key, "spec": spec_summary(draft.spec), "estimate": known}


def estimate_of(desk: Desk, spec: StudySpec, folder: Path) -> Estimate:
    """Return what a study will take: by its caps, and by trials of the same objective so far."""
    from ..worker import check_study

    slots = check_study(spec, folder).slots
    seconds = next(
        (
            expected
            for study in reversed(desk.ledger.studies())
            if study.spec.objective == spec.objective
            and (expected := expected_trial_seconds(desk.ledger.trials(study))) is not None
        ),
        None,
    )
    meters = read_meters(spec, trials=0, wall_seconds=0.0, device_spent=0.0)
    wall = forecast_seconds(meters, seconds, slots)
    if seconds is not None and wall is not None and wall < seconds and spec.budget.trials != 1:
        raise ToolError(
            f"a trial took about {seconds:.0f} s so far, so {wall:.0f} s hold none; give it "
            f"{seconds * slots:.0f} s or more"
        )
    return Estimate(
        trials=spec.budget.trials,
        device_seconds=None if wall is None else number_or_none(wall * slots),
        wall_seconds=None if wall is None else number_or_none(wall),
    )


def number_or_none(value: float) -> float | None:
    """Return a finite number with six digits, None for any other."""
    rounded = number(value)
    return rounded if isinstance(rounded, float) else None


def _budget(trials: int | None, wall_time: float | None) -> Answer:
    if trials is None and wall_time is None:
        raise ToolError("ask the person how much may be spent: `trials`, `wall_time` or both")
    return {"trials": trials, "wall_seconds": wall_time}


def _keep(desk: Desk, spec: StudySpec, folder: Path) -> Draft:
    estimate_of(desk, spec, folder)  # refuses what cannot run here
    return desk.conversations.keep_draft(spec, folder)


def _free_name(desk: Desk, spec: StudySpec, folder: Path) -> StudySpec:
    """Return the spec under a name that no other study has."""
    from ...tools.study import with_name

    taken = {study.name: study.spec.content_hash() for study in desk.ledger.studies()}
    name, count = spec.name, 1
    while taken.get(name, spec.content_hash()) != spec.content_hash():
        count += 1
        name = f"{spec.name[:90]}-{count}"
    return with_name(spec, name)


def _plain_name(text: str) -> str:
    import re

    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-")[:90] or "study"


def _relative(path: Path) -> str:
    """Return a script's path from its own folder, in which its trials run."""
    return f".{os.sep}{path.name}" if path.name.startswith("-") else path.name


def _unname(data: dict[str, Any], parameter: str) -> None:
    """Take a parameter that is no longer tuned out of what names parameters."""
    data["objective"].get("arguments", {}).pop(parameter, None)
    for configuration in data.get("sampler", {}).get("first", ()):
        configuration.pop(parameter, None)


def _set(data: dict[str, Any], path: list[str], value: Any) -> None:
    """Change one value in nested data; None removes it where that is no value.

    Raises:
        ToolError: If the way to it leads through something that is no section.
    """
    *way, last = path
    place: Any = data
    for part in way:
        place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ToolError(
                f"there is no {visible('.'.join(path))!r}; the sections are "
                + ", ".join(visible(key) for key in data)
            )
    if value is None and way[:1] != ["budget"]:
        place.pop(last, None)
    else:
        place[last] = value
