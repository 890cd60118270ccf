"""Tuning from Python: one call, one result."""

from __future__ import annotations

import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ..tools.claims import Claim
    from ..tools.records import TrialRecord
    from ..tools.space import Configuration, Parameter
    from ..tools.spec import Budget, StudySpec
    from ..tools.study import Study
    from .tuner import Ending

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Result:
    """What a run of a study came to."""

    study: Study
    """The study, to read on."""
    ending: Ending
    """How the run ended: `finished`, `stopped` or `halted`, and why."""
    trials: list[TrialRecord]
    """All trials by number."""
    best: TrialRecord | None
    """The best complete trial, None if there is none; `claim` tells what may be said of it."""

    @property
    def best_configuration(self) -> Configuration | None:
        """The best trial's configuration."""
        return None if self.best is None else self.best.configuration

    @property
    def best_value(self) -> float | None:
        """The claim's estimate; of several objectives, the best trial's value of the first."""
        if (claim := self.claim) is not None:
            return claim.estimate
        return (
            None if self.best is None else self.best.metrics[next(iter(self.study.spec.objectives))]
        )

    @property
    def claim(self) -> Claim | None:
        """What may be said of the best trial; None without one, and of a Pareto front."""
        from ..tools.claims import claim

        return claim(self.study.spec, self.trials)

    def confirm(self, repeats: int = 5, trials: Sequence[int] = ()) -> Result:
        """Run the best trial and the runner-up again on fresh seeds; see `luthier.confirm`."""
        return confirm(self.study, repeats=repeats, trials=trials)

    def _repr_html_(self) -> str:
        """Return the study as a notebook shows it."""
        return self.study._repr_html_()

    def __str__(self) -> str:
        searched = [trial for trial in self.trials if not trial.is_repeat]
        complete = sum(trial.state == "complete" for trial in searched)
        text = f"study {self.study.name!r} {self.ending.state} ({self.ending.reason}): "
        text += f"{complete} of {len(searched)} trials complete"
        if self.best is not None:
            said = f"{self.best_value:.6g}" if self.claim is None else f"{self.claim.quote},"
            text += f", best {said} with {self.best.configuration}"
        return text


def tune(
    train_fn: Callable[[Configuration], Any],
    *,
    space: Mapping[str, Parameter],
    metric: str,
    direction: Direction,
    budget: int | str | Mapping[str, Any] | Budget = 50,
    name: str | None = None,
    workspace: str | Path | None = None,
    progress: bool = True,
    **spec: Any,
) -> Result:
    """Tune a function: run it on one configuration a trial, each in a process of its own.

    The function takes a configuration (a dict) and returns the metric (a number), or a dict of
    metrics, or reports along the way with `luthier.report(step=..., **metrics)`. It may be defined
    in a notebook or a script; it is then pickled by value.

    Args:
        train_fn: What to tune.
        space: Parameter name to `luthier.Float`, `luthier.Int` or `luthier.Categorical`.
        metric: The metric to optimise.
        direction: Whether it should be large or small.
        budget: Number of trials, or a wall time such as "10m", or the spec's budget section.
        name: The study's name. With a name, calling again with the same arguments resumes the
            study; without one every call makes a new study.
        workspace: Folder for all that is written; by default LUTHIER_HOME or `.luthier`.
        progress: Whether to print a line to standard error for every trial that ends.
        **spec: Further fields of the `StudySpec`: `constraints`, `limits`, `executor`, `sampler`,
            `pruner`, `confirm`, `seed`, or more `metrics`.

    Returns:
        The result, also if the study was stopped early.

    Raises:
        SpecError: If something about the arguments is wrong; nothing has been written.
        DeviceError: If the devices that `executor` asks for are not there; likewise.
        StudyConflictError: If the name is taken by another spec.
        LeaseHeldError: If another worker runs the study.
        WorkerError: If the run had to be left, as when the disk is full.
    """
    # Imported here, so that `luthier.tune` is cheap to name.
    from ..tools.ledger import open_ledger
    from ..tools.study import Study, open_or_create
    from ..tools.workspace import Workspace, find_workspace
    from .progress import PrintProgress
    from .worker import check_study, run_study

    place = Workspace(Path(workspace).absolute()) if workspace is not None else find_workspace()
    whole = _make_spec(train_fn, name, space, metric, direction, budget, spec)
    check_study(whole, Path.cwd())
    pickled = _pickle(train_fn) if _is_local(train_fn) else None
    ledger = open_ledger(place.ledger_path)
    record = open_or_create(ledger, whole, Path.cwd())
    study = Study(ledger, place, record.name)
    show = PrintProgress(whole, study.trials(curves=False)) if progress else None
    ending = run_study(ledger, record, place, pickled=pickled, on_trial=show)
    return result_of(study, ending)


def confirm(
    study: Study | str,
    *,
    repeats: int = 5,
    trials: Sequence[int] = (),
    caps: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Result:
    """Run a study's best trial and the runner-up again, on fresh seeds, to tell what is chance.

    Of a function, `random`, NumPy and torch are seeded where it has imported them before it is
    called; others it seeds itself, with `luthier.seed()`.

    Args:
        study: A study, or the name of one in the workspace.
        repeats: How many repeats each is to have, those that it has included.
        trials: Numbers of trials to repeat instead.
        caps: New caps of the budget, as `{"wall_seconds": "2h"}`: repeats cost time, but no trials.
        progress: Whether to print a line to standard error for every trial that ends.

    Returns:
        The result, whose `claim` says what came of it.

    Raises:
        RepeatError: If that cannot be done, or does not fit the budget; nothing has been written.
        LeaseHeldError: If another worker runs the study; nothing has been written.
        WorkerError: If the run had to be left, as when the disk is full.
    """
    from ..tools.ledger import LeaseHeldError
    from ..tools.study import open_study
    from .confirming import ask
    from .progress import PrintProgress
    from .worker import check_study, run_study

    study = open_study(study) if isinstance(study, str) else study
    if (owner := study.owner) is not None:
        raise LeaseHeldError(study.name, owner)
    record = study.record
    plan = check_study(record.spec, record.working_directory)
    ask(study, plan.slots, repeats=repeats, trials=trials, caps=caps or {})
    show = PrintProgress(record.spec, study.trials(curves=False)) if progress else None
    return result_of(study, run_study(study.ledger, record, study.workspace, on_trial=show))


def result_of(study: Study, ending: Ending | None = None) -> Result:
    """Return what a study has come to; it has an ending of its own if it ran elsewhere."""
    from ..tools.analysis import best_trials

    if ending is None:
        from .tuner import Ending

        ending = Ending(study.record.state, study.record.reason)
    trials = study.trials()
    best = best_trials(study.spec, trials)
    return Result(study, ending, trials, best[0] if best else None)


def _make_spec(
    train_fn: Callable[[Configuration], Any],
    name: str | None,
    space: Mapping[str, Parameter],
    metric: str,
    direction: Direction,
    budget: int | str | Mapping[str, Any] | Budget,
    further: dict[str, Any],
) -> StudySpec:
    from ..tools.spec import Budget, SpecError, parse_spec

    if not callable(train_fn):
        raise SpecError(f"train_fn must be a function of a configuration, but got {train_fn!r}")
    caps: Any = budget
    if isinstance(budget, bool) or not isinstance(budget, int | str | Mapping | Budget):
        raise SpecError(
            "budget must be a number of trials, a wall time such as '10m', or a dict of caps, "
            f"but got {budget!r}"
        )
    if isinstance(budget, int):
        caps = {"trials": budget}
    elif isinstance(budget, str):
        caps = {"trials": None, "wall_seconds": budget}
    metrics = {metric: {"direction": direction}} | further.pop("metrics", {})
    data = {
        "name": name or _new_name(train_fn),
        "objective": {"kind": "callable", "reference": _reference(train_fn)},
        "space": dict(space),
        "metrics": metrics,
        "budget": caps,
        **further,
    }
    return parse_spec(data, "luthier.tune")


def _reference(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"


def _new_name(function: Callable[..., Any]) -> str:
    """Return a name that no study has: two calls may come within a second."""
    name = getattr(function, "__name__", type(function).__name__)
    plain = re.sub(r"\W+", "", name, flags=re.ASCII).strip("_")[:60] or "study"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def _pickle(function: Callable[..., Any]) -> bytes:
    from ..tools.objective import pickle_callable
    from ..tools.spec import SpecError

    try:
        return pickle_callable(function)
    except Exception as error:  # whatever the objects that it holds raise
        raise SpecError(
            f"train_fn cannot be sent to a trial's process ({error}); open files, locks and "
            "connections inside the function, not around it"
        ) from None


def _is_local(function: Callable[..., Any]) -> bool:
    """Tell whether a trial could not import the function, so that it must be pickled by value."""
    found: Any = sys.modules.get(function.__module__)
    if found is None or found.__name__ == "__main__" or getattr(found, "__file__", None) is None:
        return True
    for part in getattr(function, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is not function
