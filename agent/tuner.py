"""The loop of a study: ask, check, reserve, launch, watch, prune, tell, record.

It alone decides what happens to trials, and writes every step to the ledger before the next, so
that a worker that dies at any instant leaves a study which another one continues.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..tools import guard
from ..tools.enqueue import EnqueueError, wanted
from ..tools.executors.protocol import TrialExecutor
from ..tools.leases import Leases
from ..tools.ledger import Ledger
from ..tools.outcomes import Evidence, Outcome, StopReason, Verdict
from ..tools.records import AdviceRecord, StudyState, TrialRecord, Wish, continued
from ..tools.reviews import KIND
from ..tools.spec import SpecError, StudySpec
from ..tools.study import with_budget
from ..tools.workspace import Workspace
from ..tools.writer import Writer
from .attempts import Prospects, Run
from .confirming import Confirmer, SearchPruning
from .history import History
from .keeping import Keeper
from .limits import Limits, Policy
from .placement import Placement
from .proposals import ProposalQueue
from .retries import reopen
from .starting import Starter
from .watching import Watcher

if TYPE_CHECKING:
    from .reviewing import Reviewer

OnTrial = Callable[[TrialRecord], None]
Accounts = Callable[[], Sequence[AdviceRecord]]
"""Returns what the language model was asked since the last time."""


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
        policy: Policy,
        on_trial: OnTrial | None = None,
        accounts: Accounts | None = None,
        reviewer: Reviewer | None = None,
    ) -> None:
        """Put the parts together; nothing starts before `run`. The writer's clock is the loop's."""
        study = writer.study
        self._ledger = ledger
        self._writer = writer
        self._executor = executor
        self._leases = leases
        self._proposals = proposals
        self._workspace = workspace
        self._policy = policy
        self._on_trial = on_trial or (lambda _: None)
        self._accounts = accounts or list
        self._reviewer = reviewer
        trials = ledger.trials(study, curves=True)
        spent = {m: ledger.spending(study, m)[0] for m in ("device_seconds", "tokens", "dollars")}
        self._history = History(trials, **spent)
        self._running: dict[int, Run] = {}
        self._limits = Limits(writer, self._history, self._running, policy)
        self._pruning = SearchPruning(study.spec, trials)
        self._watcher = Watcher(writer, executor, self._pruning)
        self._placement = Placement(leases, writer, self._history, self._running)
        self._keeper = Keeper(writer, workspace, self._history)
        self._starter = Starter(
            writer,
            executor,
            leases,
            self._placement,
            proposals,
            self._keeper,
            self._history,
            workspace,
            policy,
        )
        self._confirmer = Confirmer(writer, self._history, self._limits, executor, leases.slots)
        self._prospects = Prospects(
            study.name, study.spec.required, policy.hopeless, policy.hopeless_later
        )
        self._ending: Ending | None = None
        self._paused = False
        self._looked_at = -math.inf
        """When wishes were looked for, in real seconds."""
        self._interrupts = 0
        self._inherited = [trial for trial in trials if trial.state == "running"]
        """Trials that another worker left running, with their curves."""

    @property
    def _spec(self) -> StudySpec:
        return self._writer.study.spec

    @property
    def _name(self) -> str:
        return self._writer.study.name

    def run(self) -> Ending:
        """Run the study until it ends, and return how."""
        self._limits.go()
        self._recover()
        self._writer.set_state("running")
        while True:
            self._collect()
            self._obey()
            self._launch()
            self._leases.flush()
            self._book_advice()
            if self._ending is not None and not self._running and self._is_reviewed():
                break
            deadline = min(self._limits.seconds_left(), self._starter.seconds_left())
            reviewing = self._ending is not None and not self._running
            thinking = self._starter.is_thinking or reviewing
            self._starter.get_ready()
            self._executor.wait(self._policy.poll_seconds, deadline, thinking=thinking)
        self._starter.close()
        self._writer.set_state(*self._ending)
        return self._ending

    def interrupt(self) -> None:
        """Stop the study; a second time kills its trials without grace. For signal handlers."""
        self._interrupts += 1
        self._executor.wake()

    def wall_seconds(self) -> float:
        """Return how long the study has run in all, pauses left out."""
        return self._limits.wall_seconds()

    def _recover(self) -> None:
        """Take over what another worker left: its trials go on, or are told how they ended."""
        if any(trial.state is Outcome.COMPLETE for trial in self._history.trials):
            self._prospects.learn(Outcome.COMPLETE)
        self._keeper.look(self._history.trials)
        latest = self._ledger.latest_reports(self._writer.study)
        for trial in self._inherited:
            self._adopt(trial, latest.get(trial.number, {}))
        self._inherited.clear()
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
        for name, (last, _) in latest.items():
            known = (trial.curves or {})[name]
            run.curves[name] = {step: value for step, value in known.items() if step <= last}
        self._running[trial.number] = run
        self._writer.note("adopted", trial.number, attempt=attempt.number)
        if attempt.stop_reason is not None:
            self._executor.stop(handle, attempt.stop_reason)

    def _book_advice(self) -> None:
        for advice in self._accounts():
            self._book(advice)
        self._review(over=False)

    def _book(self, advice: AdviceRecord) -> None:
        self._writer.record_advice(advice)
        self._history.tokens += advice.tokens
        self._history.dollars += advice.dollars or 0.0

    def _review(self, *, over: bool) -> None:
        """Record what came of a review, and have the next one made when it is time to."""
        if self._reviewer is None:
            return
        asked = self._reviewer.look(self._history.trials, over=over)
        if asked is not None:
            self._book(asked.account)
            if asked.review is not None:
                self._writer.note(KIND, **asked.review.model_dump(mode="json"))

    def _is_reviewed(self) -> bool:
        """Have a finished study reviewed as a whole; tell whether that is done with."""
        finished = self._ending is not None and self._ending.state == "finished"
        if self._reviewer is None or not finished or self._interrupts:
            return True
        self._review(over=True)
        return not self._reviewer.is_busy

    def _obey(self) -> None:
        if time.monotonic() - self._looked_at >= self._policy.poll_seconds:
            self._grant_wishes()
        if self._interrupts:
            self._stop("interrupted", at_once=self._interrupts > 1)
        overrun = self._limits.meters().overrun()
        for run in self._running.values():
            if overrun is not None:
                self._watcher.end_trial(run, overrun)
            elif self._limits.is_hung(run):
                self._watcher.stop(run, StopReason.SILENCE)

    def _grant_wishes(self) -> bool:
        """Grant what has been asked since the last time; tell whether there was anything."""
        self._looked_at = time.monotonic()
        wishes = self._writer.wishes()
        for wish in wishes:
            self._grant(wish)
            self._writer.handled(wish)
        return bool(wishes)

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
                    self._watcher.end_trial(run, f"stopped by {wish.author}")
            case "retry":
                trials = self._history.trials
                self._run_again(reopen(self._writer, trials, wish, self._workspace))
            case "enqueue":
                self._enqueue(wish)
            case "confirm":
                self._starter.stand_down()  # what waits for a proposal would have their number
                if self._confirmer.grant(wish):
                    self._prepare()

    def _enqueue(self, wish: Wish) -> None:
        """Let a configuration that a person wants be the next trial, if the budget has one."""
        trials = self._history.trials
        try:
            configuration = wanted(self._spec, trials, wish.data["configuration"])
            expected = self._history.expected_seconds
            refusal = self._limits.meters().refusal(expected, new_trial=True)
        except EnqueueError as error:
            refusal = str(error)
        if refusal is not None:
            self._writer.note("refused", wish=wish.kind, author=wish.author, reason=refusal)
            return
        self._starter.stand_down()  # what waits for a proposal would have its number
        self._history.add(self._writer.add_wanted(len(trials), configuration, wish))
        self._executor.wake()
        self._prepare()

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
            self._limits.go()
            self._writer.set_state("running")
        if self._ending is not None and self._ending.state == "stopped" and not self._interrupts:
            self._ending = None  # its trials wait, and are run again as soon as they have ended
        self._prepare()

    def _pause(self, reason: str) -> None:
        if not self._paused:
            self._limits.halt()
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

    def _collect(self) -> None:
        ended = 0
        for run in list(self._running.values()):
            evidence = self._executor.ended(run.handle)  # before its last reports are read
            self._watcher.observe(run, ended=evidence is not None)
            if evidence is not None:
                self._settle(run, evidence)
                ended += 1
        if ended:
            self._prepare()

    def _settle(self, run: Run, evidence: Evidence) -> None:
        """Record an attempt's end, free its devices, and learn whether it makes sense to go on."""
        verdict = run.verdict(evidence, self._spec.required)
        again = run.may_run_again(verdict, evidence, self._policy.most_attempts)
        again = again or self._placement.is_suspect(run, verdict)
        trial = self._writer.finish_attempt(
            run.trial,
            verdict,
            metrics=self._metrics(run, verdict),
            seconds=run.seconds(evidence, self._writer.clock.time()),
            peak_bytes=evidence.peak_bytes,
            error_tail=evidence.error_tail,
            again=again,
        )
        trial = replace(trial, curves=continued(run.trial.curves or {}, run.curves))
        del self._running[trial.number]
        self._leases.hand_back(run.lease)
        self._history.settle(trial)
        if not again:
            self._pruning.finish(trial)
            self._on_trial(trial)
            self._keeper.tidy(trial)
            self._prospects.learn(verdict.outcome)
            reason = self._prospects.reason_to_halt(run, verdict, evidence)
            if reason is not None and self._ending is None:
                self._halt(reason)
        self._exonerate()

    def _metrics(self, run: Run, verdict: Verdict) -> dict[str, float]:
        """Return what is recorded of an attempt's final metrics."""
        if self._spec.guard is None:
            return run.values
        return guard.recorded(
            self._spec.guard,
            run.values,
            self._history.trials,
            seed=self._spec.seed,
            number=run.trial.number,
            complete=verdict.outcome is Outcome.COMPLETE,
        )

    def _exonerate(self) -> None:
        """Take devices out of service that are at fault; run again what failed only for them."""
        for device, reason, failures in self._placement.convictions():
            blamed = [(self._history.trials[e.trial], e.attempt.id) for e in failures]
            failed = [t for t, last in blamed if t.is_finished and t.attempts[-1].id == last]
            if failed:
                self._run_again([self._writer.reopen(t, t.configuration) for t in failed])
            # Last, so that if this worker dies before, the next one comes to the same verdict.
            self._placement.take_out(device, reason)

    def _launch(self) -> None:
        while not self._paused and self._ending is None:
            run = self._start_waiting() or self._start_new()
            if run is None:
                return
            self._running[run.trial.number] = run
            if run.trial.attempts[-1].number == 1:
                self._pruning.add(run.trial)
            if self._writer.study.reason:  # it does not wait for a device any more
                self._writer.set_state("running")
        self._starter.stand_down()

    def _start_waiting(self) -> Run | None:
        """Start the first of the waiting trials that there is a device for, if the budget lasts."""
        waiting = self._history.waiting()
        if not waiting or not self._has_room():
            return None
        refusal = self._limits.meters().refusal(self._history.expected_seconds, new_trial=False)
        if refusal is not None:
            if not self._running:
                self._finish(refusal)
            return None
        for trial in waiting:
            objection = self._keeper.objection(trial)
            if objection is not None:
                self._give_up(trial, objection)
                continue
            run = self._starter.start_waiting(trial)
            if run is not None:
                return run
        self._tell_what_is_missing()
        return None

    def _start_new(self) -> Run | None:
        """Start a new trial, if the budget, a device and a proposal are there."""
        if self._ending is not None or self._paused:
            return None
        expected = self._history.expected_seconds
        refusal = self._limits.meters().refusal(expected, new_trial=True)
        refusal = refusal or self._history.exhaustion(self._spec.search_space)
        refusal = refusal or self._confirmer.refusal()
        if self._spec.guard is not None:
            refusal = refusal or guard.refusal(self._spec.guard, self._history.trials)
        if refusal is not None:
            if not self._running and not self._history.waiting():
                self._finish(refusal)
            return None
        if not self._has_room():
            return None
        run = self._starter.start_new()
        if run is None and not self._starter.is_thinking:
            self._tell_what_is_missing()
        return run

    def _has_room(self) -> bool:
        """Tell whether another attempt fits in the slots and on the disk; pause for a full disk."""
        if len(self._running) >= self._leases.slots:
            return False
        free = shutil.disk_usage(self._workspace.folder).free
        if free < self._policy.free_bytes:
            self._pause(
                f"only {free >> 20} MiB are free on the disk of {str(self._workspace.folder)!r}; "
                f"free some, then `luthier resume {self._name}`"
            )
            return False
        return True

    def _tell_what_is_missing(self) -> None:
        """Say whose devices the study waits for; halt it if too few of its own are in service."""
        if self._running or self._ending is not None:
            return
        refusal = self._leases.refusal()
        out = self._leases.standing().out_of_service
        broken = {name: why for name, why in out.items() if name in self._leases.devices}
        left = len(self._leases.devices) - len(broken)
        if left < self._leases.per_trial:
            device, why = next(iter(broken.items()))
            where = f" --study {self._name}" if self._spec.executor.lab is not None else ""
            self._halt(
                f"{'too few devices are' if left else 'no device is'} in service: {device} is out "
                f"of it since {why.reason}; mend it, then "
                f"`luthier devices{where} --reset {device}` and `luthier resume {self._name}`"
            )
        elif refusal is not None and self._writer.study.reason != refusal:
            self._writer.set_state("running", refusal)

    def _prepare(self) -> None:
        if self._ending is None and self._limits.meters().trials.left >= 1:
            self._proposals.prepare(*self._confirmer.known_to_sampler())

    def _finish(self, reason: str) -> None:
        """End the study; what still waits for another attempt will not get one."""
        if self._grant_wishes():
            return  # somebody may have asked for more just now
        self._starter.stand_down()
        end = self._confirmer.at_the_end(reason)
        if end is None:
            return
        for trial in self._history.waiting():
            self._give_up(trial, reason)
        self._ending = Ending("finished", end)

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
