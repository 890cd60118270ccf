"""The loop of a study: ask, check, reserve, launch, watch, prune, tell, record.

It alone decides what happens to trials, and writes every step to the ledger before the next, so
that a worker that dies at any instant leaves a study which another one continues.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ..tools import checkpoints
from ..tools.budget import Meters, expected_trial_seconds, read_meters
from ..tools.devices import Slot
from ..tools.executors.protocol import TrialExecutor
from ..tools.ledger import Ledger
from ..tools.metrics import Report
from ..tools.objective import build_request
from ..tools.optuna_bridge import PruningView
from ..tools.outcomes import Evidence, Outcome, StopReason, Verdict
from ..tools.records import StudyState, TrialRecord, Wish, continued, to_json
from ..tools.spec import SpecError, StudySpec
from ..tools.study import with_budget
from ..tools.workspace import Workspace
from ..tools.writer import Writer
from .attempts import Prospects, Run
from .classical import Proposal
from .proposals import ProposalQueue
from .retries import reopen


@dataclass(frozen=True)
class Policy:
    """The limits of the loop."""

    most_attempts: int = 3
    """Attempts at a trial before a failing machine counts against it."""
    hopeless: int = 5
    """Trials that fail alike, with none complete, before the study halts."""
    patience_share: float = 0.02
    """Share of the median trial time (1 s before the first) that a free slot waits for a fresher
    proposal."""
    patience_seconds: float = 5.0
    """The most that it waits, in seconds; infinite in evals."""
    free_bytes: int = 64 << 20
    """Free space on the disk below which no trial is started."""
    poll_seconds: float = 0.5
    """How often wishes and limits are looked at when nothing else happens."""


OnTrial = Callable[[TrialRecord], None]


class Ending(NamedTuple):
    """The state that a run of a study ends in, and why."""

    state: StudyState
    reason: str


class Tuner:
    """Runs one study to its end, its budget's end, or until it is told to stop."""

    def __init__(
        self,
        ledger: Ledger,
        writer: Writer,
        executor: TrialExecutor,
        slots: Sequence[Slot],
        proposals: ProposalQueue,
        workspace: Workspace,
        policy: Policy = Policy(),
        on_trial: OnTrial | None = None,
    ) -> None:
        """Put the parts together; nothing starts before `run`."""
        self._ledger = ledger
        self._writer = writer
        self._executor = executor
        self._slots = {slot.name: slot for slot in slots}
        self._free = list(slots)
        self._proposals = proposals
        self._workspace = workspace
        self._policy = policy
        self._on_trial = on_trial or (lambda _: None)
        self._name = writer.study.name
        self._trials: list[TrialRecord] = []
        self._running: dict[int, Run] = {}
        self._ending: Ending | None = None
        self._paused = False
        self._asked_at: float | None = None
        self._patience_ends: float | None = None
        self._interrupts = 0
        self._space_size = self._spec.search_space.size()
        self._prospects = Prospects(self._name, self._spec.objectives, policy.hopeless)
        self._wall_before = writer.study.wall_seconds
        self._wall_since: float | None = None

    @property
    def _spec(self) -> StudySpec:
        return self._writer.study.spec

    def run(self) -> Ending:
        """Run the study until it ends, and return how."""
        self._wall_since = time.monotonic()
        self._recover()
        self._writer.set_state("running")
        while True:
            self._collect()
            self._obey()
            self._launch()
            if self._ending is not None and not self._running:
                break
            self._executor.wait(self._seconds_to_wait())
        self._writer.set_state(*self._ending)
        return self._ending

    def interrupt(self) -> None:
        """Stop the study; a second time kills its trials without grace. For signal handlers."""
        self._interrupts += 1
        self._executor.wake()

    def wall_seconds(self) -> float:
        """Return how long the study has run in all, pauses left out."""
        since = self._wall_since
        return self._wall_before + (time.monotonic() - since if since is not None else 0.0)

    def _recover(self) -> None:
        """Take over what another worker left: its trials go on, or are told how they ended."""
        self._trials = self._ledger.trials(self._writer.study, curves=True)
        if any(trial.state is Outcome.COMPLETE for trial in self._trials):
            self._prospects.learn(Outcome.COMPLETE)
        self._view = PruningView(self._spec, self._trials)
        for trial in self._trials:
            if trial.state != "running":
                continue
            attempt = trial.attempts[-1]
            folder = self._workspace.attempt_folder(self._name, trial.number, attempt.number)
            folder.mkdir(parents=True, exist_ok=True)
            slot = self._slots.get(attempt.slot, Slot(attempt.slot, {}))
            if slot in self._free:
                self._free.remove(slot)
            handle = self._executor.adopt(folder)
            self._running[trial.number] = Run(trial, slot, handle, 0.0, adopted=True)
            self._writer.note("adopted", trial.number, attempt=attempt.number)
        self._prepare()

    def _obey(self) -> None:
        for wish in self._writer.wishes():
            self._grant(wish)
            self._writer.handled(wish)
        if self._interrupts:
            self._stop("interrupted", at_once=self._interrupts > 1)
        overrun = self._meters().overrun()
        if overrun is not None:
            for run in self._running.values():
                self._end_trial(run, overrun)

    def _grant(self, wish: Wish) -> None:
        match wish.kind:
            case "pause":
                self._pause(f"paused by {wish.author}")
            case "resume":
                self._resume(wish)
            case "stop":
                self._stop(f"stopped by {wish.author}", at_once=bool(wish.data.get("at_once")))
            case "stop_trial":
                run = self._running.get(wish.data.get("trial", -1))
                if run is not None:
                    self._end_trial(run, f"stopped by {wish.author}")
            case "retry":
                for trial in reopen(self._writer, self._trials, wish, self._workspace):
                    self._trials[trial.number] = trial
                    self._view.add(trial)
                self._prepare()

    def _resume(self, wish: Wish) -> None:
        if "budget" in wish.data:
            try:
                self._writer.change_budget(with_budget(self._spec, wish.data["budget"]))
            except SpecError as error:
                self._writer.note("refused", wish=wish.kind, author=wish.author, reason=str(error))
        if self._paused:
            self._paused = False
            self._wall_since = time.monotonic()
            self._writer.set_state("running")
        if self._ending is not None and self._ending.state == "stopped" and not self._interrupts:
            self._ending = None  # its trials wait, and are run again as soon as they have ended
        self._prepare()

    def _pause(self, reason: str) -> None:
        if not self._paused:
            self._wall_before, self._wall_since = self.wall_seconds(), None
            self._paused = True
            self._writer.set_state("paused", reason)

    def _stop(self, reason: str, *, at_once: bool = False) -> None:
        """End the run; trials that have to be broken off wait for the next one."""
        if self._ending is None:
            self._ending = Ending("stopped", reason)
        self._break_off(at_once=at_once)

    def _halt(self, reason: str) -> None:
        self._ending = Ending("halted", reason)
        self._break_off()

    def _break_off(self, *, at_once: bool = False) -> None:
        for run in self._running.values():
            self._executor.stop(run.handle, StopReason.STOP, at_once=at_once)

    def _end_trial(self, run: Run, reason: str) -> None:
        if run.ended_for is None:
            run.ended_for = reason
            self._executor.stop(run.handle, StopReason.STOP)

    def _collect(self) -> None:
        ended = 0
        for run in list(self._running.values()):
            evidence = self._executor.ended(run.handle)  # before its last reports are read
            self._observe(run)
            if evidence is not None:
                self._settle(run, evidence)
                ended += 1
        if ended:
            self._prepare()

    def _observe(self, run: Run) -> None:
        while reports := self._executor.reports(run.handle):
            self._writer.record_reports(run.trial.attempts[-1].id, reports)
            for report in reports:
                self._note(run, report)

    def _note(self, run: Run, report: Report) -> None:
        """Take in one report, and stop the trial if it diverged or is not worth going on."""
        run.values.update(report.metrics)
        if report.step is None:
            return
        for name, value in report.metrics.items():
            run.curves.setdefault(name, {}).setdefault(report.step, value)
        objectives = self._spec.objectives
        values = [report.metrics[name] for name in objectives if name in report.metrics]
        if any(not math.isfinite(value) for value in values):
            self._executor.stop(run.handle, StopReason.DIVERGED)
        elif values and len(objectives) == 1:
            prune = self._view.should_prune(run.trial.number, report.step, values[0])
            if prune and not run.promoted:
                self._executor.stop(run.handle, StopReason.PRUNE)

    def _settle(self, run: Run, evidence: Evidence) -> None:
        """Record an attempt's end, free its slot, and learn whether it makes sense to go on."""
        verdict = run.verdict(evidence, self._spec.objectives)
        again = run.may_run_again(verdict, evidence, self._policy.most_attempts)
        trial = self._writer.finish_attempt(
            run.trial,
            verdict,
            metrics=run.values,
            seconds=run.seconds(evidence),
            peak_bytes=evidence.peak_bytes,
            error_tail=evidence.error_tail,
            again=again,
        )
        trial = replace(trial, curves=continued(run.trial.curves or {}, run.curves))
        self._trials[trial.number] = trial
        del self._running[trial.number]
        if run.slot.name in self._slots:
            self._free.append(run.slot)
        if not again:
            self._view.finish(trial)
            self._on_trial(trial)
            for needless in checkpoints.superseded(self._spec, self._trials, trial):
                checkpoints.discard(self._checkpoint_folder(needless))
            self._prospects.learn(verdict.outcome)
            reason = self._prospects.reason_to_halt(run, verdict, evidence)
            if reason is not None and self._ending is None:
                self._halt(reason)

    def _launch(self) -> None:
        while self._free and not self._paused and self._ending is None:
            waiting = next((trial for trial in self._trials if trial.state == "waiting"), None)
            if waiting is not None and not self._may_go_on(waiting):
                continue
            expected = expected_trial_seconds(self._trials)
            refusal = self._meters().refusal(expected, new_trial=waiting is None)
            if refusal is None and waiting is None:
                refusal = self._exhaustion()
            if refusal is not None:
                if not self._running:
                    self._finish(refusal)
                return
            if not self._has_space():
                return
            if waiting is not None:
                slot = self._free.pop(0)
                trial = self._writer.add_attempt(waiting, slot.name, expected or 0.0)
                self._trials[trial.number] = trial
            else:
                proposal = self._take_proposal(expected)
                if proposal is None:
                    return
                slot = self._free.pop(0)
                trial = self._writer.add_trial(
                    len(self._trials),
                    proposal.configuration,
                    proposal.decision,
                    slot.name,
                    expected or 0.0,
                )
                self._trials.append(trial)
                self._view.add(trial)
            self._start(trial, slot, expected or 0.0)

    def _may_go_on(self, trial: TrialRecord) -> bool:
        """Tell whether a waiting trial's checkpoint is its own; if not, the trial is ended."""
        folder = self._checkpoint_folder(trial)
        if not checkpoints.belongs_to_another(folder, trial.configuration):
            return True
        self._give_up(
            trial,
            f"the checkpoint in {str(folder)!r} belongs to another configuration; start over with "
            f"`luthier retry {self._name} --trial {trial.number} --fresh`",
        )
        return False

    def _exhaustion(self) -> str | None:
        """Return why no new configuration is left, None if there are more."""
        if self._space_size is None or len(self._trials) < self._space_size:
            return None
        space = self._spec.search_space
        tried = {tuple(space.encode(c)) for trial in self._trials for c in trial.configurations}
        if len(tried) < self._space_size:
            return None
        return f"all {self._space_size} configurations of the space are tried"

    def _prepare(self) -> None:
        if self._ending is None and self._meters().trials.left >= 1:
            self._proposals.prepare(self._trials)

    def _take_proposal(self, expected: float | None) -> Proposal | None:
        """Return a proposal if there is one, or if waiting for a better one took too long."""
        now = time.monotonic()
        self._asked_at = self._asked_at or now
        share = self._policy.patience_share * (expected or 1.0)
        patience = min(self._policy.patience_seconds, share)
        proposal = self._proposals.take(now - self._asked_at, patience)
        if proposal is not None:
            self._asked_at = self._patience_ends = None
        else:
            self._patience_ends = self._asked_at + patience
        return proposal

    def _start(self, trial: TrialRecord, slot: Slot, reserved: float) -> None:
        number = trial.attempts[-1].number
        folder = self._workspace.attempt_folder(self._name, trial.number, number)
        if number == 1 and folder.parent.exists():  # of a study in a ledger that was deleted
            shutil.rmtree(folder.parent)
        folder.mkdir(parents=True)
        checkpoints.prepare(self._checkpoint_folder(trial))
        (folder / "config.json").write_text(to_json(trial.configuration), encoding="utf-8")
        request = build_request(
            self._spec,
            study_folder=self._workspace.study_folder(self._name),
            attempt_folder=folder,
            working_directory=self._writer.study.working_directory,
            configuration=trial.configuration,
            trial=trial.number,
            attempt=number,
            slot_environment=slot.environment,
            limit_seconds=self._spec.budget.trial_seconds,
        )
        handle = self._executor.submit(request)
        self._running[trial.number] = Run(trial, slot, handle, reserved)

    def _has_space(self) -> bool:
        free = shutil.disk_usage(self._workspace.folder).free
        if free < self._policy.free_bytes:
            self._pause(
                f"only {free >> 20} MiB are free on the disk of {str(self._workspace.folder)!r}; "
                f"free some, then `luthier resume {self._name}`"
            )
            return False
        return True

    def _finish(self, reason: str) -> None:
        """End the study; what still waits for another attempt will not get one."""
        for trial in self._trials:
            if trial.state == "waiting":
                self._give_up(trial, reason)
        self._ending = Ending("finished", reason)

    def _give_up(self, trial: TrialRecord, reason: str) -> None:
        """End a waiting trial that gets no further attempt; one that had ended ends as it did."""
        verdict = Verdict(Outcome.KILLED, reason)
        for last in trial.attempts[-1:]:  # one that was taken over may have none
            trial = replace(trial, configuration=last.configuration)
            if last.outcome not in (None, Outcome.KILLED, Outcome.INFRASTRUCTURE):
                verdict = Verdict(last.outcome, last.reason)
        ended = self._writer.end_waiting(trial, verdict)
        self._trials[trial.number] = ended
        self._view.finish(ended)
        self._on_trial(ended)

    def _checkpoint_folder(self, trial: TrialRecord) -> Path:
        return self._workspace.checkpoint_folder(self._name, trial.number)

    def _meters(self) -> Meters:
        spent, _ = self._ledger.spending(self._writer.study, "device_seconds")
        runs = self._running.values()
        return read_meters(
            self._spec,
            trials=sum(not trial.imported for trial in self._trials),
            wall_seconds=self.wall_seconds(),
            device_spent=spent + sum(run.elapsed for run in runs),
            device_reserved=sum(max(0.0, run.reserved - run.elapsed) for run in runs),
        )

    def _seconds_to_wait(self) -> float:
        poll = self._policy.poll_seconds
        left = (self._patience_ends or 0.0) - time.monotonic()
        return min(poll, left) if left > 0.0 else poll
