"""`python -m luthier.evals.intents`: asks all requests, and prints what was understood."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...agent.dialogue import Dialogue
from ...agent.llm.line import Line
from ...agent.llm.settings import Settings
from ..advisers.planning import planner
from ..advisers.server import serve
from .cases import SETS, Case, load
from .hearing import Score, hear, score
from .worlds import world


def run(cases: Sequence[Case], line: Line | None = None) -> list[Score]:
    """Say each request in a world and a conversation of its own, and score what comes of it.

    Nothing is approved, so that nothing is ever trained.

    Args:
        cases: The requests.
        line: The way to a language model; None for what is understood without one.
    """
    scores = []
    for case in cases:
        with (
            tempfile.TemporaryDirectory() as folder,
            world(case.world, Path(folder), case.files) as desk,
        ):
            dialogue = Dialogue(desk, line=line)
            try:
                scores.append(score(case, hear(dialogue, case)))
            finally:
                dialogue.close()
    return scores


def share(scores: Sequence[Score]) -> float:
    """Return the points won of all points, in [0, 1]."""
    return sum(s.points for s in scores) / sum(s.case.points for s in scores)


def table(name: str, scores: Sequence[Score]) -> str:
    """Return the score of a set of requests by family as Markdown, then all that was lost."""
    rows = [f"| {name} | requests | all right | points | share |", "|---|---|---|---|---|"]
    families = dict.fromkeys(s.case.family for s in scores)
    for family in (*families, "all"):
        some = [s for s in scores if family in (s.case.family, "all")]
        won, of = sum(s.points for s in some), sum(s.case.points for s in some)
        right = sum(s.right for s in some)
        rows.append(f"| {family} | {len(some)} | {right} | {won} of {of} | {won / of:.0%} |")
    unapproved = [s.case.id for s in scores if s.outcome.unapproved]
    rows += ["", f"Spent or ended without an approval: {', '.join(unapproved) or 'nothing'}."]
    rows += ["", "Not understood, or wrongly:", ""]
    for lost in (s for s in scores if not s.right):
        what = "all" if "came of it" in lost.wrong else ", ".join(lost.wrong)
        rows.append(
            f"- {lost.case.id}: {what} (expected {' or '.join(lost.case.expect)}, came "
            f"{lost.outcome.lost or lost.outcome.summary})"
        )
    return "\n".join(rows)


@contextmanager
def _line(arguments: argparse.Namespace) -> Iterator[Line | None]:
    if arguments.scripted:
        with serve(planner) as server:
            line = Line(Settings(base_url=server.url, model=server.model, seconds=60))
            yield line
            line.close()
    elif arguments.llm:
        key = os.environ.get("LUTHIER_LLM_API_KEY")
        settings = {"base_url": arguments.llm, "model": arguments.model, "api_key": key}
        line = Line(Settings.model_validate({k: v for k, v in settings.items() if v}))
        yield line
        line.close()
    else:
        yield None


def main(arguments: Sequence[str]) -> int:
    """Run the sets of requests and print their tables; return 1 if something ran unapproved."""
    parser = argparse.ArgumentParser(prog="python -m luthier.evals.intents", description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS, help=f"of {', '.join(SETS)}; all")
    parser.add_argument("--llm", help="URL of an endpoint; LUTHIER_LLM_API_KEY holds its key")
    parser.add_argument("--model", help="its model")
    parser.add_argument(
        "--scripted", action="store_true", help="ask the simulated planner: plumbing, no quality"
    )
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.sets) - set(SETS):
        parser.error(f"unknown set {min(unknown)!r}; there are {', '.join(SETS)}")
    if chosen.llm and not chosen.model:
        parser.error("--llm needs --model NAME")
    if chosen.scripted:
        print("The scripted planner; its scores are plumbing, and say nothing of a real model.\n")
    unapproved = False
    with _line(chosen) as line:
        for name in chosen.sets:
            scores = run(load(name), line)
            print(table(name, scores) + "\n")
            unapproved |= any(s.outcome.unapproved for s in scores)
    return int(unapproved)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
