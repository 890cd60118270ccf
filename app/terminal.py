"""What the commands share: their arguments, their output, their way to a study."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer
from rich.console import Console
from rich.text import Text

from .tables import configuration_text, number_text, plain

if TYPE_CHECKING:
    from ..tools.study import Study

Name = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NewName = Annotated[Optional[str], typer.Option("--name", help="Name of the study.")]  # noqa: UP045
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Run it in the background.")]


def fail(message: str, code: int = 2) -> NoReturn:
    """Print an error and leave."""
    line = Text("error: ", style="bold red") + Text(plain(message))
    Console(stderr=True).print(line, soft_wrap=not sys.stderr.isatty())
    sys.exit(code)


def out() -> Console:
    """Return where commands print."""
    # A pipe or a file has no width of its own.
    return Console(width=None if sys.stdout.isatty() else 160)


def print_json(data: Any) -> None:
    """Print data as strict JSON."""
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


def study_named(name: str) -> Study:
    """Open a study of the workspace."""
    from ..tools.study import open_study

    return open_study(name)


def print_best(study: Study) -> None:
    """Print the best trials and what may be said of them, or why there are none."""
    from ..tools.analysis import best_trials
    from ..tools.claims import NO_CLAIM_OF_FRONTS, claim

    console, trials = out(), study.trials(curves=False)
    best = best_trials(study.spec, trials)
    if not best:
        complete = any(trial.state == "complete" for trial in trials)
        console.print("No trial keeps the limits." if complete else "No trial is complete.")
    found = claim(study.spec, trials)
    for trial in best[:10]:
        values = ", ".join(f"{n} {number_text(trial.metrics[n])}" for n in study.spec.objectives)
        if found is not None:
            values = f"{found.metric} {found.value}"
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
    if best:
        said = NO_CLAIM_OF_FRONTS if found is None else found.sentence
        console.print(said, style="dim", markup=False, highlight=False, soft_wrap=True)
    if found is not None and found.runs == 0:
        way = f"Run it and the runner-up on fresh seeds with: luthier confirm {study.name}"
        console.print(way, style="dim", markup=False, highlight=False, soft_wrap=True)
