"""The problem as a proposer reads it: what ran, on which parameters, and what came of it.

The sections are OptoPrime's (arXiv:2406.16218, section 4.2): documentation and code of the ops,
variables with their constraints, inputs, intermediate values, outputs, feedback; and the memory of
earlier edits, which Trace leaves out.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from ...prompts.loading import Prompt, fenced_bytes, render
from .feedback import redacted
from .params import Param, ParamSet
from .trace import Node, Rollout

View = Literal["graph", "masked", "history"]
"""What a proposer sees: all; all but the graph; scores of earlier edits alone (OPRO, Yang et al.,
arXiv:2309.03409)."""
_ROOM_OF_VALUES, _ROOM_OF_FEEDBACK = 5_000, 2_800
"""Bytes that all runs share; the prompt takes a little more, for its fences."""
PARAMETER_BYTES, _ROOM_OF_MEMORY = 34_000, 3_400
"""Bytes with their fences; a parameter is shown whole or not at all, an edit of the past cut."""
_LONGEST_DIFF = 700
_LONGEST_VALUE = 100
_LONGEST_CODE = 1_200


@dataclass(frozen=True)
class Run:
    """One run that the proposer is told of."""

    case: str
    rollout: Rollout
    nodes: Sequence[Node]
    """The minimal subgraph."""
    feedback: str


@dataclass(frozen=True)
class Past:
    """An earlier proposal and what became of it."""

    diff: str
    diagnosis: str
    decision: str
    """`accepted`, or why not."""
    score: float | None


@dataclass(frozen=True)
class Problem:
    """All that a proposal may be made of."""

    params: ParamSet
    allowed: frozenset[str]
    """The parameters that the runs depend on, and that alone may be edited."""
    runs: Sequence[Run]
    past: Sequence[Past]
    objective: str


def prompt_of(problem: Problem, view: View, refused: str = "") -> Prompt:
    """Return the prompt of one step; the same problem gives the same prompt.

    Args:
        problem: The problem.
        view: How much of it is shown.
        refused: Why the last answer was refused, if it is to be mended.
    """
    graph, runs = view == "graph", max(1, len(problem.runs))
    return render(
        "workflow",
        objective=problem.objective,
        code="\n\n".join(_code(problem.runs)) if graph else "",
        variables="".join(
            _variable(problem.params.params[name]) for name in sorted(problem.allowed)
        ).rstrip("\n"),
        values="\n\n".join(_values(run, _ROOM_OF_VALUES // runs) for run in problem.runs)
        if graph
        else "",
        feedback=""
        if view == "history"
        else "\n\n".join(_feedback(run, _ROOM_OF_FEEDBACK // runs) for run in problem.runs),
        past=_memory(problem.past),
        refused=refused,
    )


def _code(runs: Iterable[Run]) -> list[str]:
    seen: dict[str, str] = {}
    for run in runs:
        for node in run.nodes:
            if node.function is not None and node.name not in seen:
                seen[node.name] = _source(node)
    return list(seen.values())


def _source(node: Node) -> str:
    try:
        text = inspect.cleandoc(inspect.getsource(node.function))  # type: ignore[arg-type]
    except (OSError, TypeError):
        text = f"def {node.name}(...): {inspect.getdoc(node.function) or ''}"
    return text if len(text) <= _LONGEST_CODE else f"{text[:_LONGEST_CODE]}\n..."


def _variable(each: Param) -> str:
    about = f"{each.name}: {each.doc}\n" if each.doc else f"{each.name}\n"
    return f"{about}constraint: {each.rule}\nvalue:\n{each.shown()}\n\n"


def unshown(each: Param) -> str:
    """Return why a parameter cannot be shown whole, which its editor must see; empty if it can."""
    size = fenced_bytes(_variable(each))
    if size <= PARAMETER_BYTES:
        return ""
    return (
        f"takes {size:,} bytes of a prompt with its constraint, and there is room for "
        f"{PARAMETER_BYTES:,}; divide it, or make it shorter"
    )


def fitting_together(params: ParamSet, names: Iterable[str], rng: Random) -> frozenset[str]:
    """Return the parameters that one prompt can show whole: all, or as many as fit by lot."""
    sizes = {name: fenced_bytes(_variable(params.params[name])) for name in sorted(names)}
    if sum(sizes.values()) <= PARAMETER_BYTES:
        return frozenset(sizes)
    left, chosen = PARAMETER_BYTES, set[str]()
    for name in rng.sample(list(sizes), len(sizes)):
        if sizes[name] <= left:
            chosen.add(name)
            left -= sizes[name]
    return frozenset(chosen)


def _values(run: Run, room: int) -> str:
    """Return the calls of a run in order, each with where its inputs come from.

    Where they do not all fit into `room` bytes, the last one stays, then those that read a
    parameter, then the later ones.
    """
    first_of_all = sorted(
        run.nodes, key=lambda node: (node is not run.nodes[-1], not node.reads, -node.index)
    )
    lines: dict[int, str] = {}
    for node in first_of_all:
        line = redacted(_call(node))
        room -= len(line.encode(errors="replace")) + 3
        if room < 0:
            break
        lines[node.index] = line
    head = f"run {run.case}:"
    if left_out := len(run.nodes) - len(lines):
        head += f" ({left_out} calls are left out)"
    return "\n".join([head, *(lines[index] for index in sorted(lines))])


def _call(node: Node) -> str:
    if node.function is None:
        return f"v{node.index} = param({', '.join(node.reads)})"
    args, kwargs = node.inputs
    given = [short(value) for value in args]
    given += [f"{name}={short(value)}" for name, value in kwargs.items()]
    parents = ", ".join(f"v{i}" for i in sorted(node.parents))
    by = f" [from {parents}]" if parents else ""
    reads = f" [reads {', '.join(sorted(node.reads))}]" if node.reads else ""
    came = f"raised {type(node.error).__name__}" if node.error else short(node.output)
    return f"v{node.index} = {node.name}({', '.join(given)}){by}{reads} = {came}"


class _Repr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _LONGEST_VALUE
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 6
        self.maxlevel = 3


_REPR = _Repr()


def short(value: object) -> str:
    """Return a value as text of about `_LONGEST_VALUE` characters at most."""
    text = _REPR.repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _feedback(run: Run, room: int) -> str:
    return f"run {run.case}: {run.feedback}"[:room]


def _memory(past: Sequence[Past]) -> str:
    """Return the latest edits that there is room for, oldest first."""
    shown, left = list[str](), _ROOM_OF_MEMORY
    for each in reversed(past):
        text = f"{_past(each)}\n\n"
        left -= fenced_bytes(text)
        if left < 0 and shown:
            break
        shown.insert(0, text)
    left_out = len(past) - len(shown)
    head = f"({left_out} earlier ones are left out)\n" if left_out else ""
    return head + "".join(shown).rstrip("\n")


def _past(past: Past) -> str:
    score = "" if past.score is None else f", mean score {past.score:.6g}"
    diff = past.diff[:_LONGEST_DIFF]
    more = "\n(the rest of it is left out)" if len(past.diff) > _LONGEST_DIFF else ""
    return f"{past.decision}{score}; {past.diagnosis}\n{diff}{more}"
