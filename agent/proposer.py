"""What proposes in a running study: the classical optimiser and a language model together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ..tools.ledger import Ledger
from ..tools.records import Decision, Prediction, StudyRecord, TrialRecord, to_json
from ..tools.reviews import reviews_in
from ..tools.space import Configuration
from ..tools.spec import StudySpec
from ..tools.workspace import Workspace
from .advice import MODEL_SOURCES, pick
from .adviser import Adviser
from .classical import Proposal, propose, start_up_trials
from .credit import is_models_turn
from .hybrid import Standing, is_models_strict_turn, turns_of
from .llambo.context import History, Problem, TaskCard
from .llambo.method import Suggestion
from .llambo.past import neighbours, past_studies
from .llm.answers import LLMError, Usage
from .llm.client import Client
from .llm.line import Line
from .llm.metering import Caps
from .llm.recording import Recording
from .llm.settings import Settings
from .reviewing import Reviewer, ended_trials


class Hybrid:
    """Proposes as the classical optimiser does, and the language model in its turns.

    Used by one thread. A turn of the model whose advice is not there yet gets a provisional
    proposal of the classical optimiser.
    """

    def __init__(
        self,
        spec: StudySpec,
        problem: Problem,
        adviser: Adviser,
        decisions: Mapping[int, Decision],
        *,
        reviewer: Reviewer | None = None,
        ahead: bool = True,
    ) -> None:
        """Put it together.

        Args:
            spec: The study's spec; it has one objective.
            problem: What is optimised.
            adviser: The language model.
            decisions: Why the trials so far were chosen, by number.
            reviewer: Asks the model for reviews of the study; None if nobody wants them.
            ahead: Whether the model is asked while trials run. Without that, what it is asked does
                not depend on how long it takes, and a run with one slot can be repeated exactly.
        """
        self._spec = spec
        self._problem = problem
        self.adviser = adviser
        self.reviewer = reviewer
        ((self._metric, _),) = spec.objectives.items()
        self._ahead = ahead
        self._standing = Standing()
        self._before = {
            number: decision.prediction.raw
            for number, decision in decisions.items()
            if decision.prediction is not None
        }
        """What was predicted before this worker, by trial."""
        self._predicted: dict[str, tuple[float, float]] = {}
        """What was predicted since, by configuration: a proposal has no number yet."""

    def __call__(self, trials: Sequence[TrialRecord]) -> Proposal:
        """Choose the next configuration; see `classical.propose`."""
        number = len(trials)
        history = self._history(trials)
        if number == 0 or not self._is_models_turn(history, number):
            return self._classical(trials)
        if history.running and not self._ahead:
            return replace(self._classical(trials), is_provisional=True)
        begun = time.perf_counter()
        try:
            advice = self.adviser.look(history)
        except LLMError as error:
            self._standing.failed(number)
            return self._classical(trials, f"the language model gave no advice: {error}")
        if advice is None:
            return replace(self._classical(trials), is_provisional=True)
        suggestion = pick(advice, self._problem, history, seed=self._spec.seed)
        if suggestion is None:
            self.adviser.drop()
            self._standing.failed(number)
            return self._classical(trials, "no idea of the language model is worth a trial")
        self._standing.succeeded()
        if suggestion.raw is not None:
            self._predicted[to_json(suggestion.configuration)] = suggestion.raw
        return _proposal(suggestion, time.perf_counter() - begun)

    def _history(self, trials: Sequence[TrialRecord]) -> History:
        predicted = {
            trial.number: raw
            for trial in trials
            if trial.source in MODEL_SOURCES
            and (
                raw := self._before.get(
                    trial.number, self._predicted.get(to_json(trial.configuration))
                )
            )
        }
        return History.of_records(trials, self._metric, predicted)

    def _is_models_turn(self, history: History, number: int) -> bool:
        if number < self._standing.silent_until:
            return False
        if self._spec.adviser.mode == "strict":
            return is_models_strict_turn(number)
        if self.adviser.must_be_examined(history):
            return True
        turns = turns_of(self._problem, history)
        return is_models_turn(turns, self._standing.refused, self.adviser.exam)

    def _classical(self, trials: Sequence[TrialRecord], note: str = "") -> Proposal:
        own = [trial for trial in trials if trial.source not in MODEL_SOURCES]
        if self._spec.adviser.mode == "strict":
            renumbered = [replace(trial, number=number) for number, trial in enumerate(own)]
            proposal = propose(self._spec, renumbered)
        else:
            proposal = propose(self._spec, trials, others=len(trials) - len(own))
        if not note:
            return proposal
        decision = proposal.decision
        return replace(proposal, decision=replace(decision, reason=f"{decision.reason}; {note}"))


def _proposal(suggestion: Suggestion, seconds: float) -> Proposal:
    predicted, raw = suggestion.predicted, suggestion.raw
    prediction = None
    if predicted is not None and raw is not None:
        prediction = Prediction(predicted.mean, predicted.low, predicted.high, raw)
    decision = Decision(
        source=suggestion.source,
        reason=suggestion.reason,
        seconds=seconds,
        prediction=prediction,
        prompt_version=", ".join(suggestion.prompts),
        tokens=suggestion.usage.tokens,
        dollars=suggestion.usage.dollars or 0.0,
    )
    configuration: Configuration = suggestion.configuration
    return Proposal(configuration, decision)


def open_hybrid(
    ledger: Ledger,
    study: StudyRecord,
    workspace: Workspace,
    settings: Settings,
    stack: contextlib.ExitStack,
    *,
    ahead: bool = True,
) -> Hybrid:
    """Put together what proposes in a study with a language model; its answers are recorded.

    Args:
        ledger: The workspace's ledger.
        study: A study with one objective.
        workspace: Where recordings are.
        settings: The language model.
        stack: Closes what is opened.
        ahead: Whether the model is asked while trials run.
    """
    spec, replay = study.spec, study.spec.adviser.replay
    folder = workspace.recording_folder(replay or study.name)
    line = Line(
        settings,
        caps=Caps(spec.budget.tokens, spec.budget.dollars),
        spent=Usage(
            prompt_tokens=round(ledger.spending(study, "tokens")[0]),
            dollars=ledger.spending(study, "dollars")[0],
        ),
        recording=Recording(folder, "replay" if replay else "record"),
    )
    client = Client(line)
    stack.callback(client.close)
    ((metric, direction),) = spec.objectives.items()
    card = TaskCard(description=spec.adviser.task, metric=metric, trials=spec.budget.trials)
    problem = Problem(spec.search_space, direction, card)
    adviser = Adviser(
        client,
        problem,
        seed=spec.seed,
        start_up=start_up_trials(spec),
        past=neighbours(spec.search_space, None, past_studies(ledger, without=study.name)),
        examines=spec.adviser.mode == "shared",
    )
    stack.callback(adviser.close)
    reviewer = None
    if spec.adviser.reviews:
        before = reviews_in(ledger.events(study))
        read = partial(ledger.trials, study, curves=True)
        seen = ledger.trials(study)[: before[-1].trials] if before else []
        last = ended_trials(seen)
        reviewer = Reviewer(client, problem, spec, read, last, ahead=ahead)
        stack.callback(reviewer.close)
    return Hybrid(spec, problem, adviser, ledger.decisions(study), reviewer=reviewer, ahead=ahead)
