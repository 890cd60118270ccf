"""Starts attempts: finds a device and a configuration, and hands both to the executor."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from ..tools import checkpoints
from ..tools.executors.protocol import TrialExecutor
from ..tools.leases import Lease, Leases
from ..tools.objective import build_request
from ..tools.records import TrialRecord, to_json
from ..tools.workspace import Workspace
from ..tools.writer import Writer
from .attempts import Run
from .blanks import Blanks
from .classical import Proposal
from .history import History
from .keeping import Keeper
from .limits import Policy
from .placement import Placement
from .proposals import ProposalQueue


class Starter:
    """Starts one attempt at a time; a lease that a proposal is not ready for yet is kept."""

    def __init__(
        self,
        writer: Writer,
        executor: TrialExecutor,
        leases: Leases,
        placement: Placement,
        proposals: ProposalQueue,
        keeper: Keeper,
        history: History,
        workspace: Workspace,
        policy: Policy,
    ) -> None:
        """Put the parts together."""
        self._writer = writer
        self._clock = writer.clock
        self._executor = executor
        self._leases = leases
        self._placement = placement
        self._proposals = proposals
        self._keeper = keeper
        self._history = history
        self._workspace = workspace
        self._policy = policy
        self._blanks = Blanks(workspace.study_folder(writer.study.name) / "blank", leases.slots)
        self._spare: Lease | None = None
        self._asked_at: float | None = None
        self._patience_ends = math.inf

    @property
    def is_thinking(self) -> bool:
        """Whether a free device waits for a proposal."""
        return self._asked_at is not None

    def seconds_left(self) -> float:
        """Return for how many seconds a free device goes on waiting, infinite if none does."""
        left = self._patience_ends - self._clock.monotonic()
        return left if left > 0.0 else math.inf

    def start_waiting(self, trial: TrialRecord) -> Run | None:
        """Start another attempt at a trial; None if there is no device for it now."""
        folder = self._folder(trial.number, len(trial.attempts) + 1)
        lease = self._placement.place(trial, folder)
        if lease is None:
            return None
        expected = self._history.expected_seconds or 0.0
        trial = self._writer.add_attempt(trial, lease.name, expected)
        self._history.put(trial)
        return self._start(trial, lease, expected)

    def start_new(self) -> Run | None:
        """Start a new trial; None if there is no device or no proposal for it now."""
        number = len(self._history.trials)
        lease = self._spare or self._placement.place(None, self._folder(number, 1))
        if lease is None:
            return None
        self._spare = lease
        proposal = self._take_proposal()
        if proposal is None:
            return None
        self._spare = None
        expected = self._history.expected_seconds or 0.0
        trial = self._writer.add_trial(
            number, proposal.configuration, proposal.decision, lease.name, expected
        )
        self._history.add(trial)
        return self._start(trial, lease, expected)

    def _take_proposal(self) -> Proposal | None:
        """Return a proposal if there is one, or if waiting for a better one took too long."""
        now = self._clock.monotonic()
        self._asked_at = now if self._asked_at is None else self._asked_at
        share = self._policy.patience_share * (self._history.expected_seconds or 1.0)
        patience = min(self._policy.patience_seconds, share)
        proposal = self._proposals.take(now - self._asked_at, patience)
        if proposal is not None:
            self._asked_at, self._patience_ends = None, math.inf
        else:
            self._patience_ends = self._asked_at + patience
        return proposal

    def _start(self, trial: TrialRecord, lease: Lease, reserved: float) -> Run:
        study, number = self._writer.study, trial.attempts[-1].number
        folder = self._folder(trial.number, number)
        if number == 1:
            if folder.parent.exists():  # of a study in a ledger that was deleted
                shutil.rmtree(folder.parent)
            self._blanks.become(folder.parent)
        else:
            folder.mkdir()
            checkpoints.prepare(self._keeper.folder(trial))
        (folder / "config.json").write_text(to_json(trial.configuration), encoding="utf-8")
        request = build_request(
            study.spec,
            study_folder=self._workspace.study_folder(study.name),
            attempt_folder=folder,
            working_directory=study.working_directory,
            configuration=trial.configuration,
            trial=trial.number,
            attempt=number,
            lease=lease,
            limit_seconds=study.spec.budget.trial_seconds,
            seed=trial.seed,
        )
        handle = self._executor.submit(request)
        return Run(trial, lease, handle, reserved)

    def _folder(self, trial: int, attempt: int) -> Path:
        return self._workspace.attempt_folder(self._writer.study.name, trial, attempt)

    def get_ready(self) -> None:
        """Do what can be done for the next trials before there is a device for them."""
        self._blanks.fill()

    def close(self) -> None:
        """Leave nothing of trials that did not come."""
        self._blanks.clear()

    def stand_down(self) -> None:
        """Give back a lease that waits for a proposal."""
        if self._spare is not None:
            self._leases.release(self._spare)
        self._spare = self._asked_at = None
        self._patience_ends = math.inf
