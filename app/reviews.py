"""`luthier reviews`: what a language model and the rule beside it said of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Table
from rich.text import Text

from .tables import number_text, plain
from .terminal import AsJson, Name, out, print_json, study_named

if TYPE_CHECKING:
    from ..tools.reviews import Review
    from ..tools.study import Study

app = typer.Typer()


@app.command()
def reviews(
    name: Name,
    take: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE", help="Write the spec with the model's newest ranges, to branch with."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a language model said of a study, beside a rule, and how right both were."""
    from ..tools.reviews import View, credit, reviews_in

    study = study_named(name)
    found, trials = reviews_in(study.events()), study.trials(curves=False)
    earned = credit(study.spec, found, trials) if found else []
    if as_json:
        rows = [review.model_dump(mode="json") for review in found]
        print_json({"reviews": rows, "credit": [vars(row) for row in earned]})
        return
    console = out()
    if not found:
        console.print(
            f"Study {plain(study.name)} has no review: a language model makes one when a third of "
            "the trials have ended, if one is set up and `adviser.reviews` is on."
        )
        return
    newest = found[-1]
    if take is not None:
        _take(study, newest, take)
        return
    console.print(f"After {newest.trials} trials ({len(found)} reviews in all):", highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("", "the language model", "the rule"):
        table.add_column(heading, overflow="fold")

    def ranges(view: View) -> str:
        lines = (f"{r.parameter} {r.low:.4g} to {r.high:.4g}: {r.why}" for r in view.ranges)
        return "\n".join(map(plain, lines)) or "nowhere in particular"

    def row(heading: str, *cells: str) -> None:
        table.add_row(heading, *map(Text, cells))  # what was said is no markup

    sides = (newest.model, newest.rule)
    row("it shows", *(plain(view.text) for view in sides))
    row("the best will be", *(f"{number_text(v.low)} to {number_text(v.high)}" for v in sides))
    row("good values lie", *map(ranges, sides))
    row("worth stopping", *(", ".join(map(str, view.stop)) or "none" for view in sides))
    row("worth repeating", *(", ".join(map(str, view.repeat)) or "none" for view in sides))
    row("hypothesis", plain(newest.hypothesis), "")
    row("main risk", plain(newest.risk), "")
    console.print(table)
    for reason in newest.dropped:
        console.print(f"not taken: {plain(reason)}", markup=False, highlight=False)
    for line in earned:
        better = f" ({line.better} is better)" if line.better else ""
        console.print(
            f"{line.question}: model {line.model}, rule {line.rule}{better}", highlight=False
        )
    console.print(
        f"To take its ranges up: luthier reviews {plain(study.name)} --take FILE; to repeat: "
        f"luthier confirm {plain(study.name)} --trials NUMBERS",
        highlight=False,
    )


def _take(study: Study, review: Review, path: Path) -> None:
    """Write the narrowed spec, and show what it changes and why; nothing is started."""
    from ..tools.reviews import narrowed
    from ..tools.spec import SpecError, diff

    ranges = review.model.ranges
    if not ranges:
        raise SpecError(f"the newest review of {study.name!r} names no range to take up")
    if path.exists():
        raise SpecError(f"{str(path)!r} is there already; name another file")
    changed = narrowed(study.spec, ranges, f"{study.name[:90]}-narrower")
    try:
        path.write_text(changed.to_yaml(), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {str(path)!r}: {error.strerror}") from None
    console = out()
    for change in diff(study.spec, changed):
        console.print(f"  {plain(change)}", markup=False, highlight=False)
    for found in ranges:
        line = f"{plain(found.parameter)}: {plain(found.why)}"
        console.print(line, markup=False, highlight=False)
    told = f"Branch with it: luthier branch {plain(study.name)} {plain(path)}"
    console.print(told, markup=False, highlight=False)
