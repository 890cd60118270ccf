"""Repeats for claims: asked for by a front end, or by the spec when the search is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..tools.analysis import repeats_by_trial
from ..tools.executors.protocol import TrialExecutor
from ..tools.pruning import make_pruning
from ..tools.records import TrialRecord, Wish
from ..tools.repeats import (
    Confirm,
    Repeat,
    RepeatError,
    device_seconds,
    for_sampling,
    leaders,
    plan,
    run_seconds,
)
from ..tools.spec import StudySpec
from ..tools.study import Study, read_study_meters, with_budget
from ..tools.writer import Writer
from .history import History
from .limits import Limits


def ask(
    study: Study, slots: int, *, repeats: int, trials: Sequence[int], caps: Mapping[str, Any]
) -> Confirm:
    """Leave the wish that trials be repeated, and return it; `caps` change the budget first.

    Args:
        study: The study.
        slots: How many of its trials run at once.
        repeats: How many repeats each trial is to have.
        trials: Their numbers; none stands for the best one and the runner-up.
        caps: New caps of the budget.

    Raises:
        RepeatError: If that cannot be done, or does not fit the budget; nothing has been written.
        SpecError: If a cap makes no sense.
    """
    record, known = study.record, study.trials(curves=False)
    asked = Confirm(list(trials), repeats)
    missing = plan(record.spec, known, asked)
    if caps:
        record = replace(record, spec=with_budget(record.spec, caps))
    meters = read_study_meters(study.ledger, record, known)
    shortage = meters.shortage(device_seconds(missing), min(slots, len(missing)))
    if shortage is not None:
        raise RepeatError(
            f"for {len(missing)} repeats {shortage}; ask for fewer with --repeats, or raise the "
            "cap with --wall or --device"
        )
    # Which ones they are is settled now, whatever the study finds until the wish is granted.
    numbers = sorted({repeat.of.number for repeat in missing})
    asked = replace(asked, trials=list(trials) or numbers)
    if caps:
        study.ledger.wish(record, "resume", budget=dict(caps))
    study.ledger.wish(record, "confirm", **vars(asked))
    return asked


class Confirmer:
    """Adds repeats to a running study."""

    def __init__(
        self, writer: Writer, history: History, limits: Limits, executor: TrialExecutor, slots: int
    ) -> None:
        """Begin with what the study has; nothing is added before it is asked for."""
        self._writer = writer
        self._history = history
        self._limits = limits
        self._executor = executor
        self._slots = slots

    @property
    def _spec(self) -> StudySpec:
        return self._writer.study.spec

    def known_to_sampler(self) -> tuple[Sequence[TrialRecord], int]:
        """Return the trials as the sampler should see them, and how many of them have ended."""
        history = self._history
        if not history.repeats:
            return history.trials, history.ended
        known = for_sampling(self._spec, history.trials)
        return known, sum(trial.is_finished for trial in known)

    def grant(self, wish: Wish) -> bool:
        """Add the repeats that a wish asks for, unless they cannot be; tell whether there are any.

        A wish that is granted twice, because a worker died in between, comes to the same.
        """
        asked = Confirm(**wish.data)
        try:
            missing = plan(self._spec, self._history.trials, asked)
        except RepeatError as error:
            self._writer.note("refused", wish=wish.kind, author=wish.author, reason=str(error))
            return False
        self._add(missing)
        return True

    def at_the_end(self, reason: str) -> str | None:
        """Add the repeats that the spec asks for, now that the search is over.

        Args:
            reason: Why it is over.

        Returns:
            Why the study ends now; None if there are repeats to run first.
        """
        wanted, trials = self._spec.confirm.repeats, self._history.trials
        if not wanted:
            return reason
        # Whatever became of those that there are: nobody runs into the same wall for ever.
        there = repeats_by_trial(trials)
        try:
            missing = plan(self._spec, trials, Confirm([], wanted))
        except RepeatError:
            return reason
        missing = [repeat for repeat in missing if len(there.get(repeat.of.number, ())) < wanted]
        if not missing:
            return reason
        slots = min(self._slots, len(missing))
        shortage = self._limits.meters().shortage(device_seconds(missing), slots)
        if shortage is not None:
            return f"{reason}; nothing is confirmed: for {len(missing)} repeats {shortage}"
        self._add(missing)
        return None

    def refusal(self) -> str | None:
        """Return why the search may not go on if the spec's repeats are to have time; or None."""
        wanted, meters = self._spec.confirm.repeats, self._limits.meters()
        capped = [m for m in (meters.wall_seconds, meters.device_seconds) if m.cap is not None]
        if not wanted or not capped:
            return None
        # A new best one would have to be repeated again, so it is no matter which ones have been.
        pair = leaders(self._spec, self._history.trials)
        kept = wanted * sum(map(run_seconds, pair))
        expected = self._history.expected_seconds or 0.0
        for meter in capped:
            share = kept / self._slots if meter is meters.wall_seconds else kept
            assert meter.cap is not None
            if 0.0 < share <= meter.cap / 2 and meter.left < share + expected:
                return f"the time is used, but for what {wanted * len(pair)} repeats take"
        return None

    def _add(self, repeats: Sequence[Repeat]) -> None:
        for trial in self._writer.add_repeats(len(self._history.trials), repeats):
            self._history.add(trial)
        self._executor.wake()


class SearchPruning:
    """A rule for the trials of the search; repeats run to their end and are nobody's peers."""

    def __init__(self, spec: StudySpec, trials: Sequence[TrialRecord]) -> None:
        """Begin with the spec's rule and the study's trials, which come with their curves."""
        self._rule = make_pruning(spec, [trial for trial in trials if not trial.is_repeat])
        self._repeats = {trial.number for trial in trials if trial.is_repeat}

    def add(self, trial: TrialRecord) -> None:
        """Note that a trial runs: a new one, or an ended one again."""
        if trial.is_repeat:
            self._repeats.add(trial.number)
        else:
            self._rule.add(trial)

    def should_prune(self, number: int, step: int, value: float) -> bool:
        """Note a running trial's value at a step, and tell whether to stop it early."""
        return number not in self._repeats and self._rule.should_prune(number, step, value)

    def finish(self, trial: TrialRecord) -> None:
        """Note how a trial ended; it comes with its curve."""
        if not trial.is_repeat:
            self._rule.finish(trial)
