"""The commands that improve a workflow by edits, and look their evidence over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from .tables import number_text, plain, plain_lines
from .terminal import fail, out

if TYPE_CHECKING:
    from ..agent.llm.answers import LanguageModel
    from ..agent.llm.client import Client
    from ..agent.llm.metering import Caps
    from ..agent.workflow.files import Pipeline
    from ..agent.workflow.propose import Proposer
    from ..tools.edits import EditLedger, EditRecord

app = typer.Typer()
patch = typer.Typer(name="patch", help="Look over, apply and take back what `optimise` found.")
app.add_typer(patch)

By = Literal["optimizer", "masked", "opro", "gepa", "random"]
ITSELF = Path("self")
ITS_TRIALS = 15
INTENTS = "intents"
"""The suite of `self` that trains the planner's policy instead of the samplers' prompts."""
SIMULATED = "simulated"
"""What the endpoints of `evals/advisers` call their model."""
File = Annotated[Path, typer.Argument(help="A file that defines workflow, params and suite.")]
SuiteFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--suite",
        help="The file with the suite, if it is another; of `self`: tasks, or `intents`.",
    ),
]
RunName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--name", help="The run's name; by default the file's."),
]


@app.command()
def optimise(
    pipeline: Annotated[
        Path,
        typer.Argument(
            help="A file that defines workflow, params and suite; or `self`, for Luthier's prompts."
        ),
    ],
    suite: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Another file that defines the suite; for `self`, a suite of the evals."),
    ] = None,
    name: RunName = None,
    steps: Annotated[int, typer.Option(min=1, help="Edits to ask for.")] = 10,
    candidates: Annotated[int, typer.Option(min=1, max=8, help="Proposals a step.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Cases that run at a time.")] = 1,
    minutes: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.0, help="Begin no step after that."),
    ] = None,
    tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1,
            help="The most that asking for edits may take in this run; of `self`, all calls.",
        ),
    ] = None,
    dollars: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.0, help="Likewise; refused if the model's price is unknown."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    by: Annotated[By, typer.Option(help="Who proposes; the others are baselines.")] = "optimizer",
) -> None:
    """Improve a workflow's prompts, data and code; nothing is changed before you apply it."""
    from ..agent.llm.answers import Usage
    from ..agent.llm.metering import Caps
    from ..agent.workflow import Settings
    from ..agent.workflow import optimise as run

    settings = Settings(
        steps=steps,
        candidates=candidates,
        workers=workers,
        seed=seed,
        seconds=None if minutes is None else 60.0 * minutes,
    )
    run_name = name or pipeline.stem
    caps = Caps(tokens, dollars)
    with (
        _opened(pipeline, suite, caps) as (found, llm),
        _proposer(by, caps, llm) as proposer,
        _ledger() as ledger,
    ):
        done = run(
            found.workflow,
            found.params,
            found.suite,
            proposer,
            objective=found.objective,
            settings=settings,
            ledger=ledger,
            name=run_name,
            on_edit=_tell,
        )
    console = out()
    if llm is not None:
        spent = llm.meter.total()
        asking = llm.meter.by_purpose().get("workflow", Usage()).tokens
        text = f"{spent.tokens:,} tokens, of which {asking:,} asked for edits."
        console.print(text, markup=False, highlight=False)
    accepted = sum(edit.accepted for edit in done.edits)
    text = f"{accepted} of {len(done.edits)} edits accepted; {done.ended}."
    console.print(plain(text), markup=False, highlight=False)
    if done.sealed is not None:
        sealed = f"On the sealed cases: a mean gain of {done.sealed.mean:+.4g}."
        console.print(sealed, markup=False, highlight=False)
    for note in done.notes:
        console.print(plain(note), style="yellow", markup=False, highlight=False, soft_wrap=True)
    if accepted:
        next_step = f"Next: luthier patch show {run_name}"
        console.print(next_step, markup=False, highlight=False)


@contextmanager
def _opened(
    pipeline: Path, suite: Path | None, caps: Caps
) -> Iterator[tuple[Pipeline, Client | None]]:
    """Open a workflow; for Luthier's own prompts with the model that they are tried out on."""
    if pipeline == ITSELF:
        with _itself(suite, caps) as found:
            yield found
        return
    from ..agent.workflow.files import load_pipeline

    yield load_pipeline(pipeline, suite), None


@contextmanager
def _itself(suite: Path | None, caps: Caps) -> Iterator[tuple[Pipeline, Client]]:
    """Open the workflow of Luthier's own prompts, for the model that is set up."""
    from ..agent.llm.client import language_model
    from ..agent.llm.settings import HOW_TO
    from ..agent.workflow.files import Pipeline
    from ..evals.suites import tasks_of
    from ..evals.workflow import itself, policy

    is_policy = suite is not None and str(suite) == INTENTS
    tasks = () if is_policy else tasks_of("tables" if suite is None else str(suite))
    llm = language_model(caps=caps)
    if llm is None:
        fail(f"Luthier's prompts are tried out on a language model: {HOW_TO}")
    with llm:
        if llm.name == SIMULATED:
            text = "The model is simulated: this shows that the plumbing works, and no quality."
            out().print(text, style="yellow", markup=False, highlight=False)
        found = policy.policy(llm.line) if is_policy else itself.itself(llm, tasks, ITS_TRIALS)
        objective = policy.OBJECTIVE if is_policy else itself.OBJECTIVE
        params, suite_of_it = found.params, found.suite
        yield Pipeline(ITSELF, found.workflow, params, params, suite_of_it, objective), llm


@contextmanager
def _proposer(by: By, caps: Caps, llm: Client | None) -> Iterator[Proposer]:
    """Make a proposer by `llm`, so that its budget covers both; None for one of its own."""
    from ..agent.workflow.propose import LLMProposer, RandomProposer, configured
    from ..agent.workflow.reflection import GepaProposer

    if by == "random":
        yield RandomProposer()
        return
    makers: dict[By, Callable[[LanguageModel], Proposer]] = {
        "optimizer": LLMProposer,
        "masked": partial(LLMProposer, view="masked"),
        "opro": partial(LLMProposer, view="history"),
        "gepa": GepaProposer,
    }
    with configured(caps, makers[by]) if llm is None else nullcontext(makers[by](llm)) as proposer:
        yield proposer


@contextmanager
def _ledger() -> Iterator[EditLedger]:
    from ..tools.database import open_database
    from ..tools.edits import EditLedger
    from ..tools.workspace import find_workspace

    database = open_database(find_workspace().ledger_path)
    try:
        yield EditLedger(database)
    finally:
        database.close()


def _tell(edit: EditRecord) -> None:
    style = "green" if edit.accepted else "dim"
    text = f"edit {edit.number} {edit.decision}: {edit.reason}"
    out().print(plain(text), style=style, markup=False, highlight=False, soft_wrap=True)


@patch.command()
def show(name: Annotated[str, typer.Argument(help="The run's name.")]) -> None:
    """Show the edits that lead to a run's best parameters, each with its evidence."""
    from ..tools.edits import lineage

    console = out()
    with _ledger() as ledger:
        workflow = ledger.workflow(name)
        edits = ledger.edits(workflow)
    line = lineage(edits)
    for edit in line:
        _show(edit)
    others = [edit for edit in edits if edit not in line]
    tokens = sum(edit.tokens for edit in edits)
    text = f"{len(line)} lead to the best, {len(others)} do not; {tokens:,} tokens in all."
    console.print(text, markup=False, highlight=False)
    for edit in others:
        console.print(
            plain(f"  edit {edit.number} {edit.decision}: {edit.reason}"),
            style="dim",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if workflow.sealed is not None:
        text = f"On the sealed cases: {workflow.sealed['mean']:+.4g}, {workflow.sealed['reason']}."
        console.print(plain(text), markup=False, highlight=False, soft_wrap=True)


def _show(edit: EditRecord) -> None:
    console = out()
    console.print(f"[bold]edit {edit.number}[/bold] by {plain(edit.proposer)}", highlight=False)
    console.print(plain(edit.diagnosis), markup=False, highlight=False, soft_wrap=True)
    for line in plain_lines(edit.diff).split("\n"):
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    for case, (before, after) in edit.scores.items():
        text = f"  {plain(case):24} {number_text(before):>10} {number_text(after):>10}"
        console.print(f"{text}  {after - before:+.4g}", markup=False, highlight=False)
    low = "; low evidence: too few cases" if edit.low_evidence else ""
    mean, bound = edit.mean or 0.0, edit.bound or 0.0
    text = f"  mean gain {mean:+.4g}, at least {bound:+.4g}{low}; {edit.tokens:,} tokens"
    console.print(text, markup=False, highlight=False)
    for param, reason in edit.refused.items():
        text = f"  refused {plain(param)}: {plain(reason)}"
        console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


@patch.command("apply")
def apply_(
    pipeline: File,
    suite: SuiteFile = None,
    name: RunName = None,
    without: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(metavar="EDIT", help="Leave this edit out; the rest is measured anew."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option(help="Also with low evidence, or where the rest gains nothing.")
    ] = False,
) -> None:
    """Apply a run's accepted edits; they stand beside the file, which stays as it is."""
    if pipeline == ITSELF:
        fail("Luthier's prompts are files in `prompts/`; put the new text there, as a new version")
    from ..agent.workflow.files import apply, load_pipeline, patch_path
    from ..tools.edits import lineage

    found = load_pipeline(pipeline, suite)
    run_name = name or pipeline.stem
    left_out = set(without or ())
    with _ledger() as ledger:
        accepted = lineage(ledger.edits(ledger.workflow(run_name)))
    if unknown := left_out - {edit.number for edit in accepted}:
        way = f"`luthier patch show {run_name}`"
        fail(f"edit {min(unknown)} is none of those that lead to the best; {way} lists them")
    values = {k: v for e in accepted if e.number not in left_out for k, v in e.changes.items()}
    if not values:
        fail(f"no edit of {run_name!r} is left to apply; see `luthier patch show {run_name}`")
    if not anyway:
        _check_evidence(found, values, accepted, measure=bool(left_out))
    apply(found, run_name, values)
    text = f"Applied: {', '.join(sorted(values))}, in {plain(patch_path(pipeline))}."
    out().print(text, markup=False, highlight=False, soft_wrap=True)
    out().print(
        f"Back: luthier patch revert {plain(pipeline)} --name {plain(run_name)}", markup=False
    )


def _check_evidence(
    found: Pipeline, values: dict[str, object], accepted: list[EditRecord], *, measure: bool
) -> None:
    """See that what is applied has earned it; edits interact, so a part is measured by itself."""
    from ..agent.workflow.accept import judge
    from ..agent.workflow.evaluate import Evaluator, split

    if any(edit.low_evidence for edit in accepted):
        fail("too few cases decided on these edits to believe them; --anyway applies them still")
    if not measure:
        return
    evaluator = Evaluator(found.workflow, found.suite)
    cases = split(found.suite).validation
    before, after = (
        {n: r.score for n, r in evaluator.evaluate(params, cases).items()}
        for params in (found.params, found.params.but(values))
    )
    verdict = judge(before, after, max_drop=found.suite.max_drop, guards=found.suite.guards)
    out().print(f"Without them: {verdict.reason}.", markup=False, highlight=False, soft_wrap=True)
    if not verdict.accepted:
        fail("what is left has not earned its place; --anyway applies it all the same")


@patch.command()
def revert(pipeline: File, name: RunName = None) -> None:
    """Take an applied patch back."""
    from ..agent.workflow.files import revert as take_back

    run_name = name or pipeline.stem
    take_back(pipeline, run_name)
    out().print(f"Reverted {plain(run_name)}.", markup=False, highlight=False)
