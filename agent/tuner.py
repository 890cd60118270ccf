"""The loop of a study: ask, check, reserve, launch, watch, prune, tell, record.

It alone decides what happens to trials, and writes every step to the ledger before the next, so
that a worker that dies at any instant leaves a study which another one continues.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ..tools import checkpoints
from ..tools.budget import Meters, read_meters
from ..tools.executors.protocol import TrialExecutor
from ..tools.leases import Lease, Leases
from ..tools.ledger import Ledger
from ..tools.metrics import Report
from ..tools.objective import build_request
from ..tools.outcomes import Evidence, Outcome, StopReason, Verdict
from ..tools.pruning import Pruning, make_pruning
from ..tools.records import StudyState, TrialRecord, Wish, continued, to_json
from ..tools.spec import SpecError, StudySpec
from ..tools.study import with_budget
from ..tools.workspace import Workspace
from ..tools.writer import Writer
from .attempts import Prospects, Run
from .classical import Proposal
from .history import History
from .placement import Placement
from .proposals import ProposalQueue
from .retries import reopen

_TICK = 0.001
"""Seconds that limits are exact to."""


@dataclass(frozen=True)
class Policy:
    """The limits of the loop."""

    most_attempts: int = 3
    """Attempts at a trial before a failing machine counts against it."""
    hopeless: int = 5
    """Trials that fail alike, with none complete, before the study halts."""
    hopeless_later: int = 10
    """Trials in a row that fail alike, after others that worked, before the study halts."""
    patience_share: float = 0.02
    """Share of the median trial time (1 s before the first) that a free device waits for a fresher
    proposal."""
    patience_seconds: float = 5.0
    """The most that it waits, in seconds; with both infinite, as in evals, it always waits."""
    silence_factor: float = 5.0
    """How many times the longest complete trial one may be silent, where the spec sets no limit."""
    least_silence_seconds: float = 600.0
    """Shorter silences than this are never taken for a hang, where the spec sets no limit."""
    free_bytes: int = 64 << 20
    """Free space on the disk below which no trial is started."""
    poll_seconds: float = 0.5
    """How often wishes are looked at when nothing else happens, in real seconds."""


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
        leases: Leases,
        proposals: ProposalQueue,
        workspace: Workspace,
        policy: Policy = Policy(),
        on_trial: OnTrial | None = None,
    ) -> None:
        """Put the parts together; nothing starts before `run`. The writer's clock is the loop's."""
        self._ledger = ledger
        self._writer = writer
        self._clock = writer.clock
        self._executor = executor
        self._leases = leases
        self._proposals = proposals
        self._workspace = workspace
        self._policy = policy
        self._on_trial = on_trial or (lambda _: None)
        self._name = writer.study.name
        self._running: dict[int, Run] = {}
        self._spare: Lease | None = None
        """A lease that waits for a proposal."""
        self._ending: Ending | None = None
        self._paused = False
        self._asked_at: float | None = None
        self._patience_ends: float | None = None
        self._looked_at = -math.inf
        """When wishes were looked for, in real seconds."""
        self._kept: set[int] = set()
        """Complete trials whose checkpoints are kept."""
        self._interrupts = 0
        self._space_size = self._spec.search_space.size()
        self._prospects = Prospects(
            self._name, self._spec.objectives, policy.hopeless, policy.hopeless_later
        )
        self._wall_before = writer.study.wall_seconds
        self._wall_since: float | None = None

    @property
    def _spec(self) -> StudySpec:
        return self._writer.study.spec

    def run(self) -> Ending:
        """Run the study until it ends, and return how."""
        self._wall_since = self._clock.monotonic()
        self._recover()
        self._writer.set_state("running")
        while True:
            self._collect()
            self._obey()
            self._launch()
            if self._ending is not None and not self._running:
                break
            thinking = self._asked_at is not None
            self._executor.wait(self._policy.poll_seconds, self._deadline(), thinking=thinking)
        self._writer.set_state(*self._ending)
        return self._ending

    def interrupt(self) -> None:
        """Stop the study; a second time kills its trials without grace. For signal handlers."""
        self._interrupts += 1
        self._executor.wake()

    def wall_seconds(self) -> float:
        """Return how long the study has run in all, pauses left out."""
        since = self._wall_since
        return self._wall_before + (self._clock.monotonic() - since if since is not None else 0.0)

    def _recover(self) -> None:
        """Take over what another worker left: its trials go on, or are told how they ended."""
        trials = self._ledger.trials(self._writer.study, curves=True)
        if any(trial.state is Outcome.COMPLETE for trial in trials):
            self._prospects.learn(Outcome.COMPLETE)
        self._pruning: Pruning = make_pruning(self._spec, trials)
        spent, _ = self._ledger.spending(self._writer.study, "device_seconds")
        self._history = History(trials, spent)
        self._placement = Placement(self._leases, self._writer, self._history)
        kept = (t for t in trials if not checkpoints.is_empty(self._checkpoints(t)))
        self._kept = {trial.number for trial in kept if trial.state is Outcome.COMPLETE}
        latest = self._ledger.latest_reports(self._writer.study)
        for trial in trials:
            if trial.state == "running":
                self._adopt(trial, latest.get(trial.number, {}))
        self._exonerate()
        self._prepare()

    def _adopt(self, trial: TrialRecord, latest: Mapping[str, tuple[int, float]]) -> None:
        attempt = trial.attempts[-1]
        folder = self._workspace.attempt_folder(self._name, trial.number, attempt.number)
        folder.mkdir(parents=True, exist_ok=True)
        lease = self._leases.adopt(attempt.slot, folder)
        handle = self._executor.adopt(folder)
        run = Run(trial, lease, handle, 0.0, adopted=True, ended_for=attempt.ended_for)
        # What the ledger holds of this attempt has been judged already.
        run.curves = {
            name: {
                step: value for step, value in (trial.curves or {})[name].items() if step <= last
            }
            for name, (last, _) in latest.items()
        }
        self._running[trial.number] = run
        self._writer.note("adopted", trial.number, attempt=attempt.number)
        if attempt.stop_reason is not None:
            self._executor.stop(handle, attempt.stop_reason)

    def _obey(self) -> None:
        if time.monotonic() - self._looked_at >= self._policy.poll_seconds:
            self._looked_at = time.monotonic()
            for wish in self._writer.wishes():
                self._grant(wish)
                self._writer.handled(wish)
        if self._interrupts:
            self._stop("interrupted", at_once=self._interrupts > 1)
        overrun = self._meters().overrun()
        silence, now = self._silence(), self._clock.monotonic()
        for run in self._running.values():
            if overrun is not None:
                self._end_trial(run, overrun)
            elif now - run.handle.heard_at >= silence - _TICK:
                self._ask_to_stop(run, StopReason.SILENCE)

    def _silence(self) -> float:
        """Return after how many seconds without a report a trial counts as hung."""
        if self._spec.budget.silence_seconds is not None:
            return self._spec.budget.silence_seconds
        longest = self._history.longest
        if longest == 0.0:
            return math.inf
        return max(self._policy.least_silence_seconds, self._policy.silence_factor * longest)

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
                trials = self._history.trials
                self._run_again(reopen(self._writer, trials, wish, self._workspace))

    def _run_again(self, trials: Sequence[TrialRecord]) -> None:
        for trial in trials:
            self._history.put(trial)
            self._pruning.add(trial)
        self._prepare()

    def _resume(self, wish: Wish) -> None:
        if "budget" in wish.data:
            try:
                self._writer.change_budget(with_budget(self._spec, wish.data["budget"]))
            except SpecError as error:
                self._writer.note("refused", wish=wish.kind, author=wish.author, reason=str(error))
        if self._paused:
            self._paused = False
            self._wall_since = self._clock.monotonic()
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
            self._ask_to_stop(run, StopReason.STOP)

    def _ask_to_stop(self, run: Run, reason: StopReason) -> None:
        """Stop an attempt, also if this worker dies before it has asked."""
        if run.handle.stop_asked is None:
            self._writer.note_stop(run.trial, reason, run.ended_for)
        self._executor.stop(run.handle, reason)

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
            wanted = [self._judge(run, report) for report in reports]
            stop = next((reason for reason in wanted if reason is not None), None)
            if run.handle.stop_asked is not None:
                stop = None
            # In one transaction: what is recorded has been judged, whoever goes on from there.
            self._writer.record_reports(run.trial, reports, stop)
            if stop is not None:
                self._executor.stop(run.handle, stop)

    def _judge(self, run: Run, report: Report) -> StopReason | None:
        """Take in one report; return why the trial is to stop for it, if it diverged or lags."""
        run.values.update(report.metrics)
        if report.step is None:
            return None
        news = {}
        for name, value in report.metrics.items():
            curve = run.curves.setdefault(name, {})
            if report.step not in curve:
                curve[report.step] = news[name] = value
        objectives = self._spec.objectives
        values = [news[name] for name in objectives if name in news]
        if any(not math.isfinite(value) for value in values):
            return StopReason.DIVERGED
        if values and len(objectives) == 1:
            prune = self._pruning.should_prune(run.trial.number, report.step, values[0])
            if prune and not run.promoted:
                return StopReason.PRUNE
        return None

    def _settle(self, run: Run, evidence: Evidence) -> None:
        """Record an attempt's end, free its devices, and learn whether it makes sense to go on."""
        verdict = run.verdict(evidence, self._spec.objectives)
        again = run.may_run_again(verdict, evidence, self._policy.most_attempts)
        again = again or self._placement.is_suspect(run, verdict)
        trial = self._writer.finish_attempt(
            run.trial,
            verdict,
            metrics=run.values,
            seconds=run.seconds(evidence, self._clock.time()),
            peak_bytes=evidence.peak_bytes,
            error_tail=evidence.error_tail,
            again=again,
        )
        trial = replace(trial, curves=continued(run.trial.curves or {}, run.curves))
        del self._running[trial.number]
        self._leases.release(run.lease)
        self._history.settle(trial)
        if not again:
            self._pruning.finish(trial)
            self._on_trial(trial)
            self._discard_checkpoints(trial)
            self._prospects.learn(verdict.outcome)
            reason = self._prospects.reason_to_halt(run, verdict, evidence)
            if reason is not None and self._ending is None:
                self._halt(reason)
        self._exonerate()

    def _exonerate(self) -> None:
        """Take devices out of service that are at fault; run again what failed only for them."""
        for conviction in self._placement.convictions():
            blamed = [(self._history.trials[e.trial], e.attempt.id) for e in conviction.failures]
            failed = [t for t, last in blamed if t.is_finished and t.attempts[-1].id == last]
            if failed:
                self._run_again([self._writer.reopen(t, t.configuration) for t in failed])
            # Last, so that if this worker dies before, the next one comes to the same verdict.
            self._placement.take_out(conviction)

    def _discard_checkpoints(self, trial: TrialRecord) -> None:
        """Delete the checkpoints of complete trials that are not, or not any more, the best."""
        if trial.state is Outcome.COMPLETE and not checkpoints.is_empty(self._checkpoints(trial)):
            self._kept.add(trial.number)
        needless = checkpoints.superseded(self._spec, self._history.trials, self._kept)
        for number in needless:
            checkpoints.discard(self._checkpoints(self._history.trials[number]))
        self._kept -= needless

    def _checkpoints(self, trial: TrialRecord) -> Path:
        return self._workspace.checkpoint_folder(self._name, trial.number)

    def _launch(self) -> None:
        while not self._paused and self._ending is None:
            expected = self._history.expected_seconds
            if not self._start_waiting(expected) and not self._start_new(expected):
                return
        if self._spare is not None:
            self._leases.release(self._spare)
        self._spare = self._asked_at = self._patience_ends = None

    def _start_waiting(self, expected: float | None) -> bool:
        """Start the first of the waiting trials that there is a device for; tell whether one."""
        waiting = self._history.waiting()
        if not waiting:
            return False
        refusal = self._meters().refusal(expected, new_trial=False)
        if refusal is not None:
            if not self._running:
                self._finish(refusal)
            return False
        for trial in waiting:
            if not self._may_go_on(trial):
                continue
            lease = self._lease(trial)
            if lease is not None:
                trial = self._writer.add_attempt(trial, lease.name, expected or 0.0)
                self._history.put(trial)
                self._start(trial, lease, expected or 0.0)
                return True
        return False

    def _may_go_on(self, trial: TrialRecord) -> bool:
        """Tell whether a waiting trial's checkpoint is its own; if not, the trial is ended."""
        folder = self._checkpoints(trial)
        if not checkpoints.belongs_to_another(folder, trial.configuration):
            return True
        self._give_up(
            trial,
            f"the checkpoint in {str(folder)!r} belongs to another configuration; start over with "
            f"`luthier retry {self._name} --trial {trial.number} --fresh`",
        )
        return False

    def _start_new(self, expected: float | None) -> bool:
        """Start a new trial, if the budget, a device and a proposal are there; tell whether."""
        if self._ending is not None:
            return False
        refusal = self._meters().refusal(expected, new_trial=True) or self._exhaustion()
        if refusal is not None:
            if not self._running and not self._history.waiting():
                self._finish(refusal)
            return False
        lease = self._lease(None)
        if lease is None:
            return False
        proposal = self._take_proposal(expected)
        if proposal is None:
            self._spare = lease
            return False
        trial = self._writer.add_trial(
            len(self._history.trials),
            proposal.configuration,
            proposal.decision,
            lease.name,
            expected or 0.0,
        )
        self._history.add(trial)
        self._pruning.add(trial)
        self._start(trial, lease, expected or 0.0)
        return True

    def _lease(self, trial: TrialRecord | None) -> Lease | None:
        """Return a lease for a trial; None if there is no device or no disk space for it now."""
        spare = self._spare
        if trial is None and spare is not None:
            self._spare = None
            return spare
        if len(self._running) >= self._leases.slots or not self._has_space():
            return None
        lease = self._placement.place(trial)
        if lease is None and not self._running and self._ending is None:
            self._tell_what_is_missing()
        return lease

    def _tell_what_is_missing(self) -> None:
        """Say whose devices the study waits for; halt it if too few of its own are in service."""
        refusal = self._leases.refusal()
        out = self._leases.standing().out_of_service
        broken = {name: why for name, why in out.items() if name in self._leases.devices}
        left = len(self._leases.devices) - len(broken)
        if left < self._leases.per_trial:
            device, why = next(iter(broken.items()))
            self._halt(
                f"{'too few devices are' if left else 'no device is'} in service: {device} is out "
                f"of it since {why.reason}; mend it, then "
                f"`luthier devices --reset {device}` and `luthier resume {self._name}`"
            )
        elif refusal is not None and self._writer.study.reason != refusal:
            self._writer.set_state("running", refusal)

    def _exhaustion(self) -> str | None:
        """Return why no new configuration is left, None if there are more."""
        trials = self._history.trials
        if self._space_size is None or len(trials) < self._space_size:
            return None
        space = self._spec.search_space
        tried = {tuple(space.encode(c)) for trial in trials for c in trial.configurations}
        if len(tried) < self._space_size:
            return None
        return f"all {self._space_size} configurations of the space are tried"

    def _prepare(self) -> None:
        if self._ending is None and self._meters().trials.left >= 1:
            self._proposals.prepare(self._history.trials)

    def _take_proposal(self, expected: float | None) -> Proposal | None:
        """Return a proposal if there is one, or if waiting for a better one took too long."""
        now = self._clock.monotonic()
        self._asked_at = now if self._asked_at is None else self._asked_at
        share = self._policy.patience_share * (expected or 1.0)
        patience = min(self._policy.patience_seconds, share)
        proposal = self._proposals.take(now - self._asked_at, patience)
        if proposal is not None:
            self._asked_at = self._patience_ends = None
        else:
            self._patience_ends = self._asked_at + patience
        return proposal

    def _start(self, trial: TrialRecord, lease: Lease, reserved: float) -> None:
        if self._writer.study.reason:
            self._writer.set_state("running")
        number = trial.attempts[-1].number
        folder = self._workspace.attempt_folder(self._name, trial.number, number)
        if number == 1 and folder.parent.exists():  # of a study in a ledger that was deleted
            shutil.rmtree(folder.parent)
        folder.mkdir(parents=True)
        checkpoints.prepare(self._checkpoints(trial))
        (folder / "config.json").write_text(to_json(trial.configuration), encoding="utf-8")
        request = build_request(
            self._spec,
            study_folder=self._workspace.study_folder(self._name),
            attempt_folder=folder,
            working_directory=self._writer.study.working_directory,
            configuration=trial.configuration,
            trial=trial.number,
            attempt=number,
            lease=lease,
            limit_seconds=self._spec.budget.trial_seconds,
        )
        self._leases.bind(lease, folder)
        handle = self._executor.submit(request)
        self._running[trial.number] = Run(trial, lease, handle, reserved)

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
        for trial in self._history.waiting():
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
        self._history.put(ended)
        self._pruning.finish(ended)
        self._on_trial(ended)

    def _meters(self) -> Meters:
        now, runs = self._clock.time(), self._running.values()
        return read_meters(
            self._spec,
            trials=self._history.counted,
            wall_seconds=self.wall_seconds(),
            device_spent=self._history.device_seconds + sum(run.elapsed(now) for run in runs),
            device_reserved=sum(max(0.0, run.reserved - run.elapsed(now)) for run in runs),
        )

    def _deadline(self) -> float:
        """Return the seconds until the loop has to act by itself: a limit, or patience's end."""
        now, meters, runs = self._clock.monotonic(), self._meters(), self._running.values()
        handles = [run.handle for run in runs if not run.handle.stop_asked]
        ends = [handle.heard_at + self._silence() - now for handle in handles]
        if self._patience_ends is not None:
            ends.append(self._patience_ends - now)
        if not self._paused and meters.wall_seconds.cap is not None:
            ends.append(meters.wall_seconds.left)
        if runs and meters.device_seconds.cap is not None:
            ends.append((meters.device_seconds.cap - meters.device_seconds.spent) / len(runs))
        # What has passed has been acted upon; clocks are not exact to the microsecond.
        return min((max(end, _TICK) for end in ends if end > -_TICK), default=math.inf)
