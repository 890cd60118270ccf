"""Proposals prepared ahead, while trials run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..tools.records import TrialRecord
from .classical import Proposal

Propose = Callable[[Sequence[TrialRecord]], Proposal]

_ASK_SECONDS = 20.0


class ProposalQueue:
    """One proposal, made by a thread of its own from the newest history it was given."""

    def __init__(
        self, propose: Propose, fallback: Propose, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        """Start the thread.

        Args:
            propose: Makes a proposal; may take seconds.
            fallback: Answers at once when `propose` takes too long or fails.
            on_ready: Called, in the queue's thread, when there is something to take.
        """
        self._propose = propose
        self._fallback = fallback
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._history: Sequence[TrialRecord] = ()
        self._newest = 0
        self._begun = 0
        self._taken = 0
        self._ready: tuple[int, Proposal] | None = None
        self._error: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="proposals", daemon=True)
        self._thread.start()

    def prepare(self, trials: Sequence[TrialRecord]) -> None:
        """Ask for a proposal that has seen this history."""
        with self._changed:
            self._newest += 1
            self._history = list(trials)
            self._changed.notify_all()

    def take(self, waited: float, patience: float) -> Proposal | None:
        """Return a proposal that has not been taken yet, None to go on waiting.

        One that has seen the newest history is returned at once; an older one only after
        `patience`. Where there is none at all, the fallback answers, after a longer wait or when
        the sampler has failed. `prepare` must follow before the next one can be taken.

        Args:
            waited: Seconds that have been waited so far.
            patience: Seconds to wait for a fresher proposal.
        """
        with self._changed:
            fresh = self._ready is not None and self._ready[0] == self._newest
            stale = self._ready is not None and waited >= patience
            failed = self._error is not None or waited >= max(patience, _ASK_SECONDS)
            if not (fresh or stale or failed):
                return None
            ready, error, trials = self._ready, self._error, self._history
            self._ready = self._error = None
            self._taken = self._newest
        if ready is not None:
            _, proposal = ready
            decision = replace(proposal.decision, deadline_missed=not fresh)
            return replace(proposal, decision=decision)
        why = f"failed: {error}" if error is not None else f"took over {_ASK_SECONDS:.0f} s"
        proposal = self._fallback(trials)
        reason = f"{proposal.decision.reason}; the sampler {why}"
        decision = replace(proposal.decision, reason=reason, deadline_missed=True)
        return replace(proposal, decision=decision)

    def _work(self) -> None:
        _use_one_thread()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._newest > self._begun)
                if self._closed:
                    return
                self._begun = version = self._newest
                trials = self._history
            ready: tuple[int, Proposal] | None = None
            error: Exception | None = None
            try:
                ready = (version, self._propose(trials))
            except Exception as failure:  # recorded in the decision of whoever answers instead
                error = failure
            with self._changed:
                # One that has not seen the trial last taken could be that trial again.
                if version > self._taken:
                    self._ready, self._error = ready, error
            self._on_ready()

    def close(self) -> None:
        """End the thread; a proposal that is being made is waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # An interpreter that exits while torch computes in another thread is aborted.
        self._thread.join()


def _use_one_thread() -> None:
    """Keep the Gaussian process of this thread off the cores that trials use."""
    import torch

    torch.set_num_threads(1)
