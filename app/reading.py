"""The commands that only look: they read the ledger and write nothing but files asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from .tables import (
    configuration_text,
    decision_text,
    number_text,
    plain,
    seconds_text,
    sparkline,
    state_text,
    trials_table,
)
from .terminal import AsJson, Name, out, print_best, print_json, study_named

if TYPE_CHECKING:
    from ..tools.records import TrialRecord
    from ..tools.spec import StudySpec
    from ..tools.study import Study
    from ..tools.workspace import Workspace

app = typer.Typer()
export_app = typer.Typer(no_args_is_help=True, help="Write a study, or the reporter, to a file.")
spec_app = typer.Typer(no_args_is_help=True, help="Look at specs.")
app.add_typer(export_app, name="export")
app.add_typer(spec_app, name="spec")


@app.command()
def status(
    name: Annotated[Optional[str], typer.Argument(metavar="[STUDY]")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """Show all studies, or one."""
    from ..tools.workspace import find_workspace

    if name is not None:
        _print_status(study_named(name), as_json=as_json)
        return
    workspace = find_workspace()
    rows = [_status_row(study) for study in _studies(workspace)]
    if as_json:
        print_json(rows)
    elif rows:
        out().print(_status_table(rows))
    else:
        out().print(f"There are no studies in {workspace.folder}.", markup=False, highlight=False)


def _print_status(study: Study, *, as_json: bool) -> None:
    from .live import look, render

    audit = study.audit()
    if as_json:
        pruning = None if audit is None else vars(audit) | {"expected": audit.expected}
        print_json(_status_row(study) | {"pruning": pruning})
        return
    console = out()
    console.print(render(look(study), console))
    if audit is not None:
        console.print(f"pruning: {audit}", highlight=False)


def _studies(workspace: Workspace) -> list[Study]:
    from ..tools.ledger import open_ledger
    from ..tools.study import Study

    if not workspace.ledger_path.exists():
        return []
    ledger = open_ledger(workspace.ledger_path)
    return [Study(ledger, workspace, study.name) for study in ledger.studies()]


def _status_row(study: Study) -> dict[str, Any]:
    from ..tools.analysis import best_trials, counts
    from ..tools.claims import claim

    record, owner, trials = study.record, study.owner, study.trials(curves=False)
    best = next(iter(best_trials(record.spec, trials)), None)
    found = claim(record.spec, trials)
    said = None if best is None else {name: best.metrics[name] for name in record.spec.objectives}
    if found is not None:
        said = {found.metric: found.estimate}
    return {
        "name": record.name,
        "state": study.state,
        "reason": record.reason,
        "trials": len(trials),
        "outcomes": counts(trials),
        "best": said,
        "claim": None if found is None else found.quote,
        "budget": record.spec.budget.model_dump(),
        "wall_seconds": record.wall_seconds,
        "owner": None if owner is None else owner.name,
        "parent": record.parent,
        "working_directory": str(record.working_directory),
    }


def _status_table(rows: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("study", "state", "trials", "best", "wall time", "run by"):
        table.add_column(column)
    for row in rows:
        best = ", ".join(f"{plain(n)} {number_text(v)}" for n, v in (row["best"] or {}).items())
        if row["claim"] is not None:
            best = f"{plain(next(iter(row['best'])))} {row['claim']}"
        table.add_row(
            row["name"],
            row["state"],
            f"{row['trials']} of {row['budget']['trials'] or '∞'}",
            Text(best),
            seconds_text(row["wall_seconds"]),
            Text(plain(row["owner"] or "")),
        )
    return table


@app.command()
def watch(name: Name) -> None:
    """Watch a running study; Ctrl-C leaves it running."""
    from .live import watch as follow

    study = study_named(name)
    try:
        snapshot = follow(study, out())
    except KeyboardInterrupt:
        return
    out().print(f"Nobody runs study {name}; it is {snapshot.state}.", highlight=False)


@app.command("trials")
def list_trials(
    name: Name,
    state: Annotated[Optional[str], typer.Option(help="Only those in this state.")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """List a study's trials."""
    from ..tools.analysis import best_trials
    from ..tools.study import trial_document

    study = study_named(name)
    trials = study.trials(curves=as_json)
    if state is not None:
        _check_state(state)
        trials = [trial for trial in trials if str(trial.state) == state]
    if as_json:
        decisions = study.decisions()
        print_json([trial_document(trial, decisions) for trial in trials])
        return
    best = [trial.number for trial in best_trials(study.spec, trials)]
    console = out()
    console.print(trials_table(study.spec, trials, width=console.width, best=best))


def _check_state(state: str) -> None:
    from ..tools.outcomes import Outcome
    from ..tools.space import did_you_mean
    from ..tools.spec import SpecError

    states = ["waiting", "running", *Outcome]
    if state not in states:
        raise SpecError(f"no trial is ever {state!r}{did_you_mean(state, states)}")


@app.command()
def show(
    name: Name,
    number: Annotated[int, typer.Argument(metavar="TRIAL", help="The trial's number.")],
    as_json: AsJson = False,
) -> None:
    """Show one trial: its configuration, why it was chosen, its curves and attempts."""
    from ..tools.audit import spared_in
    from ..tools.claims import claim
    from ..tools.feasibility import memory_notes
    from ..tools.spec import SpecError
    from ..tools.study import trial_document

    study = study_named(name)
    trials, decisions = study.trials(), study.decisions()
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        last = f"the last one is {trials[-1].number}" if trials else "it has none yet"
        raise SpecError(f"study {name!r} has no trial {number}; {last}")
    if as_json:
        print_json(trial_document(trial, decisions))
        return
    console = out()
    console.print(
        Text.assemble(f"trial {number}  ", state_text(trial.state), f"  {plain(trial.reason)}")
    )
    for key, value in trial.configuration.items():
        console.print(f"  {plain(key)} = {plain(value)}", markup=False, highlight=False)
    if trial.is_repeat:
        line = f"repeats trial {trial.repeat_of}, with seed {trial.seed}"
        console.print(line, markup=False, highlight=False)
    said = claim(study.spec, trials)
    if said is not None and said.trial == number:
        console.print(f"best {plain(said.metric)}: {said.sentence}", markup=False, highlight=False)
    if number in decisions:
        console.print(decision_text(decisions[number]), markup=False, highlight=False)
        for note in memory_notes(trial, decisions[number]):
            console.print(plain(note), markup=False, highlight=False)
    if number in (spared := spared_in(study.events())):
        step = spared[number]
        console.print(f"audited: it would have been stopped early at step {step}", highlight=False)
    for metric, value in trial.metrics.items():
        curve = (trial.curves or {}).get(metric, {})
        line = f"{plain(metric)} {number_text(value)}  {sparkline(curve.values())}"
        console.print(line, markup=False, highlight=False)
    _print_attempts(console, study, trial)


def _print_attempts(console: Console, study: Study, trial: TrialRecord) -> None:
    for attempt in trial.attempts:
        folder = study.workspace.attempt_folder(study.name, trial.number, attempt.number)
        line = Text(f"attempt {attempt.number} on {attempt.slot}: ")
        line += state_text(attempt.outcome or "running")
        seconds = f", {seconds_text(attempt.seconds)}" if attempt.seconds is not None else ""
        console.print(line + Text(f" {plain(attempt.reason)}{seconds}"))
        if attempt.configuration != trial.configuration:
            console.print(Text("  with ") + configuration_text(attempt.configuration))
        console.print(f"  files: {folder}", markup=False, highlight=False)
        if attempt.error_tail.strip():
            tail = attempt.error_tail.strip().splitlines()[-15:]
            console.print(Text("\n".join(f"  {plain(line)}" for line in tail), style="dim"))


@app.command()
def best(name: Name, as_json: AsJson = False) -> None:
    """Show the best configuration so far, and what may be claimed of it."""
    from ..tools.analysis import best_trials
    from ..tools.claims import claim
    from ..tools.study import claim_document, trial_document

    study = study_named(name)
    if as_json:
        trials, decisions = study.trials(), study.decisions()
        said = {"claim": claim_document(claim(study.spec, trials))}
        best = best_trials(study.spec, trials)
        print_json([trial_document(trial, decisions) | said for trial in best])
        return
    print_best(study)


@app.command()
def report(
    name: Name,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Folder to write to; by default the workspace's."),
    ] = None,
) -> None:
    """Write an HTML page and a Markdown summary of a study."""
    paths = write_report_of(study_named(name), output)
    for path in (paths.html, paths.markdown):
        print(path)


def write_report_of(study: Study, output: Path | None = None) -> Any:
    """Write a study's report, by default to the workspace; return its paths."""
    from ..tools.spec import SpecError
    from .report import write_report

    folder = study.workspace.reports if output is None else output
    try:
        return write_report(study.record, study.trials(), study.decisions(), study.events(), folder)
    except OSError as error:
        raise SpecError(f"cannot write to {str(folder)!r}: {error.strerror}") from None


@export_app.command("study")
def export_study(
    name: Name,
    path: Annotated[Path, typer.Argument(help="A .json file (everything) or .csv (a table).")],
) -> None:
    """Write a study's trials to a file."""
    from ..tools.study import export_study as write

    write(study_named(name), path)
    print(path)


@export_app.command("reporter")
def export_reporter(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("luthier_report.py"),
) -> None:
    """Write the one-file reporter, for a training script of another environment."""
    from ..tools import reporting
    from ..tools.spec import SpecError

    source = Path(reporting.__file__).read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(source)
    except OSError as error:
        raise SpecError(f"cannot write {str(path)!r}: {error.strerror}") from None
    print(path)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check what this machine has, and what is missing."""
    from .doctor import check

    findings = check()
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        marks = {True: ("ok ", "green"), False: ("!! ", "red")}
        for finding in findings:
            out().print(Text.assemble(marks[finding.ok], f"{finding.what}: {plain(finding.text)}"))
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@spec_app.command("show")
def spec_show(
    source: Annotated[str, typer.Argument(help="A spec file, or a study's name.")],
    resolved: Annotated[bool, typer.Option(help="Write the defaults out too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a spec."""
    spec = _load(source)
    if as_json:
        print_json(spec.to_dict() if resolved else spec.model_dump_explicit())
    else:
        print(spec.to_yaml(resolved=resolved), end="")


@spec_app.command("diff")
def spec_diff(
    before: Annotated[str, typer.Argument(help="A spec file, or a study's name.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    as_json: AsJson = False,
) -> None:
    """Print the differences between two specs."""
    from ..tools.spec import diff

    changes = diff(_load(before), _load(after))
    if as_json:
        print_json([vars(change) for change in changes])
    else:
        print("\n".join(plain(change) for change in changes) or "They are the same.")


@spec_app.command("wish")
def spec_wish(
    source: Annotated[Path, typer.Argument(help="A spec file.")],
    words: Annotated[str, typer.Argument(help="As: start near lr 3e-4, never above batch 256.")],
    output: Annotated[Path | None, typer.Option(help="Where to write the new spec.")] = None,
) -> None:
    """Put a wish in your own words into a spec, by the language model; print the differences."""
    from ..agent.llambo.wishes import wished
    from ..agent.llm.client import language_model
    from ..agent.llm.settings import HOW_TO
    from ..tools.spec import SpecError, diff, load_spec

    before = load_spec(source)
    llm = language_model()
    if llm is None:
        raise SpecError(
            f"words are read by a language model, or write the ranges yourself: {HOW_TO}"
        )
    with llm:
        after, unclear = wished(llm, before, words)
    print("\n".join(plain(change) for change in diff(before, after)) or "Nothing changes.")
    for text in unclear:
        print(plain(f"Not done: {text}"))
    if output is None:
        return
    try:
        output.write_text(after.to_yaml(), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {str(output)!r}: {error.strerror}") from None


@spec_app.command("schema")
def spec_schema() -> None:
    """Print the JSON schema of a spec."""
    from ..tools.spec import StudySpec

    print_json(StudySpec.model_json_schema())


def _load(source: str) -> StudySpec:
    from ..tools.spec import load_spec

    if Path(source).suffix in (".yaml", ".yml", ".json"):
        return load_spec(Path(source))
    return study_named(source).spec
