"""The language model of a running study: asked ahead, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..tools.records import AdviceRecord
from .advice import EXAM_TRIALS, Advice, Exam, advise, examine
from .llambo.context import History, Problem
from .llambo.past import Neighbour
from .llm.answers import LanguageModel, LLMError, Usage


class Adviser:
    """Asks for advice when it is wanted, and keeps it until it is stale.

    One question is under way at a time. What comes of it waits for the next look.
    """

    def __init__(
        self,
        llm: LanguageModel,
        problem: Problem,
        *,
        seed: int,
        start_up: int,
        past: Sequence[Neighbour] = (),
        examines: bool = True,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the thread; nothing is asked yet.

        Args:
            llm: The language model.
            problem: What is optimised.
            seed: Seed of the order in which trials are shown.
            start_up: Configurations of a warm start.
            past: Earlier studies that are near.
            examines: Whether the model is examined before it is asked for candidates.
            on_news: Called, in the thread, when an answer or a failure is there.
        """
        self._llm = llm
        self._problem = problem
        self._seed = seed
        self._start_up = start_up
        self._past = past
        self._examines = examines
        self.exam: float | None = None
        """How well it predicted trials that it was not shown; None before it was asked."""
        self.on_news = on_news
        self._changed = threading.Condition()
        self._asked: History | None = None
        """What is to be asked about, or just is."""
        self._advice: Advice | None = None
        self._failure: Exception | None = None
        self._accounts: list[AdviceRecord] = []
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="adviser", daemon=True)
        self._thread.start()

    def must_be_examined(self, history: History) -> bool:
        """Tell whether the next question is an exam."""
        enough = len(history.complete) >= EXAM_TRIALS
        return self._examines and self.exam is None and enough

    def look(self, history: History) -> Advice | None:
        """Return fresh advice; None if there is none yet: it is asked for, and told by `on_news`.

        Raises:
            LLMError: If the last question failed; the next look asks again.
            Exception: What else ended the last question, which nobody has foreseen.
        """
        with self._changed:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            if self._advice is not None and self._advice.is_fresh(self._problem, history):
                return self._advice
            self._advice = None
            if self._asked is None:
                self._asked = history
                self._changed.notify_all()
            return None

    def drop(self) -> None:
        """Forget the advice, of which nothing is left that is worth a trial."""
        with self._changed:
            self._advice = None

    def accounts(self) -> list[AdviceRecord]:
        """Return what has been asked since the last time, and what it cost."""
        with self._changed:
            accounts, self._accounts = self._accounts, []
        return accounts

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._asked is not None)
                if self._closed:
                    return
                history = self._asked
                assert history is not None
            advice: Advice | None = None
            failure: Exception | None = None
            try:
                if self.must_be_examined(history):
                    exam = examine(self._llm, self._problem, history, seed=self._seed)
                    self.exam = exam.correlation
                    with self._changed:
                        self._accounts.append(_exam_account(exam))
                trials = self._problem.card.trials
                left = None if trials is None else max(1, trials - len(history.observations))
                advice = advise(
                    self._llm,
                    self._problem,
                    history,
                    seed=self._seed,
                    start_up=self._start_up,
                    past=self._past,
                    left=left,
                )
            except Exception as error:  # raised by the next look: no thread ends unheard
                failure = error
            with self._changed:
                self._asked, self._advice, self._failure = None, advice, failure
                self._accounts.append(_account(advice, failure))
                closed = self._closed
            if not closed:
                self.on_news()

    def close(self) -> None:
        """End the thread; an answer that is still waited for is not used any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _exam_account(exam: Exam) -> AdviceRecord:
    usage, faults = exam.usage, {str(fault): count for fault, count in exam.faults.items()}
    return AdviceRecord(
        tokens=usage.tokens,
        dollars=usage.dollars,
        calls=usage.calls,
        faults=faults,
        exam=exam.correlation,
    )


def _account(advice: Advice | None, failure: Exception | None) -> AdviceRecord:
    known = failure if isinstance(failure, LLMError) else None
    usage = advice.usage if advice else known.usage if known else Usage()
    told = AdviceRecord(tokens=usage.tokens, dollars=usage.dollars, calls=usage.calls)
    if advice is not None:
        return replace(told, faults={str(fault): count for fault, count in advice.faults.items()})
    return told if known is None else replace(told, cause=known.cause, message=str(known))
