"""What happens to a study that somebody who talks about it should hear of unasked."""

from __future__ import annotations

from collections.abc import Iterator

from ..tools.records import TrialRecord
from ..tools.study import Study, read_study_meters
from .toolbox.box import Result
from .toolbox.desk import Desk
from .toolbox.explaining import BestTrials
from .wording import worded

_MUCH = 0.8
_MANY = 5
_ENDED = ("finished", "halted", "stopped", "interrupted")


def happenings(desk: Desk, study: Study) -> Iterator[tuple[str, str]]:
    """Yield what has happened to a study so far, each with a name that stands for it for ever."""
    trials, state = study.trials(curves=False), study.state
    if state in _ENDED:
        best = Result(BestTrials(study=study.name).run(desk))
        reason = f" ({study.record.reason})" if study.record.reason else ""
        text = f"Study {study.name} is {state}{reason}. {worded('best_trials', best)}"
        yield f"{state} after {len(trials)}", text
        return
    for meter in read_study_meters(desk.ledger, study.record, trials).all():
        if meter.cap is not None and meter.spent >= _MUCH * meter.cap:
            used = f"{meter.spent:.4g} of {meter.cap:.4g} {meter.name.replace('_', ' ')}"
            yield f"{meter.name} of {meter.cap:g}", f"Study {study.name} has used {used}."
    failures = sum(map(_failed, trials))
    ended = sum(trial.is_finished for trial in trials)
    if failures >= _MANY and 2 * failures > ended:
        yield "failures", f"Of {ended} trials of study {study.name} that ended, {failures} failed."


def _failed(trial: TrialRecord) -> bool:
    return trial.is_finished and trial.state not in ("complete", "pruned", "killed")
