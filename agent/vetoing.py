"""Proposals that cannot fit into memory are vetoed, and the optimiser learns from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ..tools.feasibility import Need
from ..tools.outcomes import Outcome
from ..tools.records import Decision, TrialRecord, Veto
from ..tools.space import Configuration
from .classical import Proposal
from .proposals import Propose

_MOST_VETOES = 20
"""For one trial; a space of which nothing fits shows itself by trials that run out of memory."""


class Vetoing:
    """Proposes what fits; a veto looks like a trial that ran out of memory to who proposes next.

    Used by one thread.
    """

    def __init__(
        self,
        propose: Propose,
        estimate: Callable[[Configuration], Need | None],
        decisions: Iterable[Decision] = (),
    ) -> None:
        """Put it together.

        Args:
            propose: Chooses configurations.
            estimate: Tells what one needs at least; None if it is not known.
            decisions: Why the trials so far were chosen; their vetoes are remembered.
        """
        self._propose = propose
        self._estimate = estimate
        self._vetoes = [veto for decision in decisions for veto in decision.vetoes]

    def __call__(self, trials: Sequence[TrialRecord]) -> Proposal:
        """Choose the next configuration; see `classical.propose`."""
        begun, vetoes = time.perf_counter(), list[Veto]()
        while True:
            proposal = self._propose([*trials, *self._as_failures(len(trials))])
            need = self._estimate(proposal.configuration)
            if need is None or need.fits or len(vetoes) == _MOST_VETOES:
                break
            vetoes.append(Veto(proposal.configuration, proposal.decision.source, need.bytes))
            self._vetoes.append(vetoes[-1])
        decision = replace(
            proposal.decision,
            memory_bytes=None if need is None else need.bytes,
            vetoes=tuple(vetoes),
            seconds=time.perf_counter() - begun,
        )
        return replace(proposal, decision=decision)

    def _as_failures(self, first: int) -> list[TrialRecord]:
        return [
            TrialRecord(
                id=-1,
                number=first + place,
                state=Outcome.OUT_OF_MEMORY,
                reason="vetoed",
                configuration=veto.configuration,
                metrics={},
                source=veto.source,
                created_at=0.0,
                finished_at=0.0,
                curves={},
            )
            for place, veto in enumerate(self._vetoes)
        ]
