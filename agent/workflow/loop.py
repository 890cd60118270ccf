"""The loop: run, read the traces, propose, check, try out, accept or forget; then open the seal.

Parameter sets never change, so to roll an edit back is not to go on with it.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...tools.edits import EditLedger, EditRecord, WorkflowRecord
from ...tools.errors import LuthierError
from ..llm.answers import LLMError, Usage
from .accept import FEW, LATENCY, Verdict, Z, judge
from .evaluate import Case, Evaluator, Result, Split, Suite, Workflow, split
from .params import ParamSet
from .propose import Proposed, Proposer, configured, merged
from .represent import Past, Problem, Run
from .sandbox import available
from .validate import Checked, check

_ACCEPTED_SHOWN, _REJECTED_SHOWN = 5, 8
_OTHER_PARENT = 0.3
"""How often an edit begins from another member of the Pareto front than the best."""
_MOST_FAILURES = 3
"""Steps in a row without an answer of the model, after which it is given up."""

_NO_ANSWER = "no answer"
"""The decision on a step in which the model proposed nothing."""

_MOST_OPENINGS = 3
"""Openings of the sealed cases, under whatever name, after which they are called sealed no more."""


class NothingToTrainError(LuthierError, ValueError):
    """A workflow whose runs depend on no trainable parameter."""


@dataclass(frozen=True)
class Settings:
    """How long and how hard to try."""

    steps: int = 10
    """Calls of the proposer, repairs not counted."""
    candidates: int = 1
    """Proposals a step, asked for side by side."""
    batch: int = 3
    """Cases whose runs a proposal is made from."""
    seed: int = 0
    workers: int = 1
    """Cases that run at a time."""
    seconds: float | None = None
    """Wall time after which no further step begins."""
    latency: float = LATENCY
    """Times as long as before that cases may take; infinity for any time, where a machine's other
    work should decide on nothing."""
    z: float = Z


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


@dataclass
class _Search:
    evaluator: Evaluator
    parts: Split
    base: ParamSet
    settings: Settings
    objective: str
    members: list[ParamSet]
    """The base and what was accepted, oldest first."""
    edits: list[EditRecord] = field(default_factory=list)
    frozen: frozenset[str] = frozenset()
    """Trainable parameters that cannot be trained on this machine."""

    def scores(self, params: ParamSet, cases: Sequence[Case]) -> dict[str, float]:
        return {n: r.score for n, r in self.evaluator.evaluate(params, cases).items()}

    @property
    def best(self) -> ParamSet:
        """The member with the highest mean on the validation cases; of equal ones the oldest."""
        return max(self.members, key=self._mean)

    def _mean(self, params: ParamSet) -> float:
        return statistics.fmean(self.scores(params, self.parts.validation).values())

    def parent(self, rng: random.Random) -> ParamSet:
        """Choose what to go on from: the best, now and then one that is best on some case."""
        scores = [self.scores(member, self.parts.validation) for member in self.members]
        tops = {name: max(row[name] for row in scores) for name in scores[0]}
        front = [
            member
            for member, row in zip(self.members, scores, strict=True)
            if any(row[name] == top for name, top in tops.items())
        ]
        return rng.choice(front) if rng.random() < _OTHER_PARENT else self.best

    def problem(self, parent: ParamSet, rng: random.Random) -> tuple[Problem, list[Case]]:
        """Return what to show a proposer, and the cases it is made from: rather the bad ones."""
        results = self.evaluator.evaluate(parent, self.parts.dev)
        cases = _worse_first(list(self.parts.dev), results, rng)[: self.settings.batch]
        trainable = parent.trainable - self.frozen
        runs, allowed = [], set[str]()
        for case in cases:
            result = results[case.name]
            nodes, names = result.rollout.subgraph(result.leaf, trainable)
            runs.append(Run(case.name, result.rollout, nodes, result.feedback.lines()))
            allowed |= names
        if not allowed:
            raise NothingToTrainError(
                f"the runs on {', '.join(case.name for case in cases)} depend on none of the "
                f"trainable parameters ({', '.join(sorted(trainable)) or 'there are none'}); "
                "read them with `param` inside of what the result is made by"
            )
        return Problem(parent, frozenset(allowed), runs, self._past(), self.objective), cases

    def _past(self) -> list[Past]:
        accepted = [edit for edit in self.edits if edit.accepted][-_ACCEPTED_SHOWN:]
        others = [e for e in self.edits if not e.accepted and e.decision != _NO_ANSWER]
        rejected = others[-_REJECTED_SHOWN:]
        return [
            Past(
                edit.diff,
                edit.diagnosis[:300],
                "accepted" if edit.accepted else f"{edit.decision}: {edit.reason}",
                statistics.fmean(after for _, after in edit.scores.values())
                if edit.scores
                else None,
            )
            for edit in sorted((*accepted, *rejected), key=lambda edit: edit.number)
        ]


def optimise(
    workflow: Workflow,
    params: ParamSet,
    suite: Suite,
    proposer: Proposer | None = None,
    *,
    objective: str = "",
    settings: Settings = Settings(),
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
    search = _Search(evaluator, split(suite), params, settings, objective, [params])
    notes = _freeze_what_cannot_run(search)
    seen = {params.hash}
    if ledger is not None and record is not None:
        _take_up(search, ledger.edits(record), seen)

    def keep(edit: EditRecord) -> None:
        search.edits.append(edit)
        if ledger is not None and record is not None:
            ledger.add(record, edit)
        on_edit(edit)

    begun, failures, ended = time.monotonic(), 0, f"{settings.steps} steps are done"
    done = -(-len(search.edits) // settings.candidates)
    for step in range(done, settings.steps):
        if settings.seconds is not None and time.monotonic() - begun > settings.seconds:
            ended = f"the {settings.seconds:g} s are used"
            break
        rng = random.Random(f"{settings.seed}/{step}")
        parent = search.parent(rng)
        problem, batch = search.problem(parent, rng)
        try:
            proposals = proposer.propose(problem, settings.candidates, settings.seed + step)
            failures = 0
        except LLMError as error:
            if error.cause == "budget":
                ended = str(error)
                break
            keep(_failed(search, proposer, parent, error))
            failures += 1
            if failures == _MOST_FAILURES:
                ended = f"the language model fails: {error}"
                break
            continue
        for proposed in proposals:
            keep(_tried(search, proposer, problem, proposed, batch, seen, step))
    sealed = _open_seal(search, record, ledger, notes)
    low = len(search.parts.validation) < FEW
    if low:
        notes.append(
            f"only {len(search.parts.validation)} cases decide, {FEW} at least are needed: low "
            "evidence, so nothing of it is applied by itself"
        )
    return Optimised(params, search.best, tuple(search.edits), sealed, low, ended, tuple(notes))


def _freeze_what_cannot_run(search: _Search) -> list[str]:
    code = {n for n, each in search.base.params.items() if each.kind == "code" and each.trainable}
    if not code or (why := available()) is None:
        return []
    search.frozen = frozenset(code)
    return [f"{', '.join(sorted(code))} are left as they are: {why}"]


def _take_up(search: _Search, edits: Sequence[EditRecord], seen: set[str]) -> None:
    """Go on from the edits of a run that was broken off."""
    known = {search.base.hash: search.base}
    for edit in edits:
        search.edits.append(edit)
        seen.add(edit.made)
        if edit.accepted and edit.parent in known:
            made = known[edit.parent].but(edit.changes)
            known[made.hash] = made
            search.members.append(made)


def _worse_first(
    cases: list[Case], results: Mapping[str, Result], rng: random.Random
) -> list[Case]:
    """Return the cases in an order drawn by lot, in which bad scores come rather first."""
    scores = [results[case.name].score for case in cases]
    top, spread = max(scores), max(scores) - min(scores) or 1.0
    keys = {
        case.name: rng.random() ** (1.0 / (0.1 + (top - score) / spread))
        for case, score in zip(cases, scores, strict=True)
    }
    return sorted(cases, key=lambda case: -keys[case.name])


def _tried(
    search: _Search,
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
    decision, reason, scores, verdict = _cascade(search, parent, made, checked, batch, seen)
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


def _failed(search: _Search, proposer: Proposer, parent: ParamSet, error: LLMError) -> EditRecord:
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
        decision=_NO_ANSWER,
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
    search: _Search,
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
    verdict = judge(
        {n: r.score for n, r in before.items()},
        {n: r.score for n, r in after.items()},
        max_drop=search.evaluator.suite.max_drop,
        guards=search.evaluator.suite.guards,
        seconds={
            name: (before[name].seconds, after[name].seconds)
            for name in before
            if before[name].feedback.error is None and after[name].feedback.error is None
        },
        latency=search.settings.latency,
        z=search.settings.z,
    )
    scores = {name: (before[name].score, after[name].score) for name in before}
    return "accepted" if verdict.accepted else "validation", verdict.reason, scores, verdict


def _open_seal(
    search: _Search, record: WorkflowRecord | None, ledger: EditLedger | None, notes: list[str]
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


def _is_new(search: _Search, record: WorkflowRecord) -> bool:
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
