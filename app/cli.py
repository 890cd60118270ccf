"""The command line: the commands that run, steer and make studies; `reading` holds the others.

Modules that cost time to import are imported by the commands that need them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..tools.errors import LuthierError
from . import chat, devices, evaluating, optimising, reading, reviews
from .deciding import (
    ask,
    ask_to_enqueue,
    ask_to_resume,
    ask_to_retry,
    ask_to_stop_trial,
    plan_retry,
)
from .tables import plain, plain_lines
from .terminal import Detach, Name, NewName, fail, out, print_best, study_named

if TYPE_CHECKING:
    from ..tools.study import Study

Wall = Annotated[Optional[str], typer.Option(help='Change the wall time, as "2h".')]  # noqa: UP045
DeviceTime = Annotated[Optional[str], typer.Option(help='Change the device time, as "8h".')]  # noqa: UP045

app = typer.Typer(
    name="luthier",
    help="Tunes machine-learning models: your training script stays as it is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(reading.app)
app.add_typer(reviews.app)
app.add_typer(devices.app)
app.add_typer(chat.app)
app.add_typer(evaluating.app)
app.add_typer(optimising.app)


def main() -> None:
    """Run the command line; an error of the user's is one sentence and exit code 2."""
    try:
        app()
    except LuthierError as error:
        fail(str(error))


@app.command()
def init(
    script: Annotated[Path, typer.Argument(help="A training script; it is read, not run.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--output", "-o", help="The spec to write; by default luthier.yaml beside it."
        ),
    ] = None,
) -> None:
    """Read a training script and write a first spec for it."""
    from ..tools.first_spec import write_spec

    result = write_spec(script, output)
    reading, console = result.reading, out()
    wrote = f"Wrote {plain(result.path)}: {len(reading.found)} parameters."
    console.print(wrote, markup=False, highlight=False)
    for remark in reading.unread:
        console.print(f"  not read, line {remark.line}: {plain(remark.text)}", markup=False)
    if result.missing is not None:
        fail(result.missing)
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
    _run(study_named(study.name), detach=detach)


def _run(study: Study, *, detach: bool) -> None:
    """Run a study in front, with a live view, or behind."""
    from ..agent.worker import WorkerError, run_study, start_detached
    from .live import live_view

    console = out()
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
        fail(str(error), code=1)
    print_best(study)
    if ending.state == "halted":
        sys.exit(1)
    if ending.state == "stopped":
        console.print(f"Go on with: luthier resume {study.name}", highlight=False)
        sys.exit(130)


@app.command()
def pause(name: Name) -> None:
    """Start no new trial; running ones go on."""
    _say(ask(study_named(name), "pause", "pause"))


@app.command()
def stop(
    name: Name,
    trial: Annotated[Optional[int], typer.Option(help="End only this trial.")] = None,  # noqa: UP045
    now: Annotated[bool, typer.Option("--now", help="Kill trials without grace.")] = False,
) -> None:
    """End a study's running trials; `resume` runs them again."""
    study = study_named(name)
    if trial is None:
        _say(ask(study, "stop", "stop", at_once=now))
    else:
        _say(ask_to_stop_trial(study, trial))


def _say(sentence: str) -> None:
    out().print(plain(sentence), markup=False, highlight=False)


@app.command()
def resume(
    name: Name,
    trials: Annotated[Optional[int], typer.Option(help="Change the cap of trials.")] = None,  # noqa: UP045
    wall: Wall = None,
    device: DeviceTime = None,
    detach: Detach = False,
) -> None:
    """Go on with a study that was paused, stopped or interrupted."""
    study = study_named(name)
    asked = {"trials": trials, "wall_seconds": wall, "device_seconds": device}
    told = ask_to_resume(study, {key: cap for key, cap in asked.items() if cap is not None})
    if told is None:
        _run(study, detach=detach)
    else:
        _say(told)


@app.command()
def retry(
    name: Name,
    outcome: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="OUTCOME", help="Those that ended so; may be given several times."),
    ] = None,
    trial: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(metavar="NUMBER", help="This one; may be given several times."),
    ] = None,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of them."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete their checkpoints first.")] = False,
    detach: Detach = False,
) -> None:
    """Run ended trials again: by outcome, by number, or those that have both.

    They keep their numbers, cost no trial of the budget, and go on from their checkpoints. A pruned
    trial is thereby promoted to a higher fidelity: it is not pruned again.
    """
    study = study_named(name)
    asked = plan_retry(study, outcome or [], trial or [], settings or [], fresh=fresh)
    told = ask_to_retry(study, asked)
    if told is None:
        _run(study, detach=detach)
    else:
        _say(told)


@app.command()
def confirm(
    name: Name,
    repeats: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="How many repeats each is to have in all; by default as the spec says, or 5."
        ),
    ] = None,
    trials: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="A,B", help="Repeat these instead."),
    ] = None,
    wall: Wall = None,
    device: DeviceTime = None,
    detach: Detach = False,
) -> None:
    """Run the best trial and the runner-up again, on fresh seeds, to tell what is chance.

    Repeats cost none of the budget's trials, but of its time. The run by which a trial was chosen
    does not count: only repeats are evidence.
    """
    from ..agent.confirming import ask
    from ..agent.worker import check_study
    from ..tools.repeats import USUAL, parse_trials

    study = study_named(name)
    spec = study.spec
    plan = check_study(spec, study.record.working_directory)
    caps = {"wall_seconds": wall, "device_seconds": device}
    asked = ask(
        study,
        plan.slots,
        repeats=(spec.confirm.repeats or USUAL) if repeats is None else repeats,
        trials=parse_trials(trials or ""),
        caps={key: cap for key, cap in caps.items() if cap is not None},
    )
    owner = study.owner
    if owner is None:
        _run(study, detach=detach)
        return
    numbers = " and ".join(map(str, asked.trials))
    line = f"Asked {plain(owner.name)} to repeat trial {numbers}."
    out().print(line, markup=False, highlight=False)


@app.command()
def enqueue(
    name: Name,
    values: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="NAME=VALUE...", help="Values of parameters."),
    ] = None,
    like: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="TRIAL", help="Take the other values from this trial."),
    ] = None,
) -> None:
    """Have a configuration of your own tried next; it counts as a trial of the budget."""
    from ..agent.commands import named_values

    study = study_named(name)
    given = named_values(" ".join(values)) if values else {}
    told = ask_to_enqueue(study, given, like)
    text = told or f"It is the first trial when study {name} goes on: luthier resume {name}"
    out().print(plain(text), markup=False, highlight=False)


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

    study, loaded = study_named(parent), load_spec(spec)
    if name is not None:
        loaded = with_name(loaded, name)
    folder = spec.absolute().parent
    check_study(loaded, folder)
    child, taken = make_branch(study.ledger, study.record, loaded, folder)
    console = out()
    for change in diff(study.spec, loaded):
        console.print(f"  {plain(change)}", markup=False, highlight=False)
    total = len(study.trials(curves=False))
    console.print(f"Made study {child.name} from {parent}: {taken} of {total} trials taken over.")
    console.print(f"Run it with: luthier resume {child.name}", highlight=False)


@app.command()
def demo(
    lab: Annotated[
        bool, typer.Option("--lab", help="Show what becomes of trials when pretend GPUs fail.")
    ] = False,
) -> None:
    """Tune a small network on a bundled data set, in about a minute."""
    from .demo import compare, demo_spec, open_demo

    console = out()
    if lab:
        from .lab_demo import lab_spec, story, watch_lab

        study = open_demo(lab_spec())
        watch_lab(study, console)
        console.print(story(study))
        return
    study = open_demo(demo_spec())
    _run(study, detach=False)
    console.print(compare(study))
    report_line = f"Report: {reading.write_report_of(study).html}"
    console.print(report_line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def ui(
    host: Annotated[
        str, typer.Option(help="Another one than this needs a password.")
    ] = "127.0.0.1",
    port: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="The port; by default the first free one from 7860 on."),
    ] = None,
) -> None:
    """Show the studies in a browser; ending it changes nothing about them."""
    from ..tools.workspace import find_workspace
    from .ui.server import PASSWORD, serve

    password = os.environ.pop(PASSWORD, None)  # workers, and trials, inherit the environment
    serve(find_workspace(), Path.cwd(), host=host, port=port, password=password or None)
