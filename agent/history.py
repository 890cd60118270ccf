"""A study's trials as its loop keeps them: what is asked at every turn is at hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from ..tools.budget import expected_trial_seconds
from ..tools.outcomes import Outcome
from ..tools.records import AttemptRecord, TrialRecord
from ..tools.space import SearchSpace

_RECENT = 200


class Ended(NamedTuple):
    """An attempt that ended, and the trial that it was at."""

    trial: int
    attempt: AttemptRecord


class History:
    """All trials of a study, by number.

    Curves and error output stay in the ledger: a study of thousands of trials is no larger in
    memory than its configurations and results.
    """

    def __init__(
        self,
        trials: Iterable[TrialRecord],
        device_seconds: float,
        tokens: float = 0.0,
        dollars: float = 0.0,
    ) -> None:
        """Begin with what the ledger holds.

        Args:
            trials: The study's trials, by number.
            device_seconds: What their attempts have used.
            tokens: What the language model has used.
            dollars: What it has cost, as far as that is known.
        """
        self.trials: list[TrialRecord] = []
        self.device_seconds = device_seconds
        """Device time of the attempts that have ended, in seconds."""
        self.tokens, self.dollars = tokens, dollars
        """What the language model has used and cost."""
        self.counted = 0
        """Trials that count against the budget: all but imported ones and repeats."""
        self.repeats = 0
        self.recent: deque[Ended] = deque(maxlen=_RECENT)
        """The attempts that ended last, oldest first, without those that never began."""
        self.longest = 0.0
        """How long the longest complete trial took in its last attempt, in seconds."""
        self._waiting: set[int] = set()
        self._unfinished: set[int] = set()
        for trial in trials:
            self.add(trial)
        self.expected_seconds = expected_trial_seconds(self.trials)
        """How long a trial will probably take, in seconds; None before the first has ended."""
        ended = [
            Ended(trial.number, attempt)
            for trial in self.trials
            if not trial.imported
            for attempt in trial.attempts
            if attempt.finished_at is not None and not attempt.never_began
        ]
        ended.sort(key=lambda each: (each.attempt.finished_at or 0.0, each.attempt.id))
        self.recent.extend(ended)

    def add(self, trial: TrialRecord) -> None:
        """Add a trial, which has the next number."""
        self.counted += trial.is_counted
        self.repeats += trial.is_repeat
        self.trials.append(trial)
        self.put(trial)

    def put(self, trial: TrialRecord) -> None:
        """Replace a trial by what it has become."""
        if trial.is_finished:
            trial = _light(trial)
            self._unfinished.discard(trial.number)
        else:
            self._unfinished.add(trial.number)
        self.trials[trial.number] = trial
        if trial.state is Outcome.COMPLETE and not trial.imported and trial.attempts:
            self.longest = max(self.longest, trial.attempts[-1].seconds or 0.0)
        if trial.state == "waiting":
            self._waiting.add(trial.number)
        else:
            self._waiting.discard(trial.number)

    def settle(self, trial: TrialRecord) -> None:
        """Replace a trial whose newest attempt has just ended."""
        attempt = trial.attempts[-1]
        self.device_seconds += attempt.seconds or 0.0
        self.put(trial)
        self.expected_seconds = expected_trial_seconds(self.trials)
        if not attempt.never_began:
            self.recent.append(Ended(trial.number, replace(attempt, error_tail="")))

    @property
    def ended(self) -> int:
        """How many trials have an outcome."""
        return len(self.trials) - len(self._unfinished)

    def waiting(self) -> list[TrialRecord]:
        """Return the trials that wait for another attempt, by number."""
        return [self.trials[number] for number in sorted(self._waiting)]

    def exhaustion(self, space: SearchSpace) -> str | None:
        """Return why no new configuration is left in a finite space, None if there are more."""
        size = space.size()
        if size is None or len(self.trials) < size:
            return None
        tried = {tuple(space.encode(c)) for trial in self.trials for c in trial.configurations}
        return None if len(tried) < size else f"all {size} configurations of the space are tried"


def _light(trial: TrialRecord) -> TrialRecord:
    attempts = tuple(replace(a, error_tail="") if a.error_tail else a for a in trial.attempts)
    return replace(trial, curves=None, attempts=attempts)
