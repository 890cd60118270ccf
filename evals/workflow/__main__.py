"""The optimizer, without the graph, OPRO and random edits, at equal numbers of proposals.

python -m luthier.evals.workflow [--steps N] [--seeds N] [--problems A,B] [--output FILE]
                                 [--llm URL --model NAME]

Without `--llm` simulated models answer, which shows that the machinery works, not how well a
language model does. The key of a real endpoint is read from LUTHIER_LLM_API_KEY.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import fmean

from ...agent.workflow import sandbox
from .ablation import PROBLEMS, Cell, cells

_HEAD = (
    "problem",
    "adviser",
    "proposer",
    "start",
    "end",
    "gain",
    "worst loss",
    "accepted",
    "calls",
    "s",
)


def main(arguments: Sequence[str]) -> int:
    """Run the table, print it, and write it where it is wanted."""
    parser = argparse.ArgumentParser(
        "python -m luthier.evals.workflow",
        description="Compare who improves workflows, at equal numbers of proposals.",
    )
    parser.add_argument("--steps", type=int, default=6, help="proposals a cell (default: 6)")
    parser.add_argument("--seeds", type=int, default=2, help="how many, from 0 (default: 2)")
    parser.add_argument("--problems", default=",".join(PROBLEMS), help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    parser.add_argument("--llm", metavar="URL", help="a real OpenAI-compatible endpoint")
    parser.add_argument("--model", metavar="NAME", help="its model")
    given = parser.parse_args(arguments)
    problems = given.problems.split(",")
    if unknown := sorted(set(problems) - PROBLEMS.keys()):
        parser.error(f"there is no problem {unknown[0]!r}; there are {', '.join(PROBLEMS)}")
    if (given.llm is None) != (given.model is None):
        parser.error("--llm and --model go together")
    if min(given.steps, given.seeds) < 1:
        parser.error("--steps and --seeds must be at least 1")
    if reason := sandbox.available():
        parser.error(reason)
    endpoint = (given.llm, given.model) if given.llm else None
    done = []
    for cell in cells(problems, given.steps, range(given.seeds), endpoint):
        done.append(cell)
        told = f"{cell.problem} {cell.adviser} {cell.proposer} seed {cell.seed}"
        print(f"{told}: {cell.start:.3f} to {cell.end:.3f}", file=sys.stderr)
    shown = [argument for argument in arguments if not argument.startswith("--output=")]
    text = report(done, given.steps, given.seeds, given.model, shown)
    print(text)
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")
    return 0


def report(
    done: Sequence[Cell], steps: int, seeds: int, model: str | None, arguments: Sequence[str]
) -> str:
    """Return the table as Markdown, with the command, the seeds and the date."""
    who = (
        f"The model is {model}."
        if model
        else "Plumbing: the models are simulated, so it shows the machinery, not a model's skill."
    )
    command = shlex.join(["python", "-m", "luthier.evals.workflow", *arguments])
    lines = [
        "# Workflow optimisation",
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, seeds 0 to {seeds - 1}, {steps} proposals a "
        "cell.",
        who,
        "",
        "Scores are means over seeds on the sealed cases, which no proposal was made from or "
        "chosen by; more is better. `worst loss` is the largest on one sealed case in any seed; "
        "`calls` are proposals, and repairs of what was refused. Time decides on nothing.",
        "",
        f"| {' | '.join(_HEAD)} |",
        f"|{'---|' * len(_HEAD)}",
    ]

    def key(cell: Cell) -> tuple[int, str, str]:
        return list(PROBLEMS).index(cell.problem), cell.adviser, cell.proposer

    for _, group in groupby(sorted(done, key=key), key):
        same = list(group)
        start, end = (fmean(getattr(c, name) for c in same) for name in ("start", "end"))
        tried = sum(c.proposals for c in same)
        row = (
            *(same[0].problem, same[0].adviser, same[0].proposer),
            *(f"{start:.3f}", f"{end:.3f}", f"{end - start:+.3f}"),
            f"{max(c.worst for c in same):.3f}",
            f"{sum(c.accepted for c in same)} of {tried}",
            str(sum(c.calls for c in same)),
            f"{fmean(c.seconds for c in same):.1f}",
        )
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
