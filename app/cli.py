"""The command line. Every command reads the ledger, or leaves a wish in it; `tune` runs a study.

Modules that cost time to import are imported by the commands that need them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from ..tools.errors import LuthierError
from .tables import (
    configuration_text,
    decision_text,
    number_text,
    plain,
    plain_lines,
    seconds_text,
    sparkline,
    state_text,
    trials_table,
)

if TYPE_CHECKING:
    from ..tools.records import TrialRecord
    from ..tools.spec import StudySpec
    from ..tools.study import Study
    from ..tools.workspace import Workspace

app = typer.Typer(
    name="luthier",
    help="Tunes machine-learning models: your training script stays as it is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
export_app = typer.Typer(no_args_is_help=True, help="Write a study, or the reporter, to a file.")
spec_app = typer.Typer(no_args_is_help=True, help="Look at specs.")
app.add_typer(export_app, name="export")
app.add_typer(spec_app, name="spec")

Name = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NewName = Annotated[Optional[str], typer.Option("--name", help="Name of the study.")]  # noqa: UP045
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Run it in the background.")]


def main() -> None:
    """Run the command line; an error of the user's is one sentence and exit code 2."""
    try:
        app()
    except LuthierError as error:
        _fail(str(error))


def _fail(message: str, code: int = 2) -> NoReturn:
    line = Text("error: ", style="bold red") + Text(plain(message))
    Console(stderr=True).print(line, soft_wrap=not sys.stderr.isatty())
    sys.exit(code)


def _out() -> Console:
    # A pipe or a file has no width of its own.
    return Console(width=None if sys.stdout.isatty() else 160)


def _print_json(data: Any) -> None:
    # NaN and infinity are no JSON; they are written as text.
    print(json.dumps(_strict(data), indent=2, ensure_ascii=False, default=str))


def _strict(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _strict(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_strict(value) for value in data]
    if isinstance(data, float) and data - data != 0:
        return str(data)
    return data


def _study(name: str) -> Study:
    from ..tools.study import open_study

    return open_study(name)


@app.command()
def init(
    script: Annotated[Path, typer.Argument(help="A training script; it is read, not run.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="The spec to write [default: luthier.yaml beside it]."),
    ] = None,
) -> None:
    """Read a training script and write a first spec for it."""
    from .init import write_spec

    result = write_spec(script, output)
    reading, console = result.reading, _out()
    wrote = f"Wrote {plain(result.path)}: {len(reading.found)} parameters."
    console.print(wrote, markup=False, highlight=False)
    for remark in reading.unread:
        console.print(f"  not read, line {remark.line}: {plain(remark.text)}", markup=False)
    if result.missing is not None:
        _fail(result.missing)
    next_step = f"Look it over, then: luthier tune {plain(result.path)}"
    console.print(next_step, markup=False, highlight=False)


@app.command()
def tune(
    spec: Annotated[Path, typer.Argument(help="A spec (YAML or JSON); trials run in its folder.")],
    name: NewName = None,
    detach: Detach = False,
) -> None:
    """Run a study, or go on with it if it was begun before."""
    from ..agent.worker import check_study
    from ..tools.ledger import open_ledger
    from ..tools.spec import SpecError, load_spec
    from ..tools.study import open_or_create, with_name
    from ..tools.workspace import find_workspace

    if spec.suffix == ".py":
        raise SpecError(f"{str(spec)!r} is a script; write a spec for it: luthier init {spec}")
    loaded = load_spec(spec)
    if name is not None:
        loaded = with_name(loaded, name)
    folder = spec.absolute().parent
    check_study(loaded, folder)
    workspace = find_workspace()
    study = open_or_create(open_ledger(workspace.ledger_path), loaded, folder)
    _run(_study(study.name), detach=detach)


def _run(study: Study, *, detach: bool) -> None:
    """Run a study in front, with a live view, or behind."""
    from ..agent.worker import WorkerError, run_study, start_detached
    from .live import live_view

    console = _out()
    try:
        if detach:
            start_detached(study.ledger, study.record, study.workspace)
            console.print(f"Study {study.name} runs in the background.", highlight=False)
            console.print(f"  luthier watch {study.name}    luthier stop {study.name}")
            return
        if console.is_terminal:
            with live_view(study, console):
                ending = run_study(study.ledger, study.record, study.workspace)
        else:
            from ..agent.progress import PrintProgress

            progress = PrintProgress(study.spec, study.trials(curves=False))
            ending = run_study(study.ledger, study.record, study.workspace, on_trial=progress)
            reason = plain_lines(ending.reason)
            console.print(f"Study {study.name} {ending.state}: {reason}", markup=False)
    except WorkerError as error:
        _fail(str(error), code=1)
    _print_best(study)
    if ending.state == "halted":
        sys.exit(1)
    if ending.state == "stopped":
        console.print(f"Go on with: luthier resume {study.name}", highlight=False)
        sys.exit(130)


def _print_best(study: Study) -> None:
    from ..tools.analysis import best_trials

    console, trials = _out(), study.trials(curves=False)
    best = best_trials(study.spec, trials)
    if not best:
        complete = any(trial.state == "complete" for trial in trials)
        console.print("No trial keeps the limits." if complete else "No trial is complete.")
    for trial in best[:10]:
        values = ", ".join(f"{n} {number_text(trial.metrics[n])}" for n in study.spec.objectives)
        console.print(
            Text.assemble(
                ("best ", "bold green"),
                f"{plain(values)} in trial {trial.number}: ",
                configuration_text(trial.configuration),
            ),
            soft_wrap=True,
        )
    if len(best) > 10:
        console.print(f"… and {len(best) - 10} more on the Pareto front")


@app.command()
def status(
    name: Annotated[Optional[str], typer.Argument(metavar="[STUDY]")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """Show all studies, or one."""
    from ..tools.workspace import find_workspace

    if name is not None:
        _print_status(_study(name), as_json=as_json)
        return
    workspace = find_workspace()
    rows = [_status_row(study) for study in _studies(workspace)]
    if as_json:
        _print_json(rows)
    elif rows:
        _out().print(_status_table(rows))
    else:
        _out().print(f"There are no studies in {workspace.folder}.", markup=False, highlight=False)


def _print_status(study: Study, *, as_json: bool) -> None:
    from .live import look, render

    if as_json:
        _print_json(_status_row(study))
    else:
        console = _out()
        console.print(render(look(study), console))


def _studies(workspace: Workspace) -> list[Study]:
    from ..tools.ledger import open_ledger
    from ..tools.study import Study

    if not workspace.ledger_path.exists():
        return []
    ledger = open_ledger(workspace.ledger_path)
    return [Study(ledger, workspace, study.name) for study in ledger.studies()]


def _status_row(study: Study) -> dict[str, Any]:
    from ..tools.analysis import counts

    record, owner, best = study.record, study.owner, study.best()
    trials = study.trials(curves=False)
    return {
        "name": record.name,
        "state": study.state,
        "reason": record.reason,
        "trials": len(trials),
        "outcomes": counts(trials),
        "best": None if best is None else {n: best.metrics[n] for n in record.spec.objectives},
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

    study = _study(name)
    try:
        snapshot = follow(study, _out())
    except KeyboardInterrupt:
        return
    _out().print(f"Nobody runs study {name}; it is {snapshot.state}.", highlight=False)


@app.command()
def pause(name: Name) -> None:
    """Start no new trial; running ones go on."""
    _wish(_study(name), "pause", "pause")


@app.command()
def stop(
    name: Name,
    trial: Annotated[Optional[int], typer.Option(help="End only this trial.")] = None,  # noqa: UP045
    now: Annotated[bool, typer.Option("--now", help="Kill trials without grace.")] = False,
) -> None:
    """End a study's running trials; `resume` runs them again."""
    study = _study(name)
    if trial is None:
        _wish(study, "stop", "stop", at_once=now)
        return
    from ..tools.spec import SpecError

    running = [t.number for t in study.trials(curves=False) if t.state == "running"]
    if trial not in running:
        raise SpecError(f"trial {trial} of study {name!r} does not run; running are {running}")
    _wish(study, "stop_trial", f"stop trial {trial}", trial=trial)


def _wish(study: Study, kind: str, what: str, **data: Any) -> None:
    """Ask a study's worker to do `what`."""
    from ..tools.spec import SpecError

    owner = study.owner
    if owner is None:
        raise SpecError(
            f"nobody runs study {study.name!r} (it is {study.state}), nothing to {kind}"
        )
    study.ledger.wish(study.record, kind, **data)
    _out().print(f"Asked {plain(owner.name)} to {what}.", markup=False, highlight=False)


@app.command()
def resume(
    name: Name,
    trials: Annotated[Optional[int], typer.Option(help="Change the cap of trials.")] = None,  # noqa: UP045
    wall: Annotated[Optional[str], typer.Option(help='Change the wall time, as "2h".')] = None,  # noqa: UP045
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help='Change the device time, as "8h".'),
    ] = None,
    detach: Detach = False,
) -> None:
    """Go on with a study that was paused, stopped or interrupted."""
    from ..tools.study import with_budget

    study = _study(name)
    asked = {"trials": trials, "wall_seconds": wall, "device_seconds": device}
    caps = {key: cap for key, cap in asked.items() if cap is not None}
    if caps:
        with_budget(study.spec, caps)  # refuses what makes no sense
    wish = {"budget": caps} if caps else {}
    if study.owner is not None:
        _wish(study, "resume", "go on", **wish)
        return
    if caps:
        study.ledger.wish(study.record, "resume", **wish)
    _run(study, detach=detach)


@app.command("trials")
def list_trials(
    name: Name,
    state: Annotated[Optional[str], typer.Option(help="Only those in this state.")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """List a study's trials."""
    from ..tools.analysis import best_trials
    from ..tools.study import trial_document

    study = _study(name)
    trials = study.trials(curves=as_json)
    if state is not None:
        _check_state(state)
        trials = [trial for trial in trials if str(trial.state) == state]
    if as_json:
        decisions = study.decisions()
        _print_json([trial_document(trial, decisions) for trial in trials])
        return
    best = [trial.number for trial in best_trials(study.spec, trials)]
    console = _out()
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
    from ..tools.spec import SpecError
    from ..tools.study import trial_document

    study = _study(name)
    trials, decisions = study.trials(), study.decisions()
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        last = f"the last one is {trials[-1].number}" if trials else "it has none yet"
        raise SpecError(f"study {name!r} has no trial {number}; {last}")
    if as_json:
        _print_json(trial_document(trial, decisions))
        return
    console = _out()
    console.print(
        Text.assemble(f"trial {number}  ", state_text(trial.state), f"  {plain(trial.reason)}")
    )
    for key, value in trial.configuration.items():
        console.print(f"  {plain(key)} = {plain(value)}", markup=False, highlight=False)
    if number in decisions:
        console.print(decision_text(decisions[number]), markup=False, highlight=False)
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
        console.print(f"  files: {folder}", markup=False, highlight=False)
        if attempt.error_tail.strip():
            tail = attempt.error_tail.strip().splitlines()[-15:]
            console.print(Text("\n".join(f"  {plain(line)}" for line in tail), style="dim"))


@app.command()
def best(name: Name, as_json: AsJson = False) -> None:
    """Show the best configuration so far."""
    from ..tools.analysis import best_trials
    from ..tools.study import trial_document

    study = _study(name)
    if as_json:
        found = best_trials(study.spec, study.trials())
        _print_json([trial_document(trial, study.decisions()) for trial in found])
        return
    _print_best(study)


@app.command()
def branch(
    parent: Name,
    spec: Annotated[Path, typer.Argument(help="The changed spec.")],
    name: NewName = None,
) -> None:
    """Make a study with a changed spec that takes over the trials which are still valid."""
    from ..agent.worker import check_study
    from ..tools.spec import diff, load_spec
    from ..tools.study import branch as make_branch
    from ..tools.study import with_name

    study, loaded = _study(parent), load_spec(spec)
    if name is not None:
        loaded = with_name(loaded, name)
    folder = spec.absolute().parent
    check_study(loaded, folder)
    child, taken = make_branch(study.ledger, study.record, loaded, folder)
    console = _out()
    for change in diff(study.spec, loaded):
        console.print(f"  {plain(change)}", markup=False, highlight=False)
    total = len(study.trials(curves=False))
    console.print(f"Made study {child.name} from {parent}: {taken} of {total} trials taken over.")
    console.print(f"Run it with: luthier resume {child.name}", highlight=False)


@app.command()
def report(
    name: Name,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Folder to write to [default: the workspace's]."),
    ] = None,
) -> None:
    """Write an HTML page and a Markdown summary of a study."""
    paths = _write_report(_study(name), output)
    for path in (paths.html, paths.markdown):
        print(path)


def _write_report(study: Study, output: Path | None = None) -> Any:
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

    write(_study(name), path)
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
        _print_json([vars(finding) for finding in findings])
    else:
        marks = {True: ("ok ", "green"), False: ("!! ", "red")}
        for finding in findings:
            _out().print(Text.assemble(marks[finding.ok], f"{finding.what}: {plain(finding.text)}"))
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
        _print_json(spec.to_dict() if resolved else spec.model_dump_explicit())
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
        _print_json([vars(change) for change in changes])
    else:
        print("\n".join(plain(change) for change in changes) or "They are the same.")


@spec_app.command("schema")
def spec_schema() -> None:
    """Print the JSON schema of a spec."""
    from ..tools.spec import StudySpec

    _print_json(StudySpec.model_json_schema())


def _load(source: str) -> StudySpec:
    from ..tools.spec import load_spec

    if Path(source).suffix in (".yaml", ".yml", ".json"):
        return load_spec(Path(source))
    return _study(source).spec


@app.command()
def demo() -> None:
    """Tune a small network on a bundled data set, in about a minute."""
    from .demo import compare, open_demo

    study = open_demo()
    _run(study, detach=False)
    console = _out()
    console.print(compare(study))
    report_line = f"Report: {_write_report(study).html}"
    console.print(report_line, markup=False, highlight=False, soft_wrap=True)
