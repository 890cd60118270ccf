"""What tracing, a prompt, the import and the sandbox cost those who have a workflow improved.

python -m luthier.evals.workflow.performance
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from ...agent.workflow import Feedback, Param, ParamSet, op, param, sandbox
from ...agent.workflow.represent import Past, Problem, Run, prompt_of
from ...agent.workflow.trace import rollout
from ...prompts.loading import tokens_of
from ..measured import Row, median, print_rows, told_by

OPS = 300
_PAST = 13
"""As many earlier edits as a prompt is made from at most."""
_HEAVY = ("torch", "langchain")


def tracing() -> float:
    """Return what tracing adds to a call of an op, in seconds, from `OPS` calls in a chain."""

    def plain(value: list[int]) -> list[int]:
        return [*value]

    def seconds(function: Callable[[list[int]], list[int]]) -> float:
        value = [1]
        begun = time.perf_counter()
        for _ in range(OPS):
            value = function(value)
        return time.perf_counter() - begun

    with rollout({}):
        return (seconds(op(plain)) - seconds(plain)) / OPS


@op
def extend(words: list[str]) -> list[str]:
    """Add a word to the last few."""
    return [*words[-5:], f"{param('prompt')[:20]} {len(words)}"]


def prompt_tokens() -> int:
    """Return the tokens of the prompt of one step: `OPS` ops, a failure, and a full memory."""
    params = ParamSet([Param.text("prompt", "Answer the question. " * 50, "what is asked")])
    with rollout(params) as recording:
        words = ["why is the sky blue?"]
        for _ in range(OPS):
            words = extend(words)
    nodes, names = recording.subgraph(recording.leaf(words, None), params.trainable)
    told = Feedback(0.25, "the answer misses what was asked for. " * 50).lines()
    diff = params.but({"prompt": "Answer it. " * 90}).diff(params)
    past = [Past(diff, "the prompt says too little", "mini-batch: no gain", 0.25)] * _PAST
    problem = Problem(params, frozenset(names), [Run("sky", recording, nodes, told)], past, "Help.")
    return sum(tokens_of(turn.content) for turn in prompt_of(problem, "graph").messages)


def heavy_modules() -> int:
    """Return how many of torch and langchain an import of `luthier.agent.workflow` loads."""
    code = (
        "import json, sys, luthier.agent.workflow; "
        f"print(json.dumps([name for name in {_HEAVY} if name in sys.modules]))"
    )
    return len(json.loads(told_by([sys.executable, "-c", code])))


def sandbox_call() -> float:
    """Return how long a call of an empty function takes in the sandbox, in seconds."""
    return sandbox.run("def f():\n    pass", "f", [()]).seconds


def tracing_row() -> Row:
    """Return the row of `tracing`, median of 5."""
    return Row(f"tracing, one of {OPS} ops", median(tracing), "20 us", 20e-6, 1.0, unit="us")


def sandbox_rows() -> list[Row]:
    """Return the row of `sandbox_call`, median of 5; none where nothing can be isolated."""
    if sandbox.available() is not None:
        return []
    return [Row("empty sandbox call", median(sandbox_call), "0.5 s", 0.5, limit=1.0)]


def main() -> int:
    """Print the table; the exit code is 1 if a limit is exceeded."""
    if reason := sandbox.available():
        print(reason, file=sys.stderr)
    rows = [
        tracing_row(),
        Row(f"prompt after {OPS} ops", prompt_tokens(), "8,000 tokens", 8_000, 1.0, unit="tokens"),
        Row(f"import: {' or '.join(_HEAVY)}", heavy_modules(), "any", 1, 0.0, unit="modules"),
        *sandbox_rows(),
    ]
    return print_rows(rows)


if __name__ == "__main__":
    sys.exit(main())
