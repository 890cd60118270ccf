"""Proposals prepared ahead, while trials run."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..tools.records import TrialRecord
from .classical import Proposal

Propose = Callable[[Sequence[TrialRecord]], Proposal]

_ASK_SECONDS = 20.0


def pending_trial(proposal: Proposal, number: int) -> TrialRecord:
    """Return a proposal as the running trial that it is going to be."""
    return TrialRecord(
        id=-1,
        number=number,
        state="running",
        reason="",
        configuration=proposal.configuration,
        metrics={},
        source=proposal.decision.source,
        created_at=time.time(),
        finished_at=None,
        curves={},
    )


class ProposalQueue:
    """A few proposals ahead, made one after the other by a thread of its own.

    All in the queue come from one version of the history, and each has seen those before it as
    pending trials, so that none is proposed twice. A new history replaces them, as soon as its
    first proposal is ready.
    """

    def __init__(
        self,
        propose: Propose,
        fallback: Propose,
        *,
        depth: int = 1,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the thread.

        Args:
            propose: Makes a proposal; may take seconds.
            fallback: Answers at once when `propose` takes too long or fails.
            depth: How many proposals to keep ready, >= 1; as many as slots may become free at once.
            on_ready: Called, in the queue's thread, when there is something to take.
        """
        self._propose = propose
        self._fallback = fallback
        self._depth = depth
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._history: list[TrialRecord] = []
        """The newest history, with what has been taken since as pending trials."""
        self._ended = 0
        """How many trials of the newest history have ended."""
        self._newest = 0
        self._out_of_turn = 0
        """How many were taken that did not come from the newest history."""
        self._ready: deque[Proposal] = deque()
        self._version = 0
        """The version of the history that the ready ones come from."""
        self._error: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="proposals", daemon=True)
        self._thread.start()

    def prepare(self, trials: Sequence[TrialRecord], ended: int) -> None:
        """Ask for proposals that have seen this history; to be called with every new result.

        Args:
            trials: The study's trials, by number.
            ended: How many of them have ended; in a long study it takes time to count them.
        """
        with self._changed:
            self._newest += 1
            self._history = list(trials)
            self._ended = ended
            self._error = None  # with another history the sampler may succeed
            self._changed.notify_all()

    def renew(self) -> None:
        """Make the proposals again: there is advice that they have not seen.

        What is ready is kept until the first of the new ones is.
        """
        with self._changed:
            if self._newest:
                self._newest += 1
                self._changed.notify_all()

    def take(self, waited: float, patience: float) -> Proposal | None:
        """Return a proposal that has not been taken yet, None to go on waiting.

        One that has seen the newest history is returned at once. An older or a provisional one is
        returned after `patience`, an older one at once if waiting is in vain: if making it took
        longer than that, or the sampler failed. Where there is none at all, the fallback answers,
        after a longer wait or when the sampler failed.

        Args:
            waited: Seconds that have been waited so far.
            patience: Seconds to wait for a fresher proposal.
        """
        with self._changed:
            failed = self._error is not None
            first = self._ready[0] if self._ready else None
            final = first is not None and not first.is_provisional
            fresh = final and self._version == self._newest
            stale = first is not None and (
                failed or waited >= patience or (final and first.decision.seconds > patience)
            )
            if fresh or stale:
                proposal = self._ready.popleft()
                decision = replace(proposal.decision, deadline_missed=not fresh)
            elif not failed and waited < max(patience, _ASK_SECONDS):
                return None
            else:
                proposal = self._made_from(self._fallback, self._history, self._ended)
                why = f"failed: {self._error}" if failed else f"took over {_ASK_SECONDS:.0f} s"
                reason = f"{proposal.decision.reason}; the sampler {why}"
                decision = replace(proposal.decision, reason=reason, deadline_missed=True)
            self._history.append(pending_trial(proposal, len(self._history)))
            if not fresh:  # what the thread makes just now has not seen this one
                self._newest += 1
                self._out_of_turn += 1
                self._error = None
            self._changed.notify_all()
        return replace(proposal, decision=decision)

    def _work(self) -> None:
        _use_one_thread()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._is_short())
                if self._closed:
                    return
                version, out_of_turn = self._newest, self._out_of_turn
                known, ended = list(self._history), self._ended
                if self._version == version:
                    known += [pending_trial(p, len(known) + i) for i, p in enumerate(self._ready)]
            proposal: Proposal | None = None
            error: Exception | None = None
            try:
                proposal = self._made_from(self._propose, known, ended)
            except Exception as failure:  # recorded in the decision of whoever answers instead
                error = failure
            with self._changed:
                if out_of_turn != self._out_of_turn:
                    continue  # it could be the very one that was taken meanwhile
                if proposal is None and version != self._newest:
                    continue  # with the newer history the sampler may succeed
                if proposal is not None:
                    if self._version != version:
                        self._ready.clear()
                        self._version = version
                    self._ready.append(proposal)
                self._error = error
            self._on_ready()

    @staticmethod
    def _made_from(propose: Propose, known: Sequence[TrialRecord], ended: int) -> Proposal:
        proposal = propose(known)
        pending = len(known) - ended
        decision = replace(proposal.decision, seen_ended=ended, seen_pending=pending)
        return replace(proposal, decision=decision)

    def _is_short(self) -> bool:
        if self._newest == 0 or self._error is not None:
            return False
        return self._version != self._newest or len(self._ready) < self._depth

    def close(self) -> None:
        """End the thread; a proposal that is being made is waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # An interpreter that exits while torch computes in another thread is aborted.
        self._thread.join()


def _use_one_thread() -> None:
    """Keep the Gaussian process of this thread off the cores that trials use."""
    import numpy  # noqa: F401  its threads are meant; Optuna itself limits torch's
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
