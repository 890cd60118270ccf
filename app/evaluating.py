"""The commands that compare optimisers on tasks with known optima."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .tables import number_text, plain
from .terminal import fail, out

if TYPE_CHECKING:
    from ..evals.results import Result

app = typer.Typer(name="eval", help="Compare optimisers on tasks with known optima.")

_OUTPUT = Path("evals-results")


@app.command("list")
def list_(
    suite: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Show this suite's tasks, with what is known of each."),
    ] = None,
) -> None:
    """Show the suites and the methods, or the tasks of a suite."""
    from ..evals.advised import KINDS, KNOWING, UNKNOWING
    from ..evals.methods import METHODS
    from ..evals.suites import SUITES

    console = out()
    if suite is not None:
        _list_tasks(suite)
        return
    console.print("[bold]suites[/bold]")
    for suite, tasks in SUITES.items():
        names = f"{len(tasks)} tasks" if suite == "all" else ", ".join(tasks)
        console.print(f"  {suite}: {names}", markup=False, highlight=False)
    console.print("[bold]methods[/bold]")
    for method in METHODS.values():
        console.print(f"  {method.name}: {method.meaning}", markup=False, highlight=False)
    for kind, meaning in KINDS.items():
        text = f"  {kind}: {meaning} with the language model that is set up"
        console.print(text, markup=False, highlight=False)
    text = f"  {'-…, '.join(KINDS)}-…: with a simulated one: {', '.join((*KNOWING, *UNKNOWING))}"
    console.print(text, markup=False, highlight=False)


def _list_tasks(suite: str) -> None:
    from ..evals.suites import load_task, tasks_of

    console = out()
    for task in map(load_task, tasks_of(suite)):
        parameters = ", ".join(task.space.parameters)
        console.print(f"[bold]{task.name}[/bold] ({task.family})", highlight=False)
        for line in (
            task.card,
            f"{task.direction}; best {number_text(task.f_star)}, median "
            f"{number_text(task.f_median)}, noise {task.noise:.3f} of the way between them",
            f"{task.budget} trials; {len(task.space.parameters)} parameters: {parameters}",
            f"{task.source}; {task.licence}",
        ):
            console.print(f"  {line}", markup=False, highlight=False)


@app.command("run")
def run_(
    suite: Annotated[str, typer.Argument(help="A suite; `luthier eval list` shows them.")],
    methods: Annotated[str, typer.Option(help="Methods, as tpe,gp; all if none is named.")] = "",
    tasks: Annotated[str, typer.Option(help="Tasks of the suite; all if none is named.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 5,
    trials: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Trials of a run; by default the task's own budget."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 1,
    output: Annotated[Path, typer.Option(help="The folder of the results.")] = _OUTPUT,
    llm: Annotated[str, typer.Option(help="URL of the endpoint for hybrid, strict, llambo.")] = "",
    model: Annotated[str, typer.Option(help="Its model. [LUTHIER_LLM_MODEL]")] = "",
) -> None:
    """Run methods on the tasks of a suite; the same command goes on where it was stopped."""
    for variable, value in (("BASE_URL", llm), ("MODEL", model)):
        if value:  # the processes that run the methods read it there
            os.environ[f"LUTHIER_LLM_{variable}"] = value
    from ..evals.runner import cells_of, run
    from ..evals.suites import methods_of, tasks_of

    chosen = methods_of(_names(methods))
    cells = cells_of(tasks_of(suite, _names(tasks)), chosen, seeds, trials)
    console = out()

    def show(result: Result) -> None:
        crash = "" if result.crash is None else f"  CRASHED: {plain(result.crash.error)}"
        console.print(
            f"{result.task}  {result.method}  seed {result.seed}  regret {result.regret[-1]:.3f}"
            f"  {result.seconds:.1f} CPU-s{crash}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    try:
        run(cells, output, workers, show)
    except KeyboardInterrupt:
        fail("stopped; the same command goes on with what is missing", code=130)
    done = f"{len(cells)} runs are in {output}. Next: luthier eval report {output}"
    console.print(plain(done), markup=False, highlight=False, soft_wrap=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of the results.")] = _OUTPUT,
) -> None:
    """Write and print what the results say: regrets, verdicts, curves, and where we lose."""
    from ..evals.report import write_report

    print(write_report(folder))
    written = f"Written to {folder / 'report.md'} and {folder / 'curves.html'}."
    out().print(plain(written), markup=False, highlight=False, soft_wrap=True)
