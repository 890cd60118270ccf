"""What a person decides about a study that is there: wishes to its worker, or a new worker.

Nothing runs here: a worker is a process of its own, and a wish is a line in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..tools.retry import Retry
    from ..tools.study import Study


def ask(study: Study, kind: str, what: str, **data: Any) -> str:
    """Ask a study's worker to do `what`; return a sentence that says so.

    Raises:
        SpecError: If nobody runs the study.
    """
    from ..tools.spec import SpecError

    owner = study.owner
    if owner is None:
        raise SpecError(
            f"nobody runs study {study.name!r} (it is {study.state}), nothing to {kind}"
        )
    study.ledger.wish(study.record, kind, **data)
    return f"Asked {owner.name} to {what}."


def ask_to_stop_trial(study: Study, number: int) -> str:
    """Ask a study's worker to end one trial; return a sentence that says so.

    Raises:
        SpecError: If that trial does not run, or nobody runs the study.
    """
    from ..tools.spec import SpecError

    running = [t.number for t in study.trials(curves=False) if t.state == "running"]
    if number not in running:
        raise SpecError(
            f"trial {number} of study {study.name!r} does not run; running are {running}"
        )
    return ask(study, "stop_trial", f"stop trial {number}", trial=number)


def plan_retry(
    study: Study,
    outcomes: Sequence[str] = (),
    numbers: Sequence[int] = (),
    settings: Sequence[str] = (),
    *,
    fresh: bool = False,
) -> Retry:
    """Return which ended trials run again, and how.

    Raises:
        RetryError: If that cannot be, or the budget has nothing left for it.
    """
    from ..tools.budget import expected_trial_seconds
    from ..tools.retry import Retry, RetryError, parse_settings, plan, select
    from .live import look

    trials, spec = study.trials(curves=False), study.spec
    asked = Retry(
        trials=select(trials, outcomes, numbers),
        set=parse_settings(spec.search_space, settings),
        fresh=fresh,
    )
    plan(spec, trials, asked, partial(study.workspace.checkpoint_folder, study.name))
    refusal = look(study).meters.refusal(expected_trial_seconds(trials), new_trial=False)
    if refusal is not None:
        raise RetryError(
            f"{refusal}; raise the cap with `luthier resume {study.name} --wall or --device`"
        )
    return asked


def ask_to_retry(study: Study, asked: Retry) -> str | None:
    """Ask for trials to run again; return a sentence, or None if a worker is to be started for it.

    Raises:
        SpecError: If nobody runs the study, and it cannot be run here.
    """
    from ..agent.worker import check_study

    if study.owner is not None:
        numbers = ", ".join(map(str, asked.trials))
        return ask(study, "retry", f"run again: trial {numbers}", **vars(asked))
    check_study(study.spec, study.record.working_directory)
    study.ledger.wish(study.record, "retry", **vars(asked))
    return None


def ask_to_enqueue(study: Study, values: Mapping[str, Any], like: int | None = None) -> str | None:
    """Ask for a configuration to be tried; return a sentence, or None if nobody runs the study.

    Args:
        study: The study.
        values: Parameter to its value, as text or as it is.
        like: The trial that the other values are taken from; None for defaults.

    Raises:
        LuthierError: If that cannot be tried.
    """
    from ..tools.budget import expected_trial_seconds
    from ..tools.enqueue import EnqueueError, wanted
    from ..tools.retry import parse_settings
    from .live import look

    spec, trials = study.spec, study.trials(curves=False)
    texts = [f"{name}={value}" for name, value in values.items()]
    configuration = wanted(spec, trials, parse_settings(spec.search_space, texts), like)
    refusal = look(study).meters.refusal(expected_trial_seconds(trials), new_trial=True)
    if refusal is not None:
        raise EnqueueError(f"{refusal}; raise the cap with `luthier resume {study.name} --trials`")
    if study.owner is not None:
        return ask(study, "enqueue", "try it next", configuration=configuration)
    study.ledger.wish(study.record, "enqueue", configuration=configuration)
    return None


def ask_to_resume(study: Study, caps: Mapping[str, Any]) -> str | None:
    """Ask for a study to go on; return a sentence, or None if a worker is to be started for it.

    Args:
        study: The study.
        caps: Caps of its budget that change.

    Raises:
        SpecError: If a cap makes no sense.
    """
    from ..tools.study import with_budget

    if caps:
        with_budget(study.spec, caps)  # refuses what makes no sense
    wish = {"budget": dict(caps)} if caps else {}
    if study.owner is not None:
        return ask(study, "resume", "go on", **wish)
    if caps:
        study.ledger.wish(study.record, "resume", **wish)
    return None
