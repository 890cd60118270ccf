"""The loop: run, read the traces, propose, check, try out, accept or forget; then open the seal.

Parameter sets never change, so to roll an edit back is not to go on with it.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...tools.edits import EditLedger, EditRecord, WorkflowRecord
from ..llm.answers import LLMError, Usage, is_spent
from .accept import FEW, Verdict, judge
from .evaluate import Case, Evaluator, Result, Suite, Workflow, split
from .params import ParamSet
from .propose import Proposed, Proposer, configured, merged
from .represent import Problem, unshown
from .sandbox import available
from .search import NO_ANSWER, UNMEASURED, Search, Settings
from .validate import Checked, check

_DEFAULTS = Settings()
_MOST_FAILURES = 3
"""Steps in a row without an answer of the model, after which it is given up."""

_MOST_OPENINGS = 3
"""Openings of the sealed cases, under whatever name, after which they are called sealed no more."""


@dataclass(frozen=True)
class Optimised:
    """What an optimisation came to."""

    base: ParamSet
    best: ParamSet
    edits: Sequence[EditRecord]
    """All proposals, in their order."""
    sealed: Verdict | None
    """What the sealed cases say of best against base; None if nothing is sealed, or to be shown."""
    low_evidence: bool
    """Whether there are too few cases to believe any of it."""
    ended: str
    """Why it ended."""
    notes: Sequence[str]
    """What a person should know."""


def optimise(
    workflow: Workflow,
    params: ParamSet,
    suite: Suite,
    proposer: Proposer | None = None,
    *,
    objective: str = "",
    settings: Settings = _DEFAULTS,
    ledger: EditLedger | None = None,
    name: str = "workflow",
    on_edit: Callable[[EditRecord], None] = lambda edit: None,
) -> Optimised:
    """Improve a workflow's parameters; what comes of it is a proposal with its evidence.

    Args:
        workflow: What is run on each case; it reads parameters with `param`, in ops.
        params: Its parameters as they are.
        suite: Cases and their scorer, which no edit can reach.
        proposer: Who proposes edits; None for the language model that is set up.
        objective: What the workflow is for, in words.
        settings: How long and how hard to try.
        ledger: Where every proposal is kept; with one, a run that was broken off goes on.
        name: The run's name in the ledger.
        on_edit: Called with every proposal once its fate is known.

    Raises:
        NothingToTrainError: If the runs depend on no trainable parameter.
        SettingsError: If no language model is set up, and no proposer given.
        WorkflowError: If a run of that name began with other parameters.
    """
    with nullcontext(proposer) if proposer is not None else configured() as who:
        return _optimise(workflow, params, suite, who, objective, settings, ledger, name, on_edit)


def _optimise(
    workflow: Workflow,
    params: ParamSet,
    suite: Suite,
    proposer: Proposer,
    objective: str,
    settings: Settings,
    ledger: EditLedger | None,
    name: str,
    on_edit: Callable[[EditRecord], None],
) -> Optimised:
    record = ledger.open(name, params.hash) if ledger is not None else None
    evaluator = Evaluator(workflow, suite, settings.workers)
    search = Search(evaluator, split(suite), params, settings, objective, [params])
    notes = [*_freeze_what_cannot_run(search), *_freeze_what_cannot_be_shown(search)]
    seen = {params.hash}
    if ledger is not None and record is not None:
        _take_up(search, ledger.edits(record), seen)

    def keep(edit: EditRecord) -> None:
        search.edits.append(edit)
        if ledger is not None and record is not None:
            ledger.add(record, edit)
        on_edit(edit)

    try:
        ended = _steps(search, proposer, keep, seen)
        best = search.best
        sealed = _open_seal(search, record, ledger, notes)
    except LLMError as error:
        if not is_spent(error):
            raise
        ended, sealed = str(error), None
        best = search.members[-1]
        notes.append("the budget ended before the sealed cases were opened")
    low = len(search.parts.validation) < FEW
    if low:
        notes.append(
            f"only {len(search.parts.validation)} cases decide, {FEW} at least are needed: low "
            "evidence, so nothing of it is applied by itself"
        )
    return Optimised(params, best, tuple(search.edits), sealed, low, ended, tuple(notes))


def _steps(
    search: Search, proposer: Proposer, keep: Callable[[EditRecord], None], seen: set[str]
) -> str:
    """Propose and try out, step by step; return why it ended.

    Raises:
        LLMError: If the budget is used up.
    """
    settings = search.settings
    begun, failures = time.monotonic(), 0
    done = -(-len(search.edits) // settings.candidates)
    for step in range(done, settings.steps):
        if settings.seconds is not None and time.monotonic() - begun > settings.seconds:
            return f"the {settings.seconds:g} s are used"
        rng = random.Random(f"{settings.seed}/{step}")
        parent = search.parent(rng)
        problem, batch = search.problem(parent, rng)
        try:
            proposals = proposer.propose(problem, settings.candidates, settings.seed + step)
            failures = 0
        except LLMError as error:
            if is_spent(error):
                raise
            keep(_failed(search, proposer, parent, error))
            failures += 1
            if failures == _MOST_FAILURES:
                return f"the language model fails: {error}"
            continue
        for proposed in proposals:
            edit = _tried(search, proposer, problem, proposed, batch, seen, step)
            keep(edit)
            if edit.decision == UNMEASURED:
                raise LLMError(edit.reason, "budget")
    return f"{settings.steps} steps are done"


def _freeze_what_cannot_run(search: Search) -> list[str]:
    code = {n for n, each in search.base.params.items() if each.kind == "code" and each.trainable}
    if not code or (why := available()) is None:
        return []
    search.frozen |= code
    return [f"{', '.join(sorted(code))} are left as they are: {why}"]


def _freeze_what_cannot_be_shown(search: Search) -> list[str]:
    found = {n: why for n in search.base.trainable if (why := unshown(search.base.params[n]))}
    search.frozen |= found.keys()
    return [f"{name} is left as it is: it {why}" for name, why in sorted(found.items())]


def _take_up(search: Search, edits: Sequence[EditRecord], seen: set[str]) -> None:
    """Go on from the edits of a run that was broken off."""
    known = {search.base.hash: search.base}
    for edit in edits:
        search.edits.append(edit)
        if edit.decision != UNMEASURED:
            seen.add(edit.made)
        if edit.accepted and edit.parent in known:
            made = known[edit.parent].but(edit.changes)
            known[made.hash] = made
            search.members.append(made)


def _tried(
    search: Search,
    proposer: Proposer,
    problem: Problem,
    proposed: Proposed,
    batch: Sequence[Case],
    seen: set[str],
    step: int,
) -> EditRecord:
    """Check one proposal, have it mended once, and try it out; return what became of it."""
    parent = problem.params
    secrets = [
        text
        for case in (*search.parts.validation, *search.parts.sealed)
        for text in _texts(case.inputs)
    ]
    checked = check(proposed.proposal, parent, problem.allowed, secrets)
    if checked.refused:
        first = checked
        try:
            answers = proposer.propose(problem, 1, search.settings.seed + step, first.complaint)
            for repaired in answers[:1]:
                proposed = merged(proposed, repaired)
                checked = check(proposed.proposal, parent, problem.allowed, secrets)
        except LLMError as error:
            proposed = replace(proposed, usage=proposed.usage + error.usage)
        checked = Checked(checked.values, {**first.refused, **checked.refused})
    made = parent.but(checked.values)
    decision, reason, scores, verdict = UNMEASURED, "", dict[str, tuple[float, float]](), None
    try:
        decision, reason, scores, verdict = _cascade(search, parent, made, checked, batch, seen)
    except LLMError as error:
        if not is_spent(error):
            raise
        reason = str(error)
    if decision == "accepted":
        search.members.append(made)
    seen.add(made.hash)
    usage: Usage = proposed.usage
    return EditRecord(
        number=len(search.edits) + 1,
        proposer=proposer.name,
        parent=parent.hash,
        made=made.hash,
        diagnosis=proposed.proposal.diagnosis,
        changes=dict(checked.values),
        refused=checked.refused,
        diff=made.diff(parent),
        decision=decision,
        reason=reason,
        scores=scores,
        mean=None if verdict is None else verdict.mean,
        bound=None if verdict is None else verdict.bound,
        low_evidence=verdict is not None and verdict.low_evidence,
        prompt=proposed.prompt,
        tokens=usage.tokens,
        dollars=usage.dollars,
    )


def _failed(search: Search, proposer: Proposer, parent: ParamSet, error: LLMError) -> EditRecord:
    """Return what is kept of a step in which the model gave no proposal: its cause and cost."""
    return EditRecord(
        number=len(search.edits) + 1,
        proposer=proposer.name,
        parent=parent.hash,
        made=parent.hash,
        diagnosis="",
        changes={},
        refused={},
        diff="",
        decision=NO_ANSWER,
        reason=str(error)[:500],
        scores={},
        mean=None,
        bound=None,
        low_evidence=False,
        prompt="",
        tokens=error.usage.tokens,
        dollars=error.usage.dollars,
    )


def _cascade(
    search: Search,
    parent: ParamSet,
    made: ParamSet,
    checked: Checked,
    batch: Sequence[Case],
    seen: set[str],
) -> tuple[str, str, dict[str, tuple[float, float]], Verdict | None]:
    """Try an edit out, cheaply first; return the decision, why, the scores and the verdict."""
    if not checked.values:
        reason = checked.complaint.replace("\n", "; ") or "no change was proposed"
        return "refused" if checked.refused else "no change", reason, {}, None
    if made.hash in seen:
        return "repeated", "the same was tried before", {}, None
    evaluate = search.evaluator.evaluate
    before, after = evaluate(parent, batch[:1]), evaluate(made, batch[:1])
    first = batch[0].name
    error = after[first].feedback.error
    if error is not None and before[first].feedback.error is None:
        return "smoke", f"it fails: {error.kind}: {error.message}"[:500], {}, None
    old, new = (statistics.fmean(search.scores(p, batch).values()) for p in (parent, made))
    if not new > old:
        still = f"; it fails: {error.kind}: {error.message}"[:500] if error is not None else ""
        reason = f"a mean of {new:.4g} on its own cases, from {old:.4g}{still}"
        return "mini-batch", reason, {}, None
    cases = search.parts.validation
    before, after = evaluate(parent, cases), evaluate(made, cases)
    ran = [n for n in before if before[n].feedback.error is after[n].feedback.error is None]

    def judged(seconds: Mapping[str, tuple[float, float]] | None) -> Verdict:
        return judge(
            {n: r.score for n, r in before.items()},
            {n: r.score for n, r in after.items()},
            max_drop=search.evaluator.suite.max_drop,
            guards=search.evaluator.suite.guards,
            seconds=seconds,
            latency=search.settings.latency,
            costs=_costs(before, after, ran),
            cost=search.settings.cost,
            z=search.settings.z,
        )

    verdict = judged({name: (before[name].seconds, after[name].seconds) for name in ran})
    if not verdict.accepted and judged(None).accepted:
        # One side was timed before the other, and the machine may have had other work since.
        again = [case for case in cases if case.name in ran]
        verdict = judged(search.evaluator.timed_in_turn(parent, made, again))
    scores = {name: (before[name].score, after[name].score) for name in before}
    return "accepted" if verdict.accepted else "validation", verdict.reason, scores, verdict


def _costs(
    before: Mapping[str, Result], after: Mapping[str, Result], names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return what cases cost before and after, as far as it was counted."""
    found = {name: (before[name].feedback.cost, after[name].feedback.cost) for name in names}
    return {n: (a, b) for n, (a, b) in found.items() if a is not None and b is not None}


def _open_seal(
    search: Search, record: WorkflowRecord | None, ledger: EditLedger | None, notes: list[str]
) -> Verdict | None:
    """Compare the best with the base on the sealed cases, once."""
    verdict = None
    if record is not None and record.sealed is not None and not _is_new(search, record):
        verdict = Verdict(**{k: v for k, v in record.sealed.items() if k != "best"})
    elif search.parts.sealed and search.best is not search.base:
        verdict = judge(
            search.scores(search.base, search.parts.sealed),
            search.scores(search.best, search.parts.sealed),
            max_drop=search.evaluator.suite.max_drop,
            z=search.settings.z,
        )
        if ledger is not None and record is not None:
            ledger.finish(record, asdict(verdict) | {"best": search.best.hash})
            if ledger.openings(record.base) >= _MOST_OPENINGS:
                notes.append(
                    "the sealed cases were opened three times or more: not sealed any more"
                )
    elif ledger is not None and record is not None:
        ledger.finish(record, None)
    if verdict is not None and not verdict.mean > 0:
        notes.append("the sealed cases show no gain: what was accepted may not carry over")
    return verdict


def _is_new(search: Search, record: WorkflowRecord) -> bool:
    return record.sealed is None or record.sealed.get("best") != search.best.hash


def _texts(value: Any) -> list[str]:
    """Return the texts in a case's inputs."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return []
