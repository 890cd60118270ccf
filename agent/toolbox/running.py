"""Tools that start, steer and end studies; what spends or destroys is asked for first."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic import Field

from ...tools.budget import expected_trial_seconds
from ...tools.section import Seconds
from ...tools.space import Scalar
from ...tools.study import Study, read_study_meters
from ..conversations import Draft
from .declaring import Answer, Estimate, Tool, ToolError, plain_values, visible
from .desk import Desk
from .drafting import draft_or_study, estimate_of, number_or_none, spec_summary


class StartStudy(Tool):
    """Start the study of a draft in the background.

    It goes on whatever becomes of this conversation.
    """

    effect = "spends"

    draft: str
    """The draft's key, as a drafting tool answered it."""
    trials: int | None = Field(default=None, ge=1, le=100_000)
    """Another number of trials than the draft's."""
    wall_time: Seconds | None = None
    """Another time in all than the draft's, as "30m" or seconds."""

    def _draft(self, desk: Desk) -> Draft:
        from ...tools.study import with_budget

        found = draft_or_study(desk, self.draft)
        caps = {"trials": self.trials, "wall_seconds": self.wall_time}
        changed = {name: cap for name, cap in caps.items() if cap is not None}
        spec = with_budget(found.spec, changed) if changed else found.spec
        return Draft(found.key, spec, found.folder)

    def check(self, desk: Desk) -> None:
        """See that the draft is there and can run, and that its study does not run yet."""
        draft = self._draft(desk)
        estimate_of(desk, draft.spec, draft.folder)
        for study in desk.ledger.studies():
            if study.name == draft.spec.name and desk.ledger.owner(study) is not None:
                raise ToolError(f"study {study.name!r} runs already; see `study_status`")

    def estimate(self, desk: Desk) -> Estimate:
        """Return what the whole study will take."""
        draft = self._draft(desk)
        return estimate_of(desk, draft.spec, draft.folder)

    def shown(self, desk: Desk) -> Answer:
        """Show the whole spec."""
        draft = self._draft(desk)
        return spec_summary(draft.spec) | {"folder": visible(draft.folder, 200)}

    def run(self, desk: Desk) -> Answer:
        """Store the study and start its worker."""
        from ...tools.study import open_or_create

        draft = self._draft(desk)
        study = open_or_create(desk.ledger, draft.spec, draft.folder)
        return _start(desk, Study(desk.ledger, desk.workspace, study.name))


class BranchStudy(Tool):
    """Make a study of a changed draft that takes over another one's trials, where still valid.

    It is not started: `resume_study` does that.
    """

    effect = "notes"

    study: str
    """The study that it goes on from."""
    draft: str
    """The changed draft's key, with a name of its own."""

    def run(self, desk: Desk) -> Answer:
        """Store the new study."""
        from ...tools.study import branch

        parent, draft = desk.study(self.study), draft_or_study(desk, self.draft)
        estimate_of(desk, draft.spec, draft.folder)  # refuses what cannot run here
        child, taken = branch(desk.ledger, parent.record, draft.spec, draft.folder)
        return {"study": child.name, "taken_over": taken, "state": child.state}


class ResumeStudy(Tool):
    """Go on with a study that was paused, stopped or interrupted.

    One that has used its budget needs a larger one.
    """

    effect = "spends"

    study: str | None = None
    """By default the newest."""
    trials: int | None = Field(default=None, ge=1, le=100_000)
    """The new number of trials in all."""
    wall_time: Seconds | None = None
    """The new time in all, as "2h" or seconds."""

    def _caps(self) -> dict[str, Any]:
        caps = {"trials": self.trials, "wall_seconds": self.wall_time}
        return {name: cap for name, cap in caps.items() if cap is not None}

    def check(self, desk: Desk) -> None:
        """See that there is something to go on with."""
        from ...tools.study import with_budget

        study = desk.study(self.study)
        with_budget(study.spec, self._caps())
        if study.state == "finished" and not self._caps():
            raise ToolError(
                f"study {study.name!r} is finished; give it more `trials` or `wall_time`"
            )
        if study.state == "running" and not self._caps():
            raise ToolError(f"study {study.name!r} runs already")

    def estimate(self, desk: Desk) -> Estimate:
        """Return what is left of its budget."""
        from ...tools.study import with_budget

        study = desk.study(self.study)
        spec = with_budget(study.spec, self._caps())
        trials = study.trials(curves=False)
        seconds = expected_trial_seconds(trials)
        left = None if spec.budget.trials is None else max(0, spec.budget.trials - len(trials))
        known = None if left is None or seconds is None else left * seconds
        return _taking(study, left, known, left)

    def run(self, desk: Desk) -> Answer:
        """Ask its worker to go on, or start one."""
        study, caps = desk.study(self.study), self._caps()
        wish = {"budget": caps} if caps else {}
        if study.owner is not None:
            study.ledger.wish(study.record, "resume", **wish)
            return {"study": study.name, "asked": "to go on"}
        if caps:
            study.ledger.wish(study.record, "resume", **wish)
        return _start(desk, study)


class PauseStudy(Tool):
    """Let a study start no new trial; running ones go on. `resume_study` takes it up again."""

    effect = "notes"

    study: str | None = None
    """By default the newest."""

    def run(self, desk: Desk) -> Answer:
        """Ask its worker."""
        return _wish(_running(desk, self.study), "pause")


class StopStudy(Tool):
    """End a study's running trials. `resume_study` runs them again."""

    effect = "destroys"

    study: str | None = None
    """By default the newest."""

    def check(self, desk: Desk) -> None:
        """See that it runs."""
        _running(desk, self.study)

    def shown(self, desk: Desk) -> Answer:
        """Show how many trials would be ended."""
        study = _running(desk, self.study)
        return {"study": study.name, "running_trials": _running_trials(study)}

    def run(self, desk: Desk) -> Answer:
        """Ask its worker."""
        return _wish(_running(desk, self.study), "stop", at_once=False)


class StopTrial(Tool):
    """End one running trial; the study goes on."""

    effect = "destroys"

    trial: int = Field(ge=0)
    """The trial's number."""
    study: str | None = None
    """By default the newest."""

    def check(self, desk: Desk) -> None:
        """See that the trial runs."""
        running = _running_trials(_running(desk, self.study))
        if self.trial not in running:
            raise ToolError(f"trial {self.trial} does not run; running are {running}")

    def run(self, desk: Desk) -> Answer:
        """Ask its worker."""
        self.check(desk)
        return _wish(_running(desk, self.study), "stop_trial", trial=self.trial)


class ProposeTrials(Tool):
    """Say what the classical optimiser would try next, and why; nothing is run.

    `enqueue_trial` runs one of them, or another one.
    """

    study: str | None = None
    """By default the newest."""
    count: int = Field(default=3, ge=1, le=8)
    """How many."""

    def run(self, desk: Desk) -> Answer:
        """Ask it; each proposal knows those before it as running trials."""
        from ..classical import propose
        from ..proposals import pending_trial

        study = desk.study(self.study)
        trials = study.trials(curves=False)
        proposals = []
        for _ in range(self.count):
            proposals.append(propose(study.spec, trials))
            trials = [*trials, pending_trial(proposals[-1], len(trials))]
        return {
            "study": study.name,
            "proposals": [
                {
                    "values": plain_values(proposal.configuration),
                    "source": proposal.decision.source,
                    "reason": proposal.decision.reason,
                }
                for proposal in proposals
            ],
        }


class EnqueueTrial(Tool):
    """Have one configuration tried next: the person's own, or one that you propose.

    It counts as a trial of the budget. Values that are not given are those of the trial `like`, or
    the defaults.
    """

    effect = "spends"

    values: dict[str, Scalar] = Field(default_factory=dict)
    """Parameter to its value, such as {"lr": 0.003}."""
    like: int | None = Field(default=None, ge=0)
    """The trial that the other values are taken from."""
    study: str | None = None
    """By default the newest."""

    def _plan(self, desk: Desk) -> tuple[Study, Any]:
        from ...tools.enqueue import wanted

        study = desk.study(self.study)
        return study, wanted(study.spec, study.trials(curves=False), self.values, self.like)

    def check(self, desk: Desk) -> None:
        """See that it can be tried, and that the budget has a trial left."""
        study, _ = self._plan(desk)
        trials = study.trials(curves=False)
        meters = read_study_meters(desk.ledger, study.record, trials)
        refusal = meters.refusal(expected_trial_seconds(trials), new_trial=True)
        if refusal is not None:
            raise ToolError(f"{refusal}; raise the cap with resume_study")

    def estimate(self, desk: Desk) -> Estimate:
        """Return what a trial usually takes."""
        study, _ = self._plan(desk)
        return _taking(study, 1, expected_trial_seconds(study.trials(curves=False)), 1)

    def shown(self, desk: Desk) -> Answer:
        """Show the whole configuration."""
        study, configuration = self._plan(desk)
        return {"study": study.name, "configuration": configuration}

    def run(self, desk: Desk) -> Answer:
        """Ask its worker, or start one."""
        study, configuration = self._plan(desk)
        study.ledger.wish(study.record, "enqueue", configuration=configuration)
        answer: Answer = {"study": study.name, "will_try": configuration}
        return answer if study.owner is not None else answer | _start(desk, study)


class RetryTrials(Tool):
    """Run ended trials again, by how they ended or by number, if need be with changed values.

    They cost no trial of the budget, but time.
    """

    effect = "spends"

    study: str | None = None
    """By default the newest."""
    outcomes: list[str] = Field(default_factory=list, max_length=9)
    """Those that ended so: crashed, out_of_memory, timed_out, diverged, killed, pruned, ..."""
    trials: list[int] = Field(default_factory=list, max_length=100)
    """Those with these numbers."""
    set: dict[str, Scalar] = Field(default_factory=dict)
    """Parameter to its new value, such as {"batch_size": 64}."""
    fresh: bool = False
    """Whether to delete their checkpoints first, so that they start over."""

    def _plan(self, desk: Desk) -> tuple[Study, Any]:
        from ...tools.retry import Retry, plan, select

        study = desk.study(self.study)
        trials = study.trials(curves=False)
        numbers = select(trials, self.outcomes, self.trials)
        asked = Retry(trials=numbers, set=self.set, fresh=self.fresh)
        plan(study.spec, trials, asked, partial(desk.workspace.checkpoint_folder, study.name))
        return study, asked

    def check(self, desk: Desk) -> None:
        """See which trials that are, and that they can run so."""
        self._plan(desk)

    def estimate(self, desk: Desk) -> Estimate:
        """Return what as many trials usually take."""
        study, asked = self._plan(desk)
        seconds = expected_trial_seconds(study.trials(curves=False))
        known = None if seconds is None else seconds * len(asked.trials)
        return _taking(study, 0, known, len(asked.trials))

    def shown(self, desk: Desk) -> Answer:
        """Show the trials by number."""
        study, asked = self._plan(desk)
        return {"study": study.name, "trials": asked.trials[:100]}

    def run(self, desk: Desk) -> Answer:
        """Ask its worker, or start one."""
        study, asked = self._plan(desk)
        study.ledger.wish(study.record, "retry", **vars(asked))
        answer: Answer = {"study": study.name, "run_again": asked.trials[:100]}
        return answer if study.owner is not None else answer | _start(desk, study)


class ConfirmBest(Tool):
    """Repeat the best trial and the runner-up on fresh seeds, to tell what is chance.

    Only after this may one be called better than the other.
    """

    effect = "spends"

    study: str | None = None
    """By default the newest."""
    repeats: int = Field(default=5, ge=2, le=50)
    """How many repeats each is to have in all."""

    def check(self, desk: Desk) -> None:
        """See that there are trials to repeat."""
        from ...tools.repeats import Confirm, plan

        study = desk.study(self.study)
        plan(study.spec, study.trials(curves=False), Confirm([], self.repeats))

    def estimate(self, desk: Desk) -> Estimate:
        """Return what the repeats of two trials usually take."""
        study, runs = desk.study(self.study), 2 * self.repeats
        seconds = expected_trial_seconds(study.trials(curves=False))
        return _taking(study, 0, None if seconds is None else runs * seconds, runs)

    def run(self, desk: Desk) -> Answer:
        """Ask its worker, or start one."""
        from ..confirming import ask
        from ..worker import check_study

        study = desk.study(self.study)
        plan = check_study(study.spec, study.record.working_directory)
        asked = ask(study, plan.slots, repeats=self.repeats, trials=[], caps={})
        answer: Answer = {"study": study.name, "repeats_of": list(asked.trials)}
        return answer if study.owner is not None else answer | _start(desk, study)


def _taking(
    study: Study, trials: int | None, device_seconds: float | None, runs: int | None
) -> Estimate:
    """Return what so many runs take, of which as many go on at once as the study has slots."""
    from ..worker import check_study

    if device_seconds is None or not runs:
        return Estimate(trials=trials, device_seconds=device_seconds)
    slots = check_study(study.spec, study.record.working_directory).slots
    return Estimate(trials, device_seconds, number_or_none(device_seconds / min(slots, runs)))


def _running(desk: Desk, name: str | None) -> Study:
    study = desk.study(name)
    if study.owner is None:
        raise ToolError(f"nobody runs study {study.name!r}; it is {study.state}")
    return study


def _running_trials(study: Study) -> list[int]:
    return [trial.number for trial in study.trials(curves=False) if trial.state == "running"]


def _wish(study: Study, kind: str, **data: Any) -> Answer:
    study.ledger.wish(study.record, kind, **data)
    return {"study": study.name, "asked": kind.replace("_", " ")}


def _start(desk: Desk, study: Study) -> Answer:
    from ..worker import check_study, start_detached

    check_study(study.spec, study.record.working_directory)
    start_detached(desk.ledger, study.record, desk.workspace)
    return {"study": study.name, "state": "running", "budget_trials": study.spec.budget.trials}
