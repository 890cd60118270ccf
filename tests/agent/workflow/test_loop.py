"""Whole optimisations: with a simulated model behind a real endpoint, and by a script."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.llm.answers import LLMError
from luthier.agent.llm.client import Client
from luthier.agent.llm.line import Line
from luthier.agent.llm.settings import Settings as Endpoint
from luthier.agent.workflow import (
    Case,
    Feedback,
    Param,
    ParamSet,
    Settings,
    Suite,
    op,
    optimise,
    param,
)
from luthier.agent.workflow.evaluate import SuiteError, split
from luthier.agent.workflow.loop import Optimised
from luthier.agent.workflow.propose import (
    Edit,
    LLMProposer,
    Proposal,
    Proposed,
    RandomProposer,
)
from luthier.agent.workflow.represent import Problem
from luthier.agent.workflow.sandbox import available, call
from luthier.agent.workflow.search import NothingToTrainError
from luthier.evals.advisers import faults
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import serve
from luthier.tools.database import open_database
from luthier.tools.edits import EditLedger, EditRecord, WorkflowError, lineage
from pydantic import BaseModel, Field

BROKEN = "def grow(x, by):\n    y = x * by\n    return y.value\n"
FIXED = "def grow(x, by):\n    return x * by\n"


class Space(BaseModel):
    by: int = Field(ge=1, le=5)


def suite(count: int = 20, **more: Any) -> Suite:
    """Return a suite that wants three times the input; each case is its number."""

    def score(case: Case, output: Any) -> Feedback:
        wanted = 3 * case.inputs
        return Feedback(1.0 - abs(output - wanted) / wanted, f"{output} instead of {wanted}")

    cases = [Case(f"case{i:02}", i + 1) for i in range(count)]
    return Suite(cases, score, **{"max_drop": 0.1, **more})


@op
def grow(x: int) -> Any:
    """Multiply in the sandbox."""
    return call(param("recipe"), "grow", [(x, param("space")["by"])])[0]


@op
def plain_grow(x: int) -> int:
    """Multiply here."""
    return x * int(param("space")["by"])


PARAMS = ParamSet(
    [
        Param.code("recipe", BROKEN, "what grows"),
        Param.json("space", {"by": 1}, Space, "by how much"),
        Param.text("prompt", "a text that nothing reads"),
    ]
)
NUMBERS = ParamSet([Param.json("space", {"by": 1}, Space), Param.text("prompt", "unread")])


def edit(**changes: Any) -> Proposal:
    edits = [Edit(param=n, new_value_json=json.dumps(v), why="") for n, v in changes.items()]
    return Proposal(diagnosis="because", edits=edits)


class Scripted:
    """Proposes what it was told to, one after the other."""

    name = "scripted"

    def __init__(self, *proposals: Proposal | LLMError) -> None:
        self.left = list(proposals)
        self.seen: list[tuple[Problem, str]] = []

    def propose(self, problem: Problem, count: int, seed: int, refused: str = "") -> list[Proposed]:
        self.seen.append((problem, refused))
        found = self.left.pop(0) if self.left else Proposal(diagnosis="nothing more", edits=[])
        if isinstance(found, LLMError):
            raise found
        return [Proposed(found)]


def run(proposer: Any, steps: int = 3, **more: Any) -> Optimised:
    given = {"workflow": plain_grow, "params": NUMBERS, "suite": suite()} | more
    return optimise(
        given.pop("workflow"),
        given.pop("params"),
        given.pop("suite"),
        proposer,
        settings=Settings(steps=steps),
        **given,
    )


def decisions(done: Optimised) -> list[str]:
    return [each.decision for each in done.edits]


# with a language model


@pytest.fixture
def model() -> Iterator[Callable[..., LLMProposer]]:
    with ExitStack() as stack:

        def connect(mind: Callable[[Request], Reply], **options: Any) -> LLMProposer:
            server = stack.enter_context(serve(mind, **options))
            line = Line(Endpoint(base_url=server.url, model=server.model, seconds=30))
            client = Client(line)
            stack.callback(client.close)
            return LLMProposer(client)

        yield connect


def answer(diagnosis: str, **changes: Any) -> Reply:
    return Reply((edit(**changes).model_copy(update={"diagnosis": diagnosis}).model_dump_json(),))


def fixer(request: Request) -> Reply:
    """Mend what the feedback blames: the line that failed, then the number that is too small."""
    text = request.messages[-1].content
    if "AttributeError in line 3" in text:
        return answer("line 3 asks a number for its value", recipe=FIXED)
    if "why your last answer was refused" in text:
        return answer("by is at most 5", space={"by": 3})
    return answer("it grows too little", space={"by": 300})


@pytest.mark.skipif(available() is not None, reason=str(available()))
def test_a_broken_recipe_is_mended_from_its_trace_and_an_edit_out_of_the_space_is_refused(
    model: Callable[..., LLMProposer], tmp_path: Path
) -> None:
    ledger = EditLedger(open_database(tmp_path / "ledger.db"))
    done = optimise(
        grow, PARAMS, suite(), model(fixer), ledger=ledger, name="w", settings=Settings(steps=2)
    )
    mended, grown = done.edits
    assert (mended.decision, dict(mended.changes)) == ("accepted", {"recipe": FIXED})
    assert (grown.decision, dict(grown.changes)) == ("accepted", {"space": {"by": 3}})
    assert "less than or equal to 5" in grown.refused["space"]
    assert dict(done.best) == {**dict(PARAMS), "recipe": FIXED, "space": {"by": 3}}
    assert len(grown.scores) == 8
    assert all(after == 1.0 > before for before, after in grown.scores.values())
    assert grown.bound is not None
    assert grown.bound > 0
    assert done.sealed is not None
    assert done.sealed.mean == pytest.approx(1.0)
    assert all(each.tokens > 0 and each.prompt == "workflow@2" for each in done.edits)
    assert ledger.edits(ledger.workflow("w")) == list(done.edits)
    assert ledger.workflow("w").openings == 1


def test_what_is_proposed_is_made_from_the_parameters_that_ran_and_nothing_else(
    model: Callable[..., LLMProposer],
) -> None:
    asked: list[str] = []

    def curious(request: Request) -> Reply:
        asked.append(request.messages[-1].content)
        return answer("the prompt is to blame", prompt="be kind")

    done = run(model(curious), 1)
    assert decisions(done) == ["refused"]
    assert "had no part in what ran" in done.edits[0].refused["prompt"]
    assert "unread" not in asked[0]
    assert "had no part in what ran" in asked[1]


@pytest.mark.parametrize("fault", [faults.malformed(), faults.empty(), faults.Status(500)])
def test_a_model_that_fails_ends_the_search_and_nothing_is_changed(
    model: Callable[..., LLMProposer], fault: Any
) -> None:
    done = run(model(fixer, faults=faults.always(fault)), 5)
    assert "the language model fails" in done.ended
    assert dict(done.best) == dict(NUMBERS)


def test_a_step_without_an_answer_is_kept_with_its_cause_and_not_done_again(
    model: Callable[..., LLMProposer], tmp_path: Path
) -> None:
    ledger = EditLedger(open_database(tmp_path / "ledger.db"))

    def go(proposer: LLMProposer, steps: int) -> Optimised:
        settings = Settings(steps=steps)
        return optimise(
            plain_grow, NUMBERS, suite(), proposer, settings=settings, ledger=ledger, name="w"
        )

    broken = go(model(fixer, faults=faults.always(faults.malformed())), 1)
    assert decisions(broken) == ["no answer"]
    assert broken.edits[0].tokens > 0
    assert decisions(go(model(fixer), 2)) == ["no answer", "accepted"]


def test_of_several_proposals_those_that_come_are_tried_and_the_others_are_paid_for(
    model: Callable[..., LLMProposer],
) -> None:
    proposer = model(fixer, faults=faults.first(faults.Refuse()))
    alone = run(model(fixer), 1)
    done = optimise(
        plain_grow, NUMBERS, suite(), proposer, settings=Settings(steps=1, candidates=3)
    )
    assert decisions(done) == ["accepted", "repeated"]
    assert done.best["space"] == {"by": 3}
    assert done.edits[0].tokens >= alone.edits[0].tokens


@pytest.mark.parametrize("fault", [faults.truncated(0.6), faults.injecting(), faults.huge(300_000)])
def test_an_answer_that_is_broken_once_is_asked_for_again(
    model: Callable[..., LLMProposer], fault: Any
) -> None:
    done = run(model(fixer, faults=faults.first(fault)), 1)
    assert decisions(done) == ["accepted"]
    assert done.best["space"] == {"by": 3}


def test_what_a_model_says_beside_its_answer_does_not_count(
    model: Callable[..., LLMProposer],
) -> None:
    def chatty(request: Request) -> Reply:
        (text,) = fixer(request).texts
        return Reply((f"Sure! TERMINATE?\n```json\n{text}\n```\nTERMINATE",))

    assert decisions(run(model(chatty), 1)) == ["accepted"]


def test_an_edit_that_there_is_no_budget_to_measure_ends_the_search_and_may_come_again(
    tmp_path: Path,
) -> None:
    left = [22]

    @op
    def paid(x: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise LLMError("the budget of 22 calls has 0 left", "budget")
        return x * int(param("space")["by"])

    def again() -> Optimised:
        with closing(open_database(tmp_path / "ledger.db")) as database:
            return optimise(
                paid,
                NUMBERS,
                suite(),
                Scripted(edit(space={"by": 3})),
                ledger=EditLedger(database),
                settings=Settings(steps=2),
            )

    short = again()
    assert decisions(short) == ["unmeasured"]
    assert (short.best, short.sealed) == (short.base, None)
    assert short.ended == "the budget of 22 calls has 0 left"
    left[0] = 1_000
    longer = again()
    assert decisions(longer) == ["unmeasured", "accepted"]
    assert longer.sealed is not None


@pytest.mark.skipif(available() is not None, reason=str(available()))
@pytest.mark.parametrize("filler", ["\n    # a line as code has them", "\n    # é 'quoted' \\n"])
def test_the_longest_code_comes_back_whole(model: Callable[..., LLMProposer], filler: str) -> None:
    long = BROKEN.rstrip() + filler * ((7_900 - len(BROKEN)) // len(filler)) + "\n"

    def mending(request: Request) -> Reply:
        assert long.splitlines()[-1] in request.messages[-1].content
        return answer("it fails", recipe=long.replace(BROKEN.rstrip(), FIXED.rstrip()))

    params = ParamSet([Param.code("recipe", long), PARAMS.params["space"]])
    done = run(model(mending), 1, workflow=grow, params=params)
    assert decisions(done) == ["accepted"], done.edits[0].reason
    assert len(done.best["recipe"]) > 7_500


# what becomes of an edit


def test_a_repair_that_does_not_come_leaves_the_refusal() -> None:
    class Silent(Scripted):
        def propose(
            self, problem: Problem, count: int, seed: int, refused: str = ""
        ) -> list[Proposed]:
            return [] if refused else super().propose(problem, count, seed)

    done = run(Silent(edit(space={"by": 9})), 1)
    assert decisions(done) == ["refused"]


def test_a_joint_edit_of_prompt_and_space_is_one_decision() -> None:
    @op
    def both(x: int) -> float:
        return x * int(param("space")["by"]) * (1.0 if "please" in param("prompt") else 0.1)

    done = run(Scripted(edit(space={"by": 3}, prompt="please")), 1, workflow=both)
    assert decisions(done) == ["accepted"]
    assert dict(done.best) == {"space": {"by": 3}, "prompt": "please"}
    assert "+please" in done.edits[0].diff


def test_a_regression_is_rolled_back_by_not_going_on_with_it() -> None:
    scripted = Scripted(edit(space={"by": 3}), edit(space={"by": 5}), edit(space={"by": 2}))
    done = run(scripted)
    assert decisions(done) == ["accepted", "mini-batch", "mini-batch"]
    assert done.best["space"] == {"by": 3}


def test_a_gain_on_its_own_cases_alone_is_not_accepted() -> None:
    own = {case.name for case in split(suite()).dev}

    @op
    def cheat(x: int) -> int:
        known = f"case{x - 1:02}" in own
        return x * (3 if known and param("space")["by"] == 2 else 1)

    done = run(Scripted(edit(space={"by": 2})), 1, workflow=cheat)
    assert decisions(done) == ["validation"]
    assert dict(done.best) == dict(NUMBERS)
    assert done.sealed is None


@pytest.mark.parametrize(("slow_runs", "decision"), [(8, "accepted"), (99, "validation")])
def test_what_was_slow_once_is_timed_again_in_turn_before_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, slow_runs: int, decision: str
) -> None:
    """Runs take a tenth of a second by this clock; the first so many of the edit take a second."""
    now, slow = [0.0], [slow_runs + 3]  # three runs are those of its own cases
    monkeypatch.setattr("luthier.agent.workflow.evaluate.time.perf_counter", lambda: now[0])

    @op
    def timed(x: int) -> int:
        by = int(param("space")["by"])
        slow[0] -= by == 3
        now[0] += 1.0 if by == 3 and slow[0] >= 0 else 0.1
        return x * by

    done = run(Scripted(edit(space={"by": 3})), 1, workflow=timed)
    assert decisions(done) == [decision], done.edits[0].reason
    assert ("it takes " in done.edits[0].reason) == (decision == "validation")


def test_a_gain_that_costs_much_more_is_not_accepted() -> None:
    def score(case: Case, output: Any) -> Feedback:
        return Feedback(output / (5.0 * case.inputs), cost=float(output))

    cases = [Case(f"case{i:02}", i + 1) for i in range(20)]
    done = run(Scripted(edit(space={"by": 2})), 1, suite=Suite(cases, score, max_drop=0.1))
    assert decisions(done) == ["validation"]
    assert "it costs " in done.edits[0].reason


def test_the_same_edit_twice_and_none_at_all_cost_no_run() -> None:
    scripted = Scripted(edit(space={"by": 1}), edit(space={"by": 3}), edit(space={"by": 3}))
    assert decisions(run(scripted)) == ["no change", "accepted", "no change"]
    done = run(Scripted(edit(space={"by": 2}), edit(space={"by": 2})), 2)
    assert decisions(done)[0] == "accepted"
    again = run(Scripted(edit(space={"by": 5}), edit(space={"by": 5})), 2)
    assert decisions(again)[1] in ("repeated", "mini-batch", "no change")


def test_an_edit_that_breaks_the_workflow_ends_at_the_first_case() -> None:
    @op
    def picky(x: int) -> int:
        if param("space")["by"] == 4:
            raise RuntimeError("four is too many")
        return x

    done = run(Scripted(edit(space={"by": 4})), 1, workflow=picky)
    assert (decisions(done), done.edits[0].reason) == (
        ["smoke"],
        "it fails: RuntimeError: four is too many",
    )


def test_an_edit_is_not_given_a_third_chance() -> None:
    scripted = Scripted(edit(space={"by": 9}), edit(space={"by": 8}))
    done = run(scripted, 1)
    assert decisions(done) == ["refused"]
    assert [bool(refused) for _, refused in scripted.seen] == [False, True]


def test_texts_of_the_hidden_cases_must_not_be_repeated() -> None:
    words = "one two three four five six seven eight nine"
    hidden = Suite(
        [Case(f"c{i}", {"x": 1, "text": f"{words} {i}"}) for i in range(10)],
        lambda case, output: Feedback(0.5),
    )

    @op
    def read(inputs: dict[str, Any]) -> str:
        return str(param("prompt"))

    scripted = Scripted(edit(prompt=f"say {words}"), edit(prompt="say one two three"))
    done = run(scripted, 1, workflow=read, suite=hidden)
    assert "repeats 8 words of a case" in done.edits[0].refused["prompt"]


def test_proposals_that_were_rejected_are_shown_with_their_reasons() -> None:
    scripted = Scripted(edit(space={"by": 3}), edit(space={"by": 5}))
    run(scripted)
    problem, _ = scripted.seen[2]
    accepted, rejected = problem.past
    assert accepted.decision == "accepted"
    assert rejected.decision.startswith("mini-batch: a mean of")


# the suite, the ledger


def test_few_cases_are_low_evidence_and_say_so() -> None:
    done = run(Scripted(edit(space={"by": 3})), 1, suite=suite(6))
    assert done.low_evidence
    assert all(each.low_evidence for each in done.edits)
    assert any("low evidence" in note for note in done.notes)


def test_the_parts_of_a_suite_have_nothing_in_common() -> None:
    parts = split(suite(20))
    names = [{case.name for case in part} for part in (parts.dev, parts.validation, parts.sealed)]
    assert [len(part) for part in names] == [8, 8, 4]
    assert len(set.union(*names)) == 20


def test_a_parameter_too_long_to_be_shown_is_left_as_it_is_and_said_so() -> None:
    long = Param.text("prompt", "word " * 10_000, most=60_000)

    @op
    def prompted(x: int) -> int:
        return x * int(param("space")["by"]) + 0 * len(param("prompt"))

    scripted = Scripted(edit(prompt="short"))
    done = run(scripted, workflow=prompted, params=ParamSet([NUMBERS.params["space"], long]))
    assert scripted.seen[0][0].allowed == {"space"}
    assert any(note.startswith("prompt is left as it is: it takes 50,0") for note in done.notes)
    assert done.best["prompt"] == long.value


def test_an_edit_that_could_not_be_shown_again_is_refused() -> None:
    text = Param.text("prompt", "word", most=60_000)

    @op
    def prompted(x: int) -> int:
        return x * len(param("prompt"))

    done = run(Scripted(edit(prompt="word " * 10_000)), workflow=prompted, params=ParamSet([text]))
    assert "there is room for 34,000" in done.edits[0].refused["prompt"]


def test_a_workflow_that_reads_no_parameter_has_nothing_to_train() -> None:
    with pytest.raises(NothingToTrainError, match="depend on none of the trainable parameters"):
        run(Scripted(), 1, workflow=op(lambda x: x))


@pytest.mark.parametrize(
    ("cases", "why"),
    [
        ([Case("a", 1)], "at least two cases"),
        ([Case("a", 1), Case("a", 2)], "two cases are named 'a'"),
    ],
)
def test_a_suite_that_measures_nothing_is_refused(cases: list[Case], why: str) -> None:
    with pytest.raises(SuiteError, match=why):
        Suite(cases, lambda case, output: Feedback(0.0))


def test_a_run_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    ledger = EditLedger(open_database(tmp_path / "ledger.db"))
    run(Scripted(edit(space={"by": 2})), 1, ledger=ledger)
    later = Scripted(edit(space={"by": 3}))
    done = run(later, 2, ledger=ledger)
    assert len(later.seen) == 1
    assert decisions(done) == ["accepted", "accepted"]
    assert done.best["space"] == {"by": 3}


def test_a_run_of_several_candidates_a_step_goes_on_at_its_step(tmp_path: Path) -> None:
    class Several(Scripted):
        def propose(
            self, problem: Problem, count: int, seed: int, refused: str = ""
        ) -> list[Proposed]:
            return [Proposed(self.left.pop(0)) for _ in range(count)]

    ledger = EditLedger(open_database(tmp_path / "ledger.db"))
    for steps, last in ((1, 2), (2, 3)):
        several = Several(edit(space={"by": 5}), edit(space={"by": last}))
        done = optimise(
            plain_grow,
            NUMBERS,
            suite(),
            several,
            ledger=ledger,
            settings=Settings(steps=steps, candidates=2),
        )
    assert len(done.edits) == 4
    assert done.best["space"] == {"by": 3}


def test_only_the_edits_that_lead_to_the_best_are_its_patch() -> None:
    def record(number: int, parent: str, made: str, after: float, decision: str) -> EditRecord:
        return EditRecord(
            number, "s", parent, made, "", {}, {}, "", decision, "",
            {"a": (0.0, after)}, 0.0, 0.0, False, "", 0, None,
        )  # fmt: skip

    edits = [
        record(1, "base", "one", 0.4, "accepted"),
        record(2, "one", "two", 0.9, "accepted"),
        record(3, "base", "aside", 0.5, "accepted"),
        record(4, "two", "three", 1.0, "validation"),
    ]
    assert [each.number for each in lineage(edits)] == [1, 2]
    assert lineage(edits[3:]) == []


def test_a_run_from_other_parameters_needs_another_name(tmp_path: Path) -> None:
    ledger = EditLedger(open_database(tmp_path / "ledger.db"))
    run(Scripted(), 1, ledger=ledger)
    with pytest.raises(WorkflowError, match="begun with other parameters"):
        run(Scripted(), 1, ledger=ledger, params=NUMBERS.but({"space": {"by": 2}}))


def test_the_seal_is_opened_once_for_one_result(tmp_path: Path) -> None:
    ledger = EditLedger(open_database(tmp_path / "ledger.db"))
    first = run(Scripted(edit(space={"by": 3})), 1, ledger=ledger)
    second = run(Scripted(), 1, ledger=ledger)
    assert first.sealed == second.sealed
    assert ledger.workflow("workflow").openings == 1


def test_a_seal_that_was_opened_three_times_is_none_whatever_the_runs_were_named(
    tmp_path: Path,
) -> None:
    ledger = EditLedger(open_database(tmp_path / "ledger.db"))
    told = [
        any("not sealed any more" in note for note in done.notes)
        for name in ("one", "two", "three")
        for done in [run(Scripted(edit(space={"by": 3})), 1, ledger=ledger, name=name)]
    ]
    assert told == [False, False, True]


def test_chance_proposes_what_the_checks_let_through() -> None:
    done = run(RandomProposer(), 6)
    assert all(each.proposer == "random" for each in done.edits)
    assert dict(done.best)["space"]["by"] >= 1
