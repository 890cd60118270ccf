"""GEPA's reflection as a proposer: one parameter a call, rewritten from runs and their feedback.

GEPA: Agrawal et al., arXiv:2507.19457; the package `gepa` brings its prompt and the layout of what
is reflected on. Its engine is not used, which would adopt a truncated answer, and evaluate what it
likes: here an answer is of a schema, and everything else is decided as with any other proposer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict, Field

from ...prompts.loading import FENCE_RULE, untrusted
from ...tools.errors import LuthierError
from ..llm.answers import LanguageModel, Message
from .params import Param
from .propose import Edit, Proposal, Proposed, gathered, longest_answer
from .represent import PARAMETER_BYTES, Problem, short

_SYSTEM = (
    "You rewrite one parameter of a workflow, here called the instructions, and answer in JSON: "
    "`value` is its whole new text, `why` says in at most 60 words what you changed. Keep to its "
    f"constraint. {FENCE_RULE}"
)
_TEMPERATURE = 0.7
_FEEDBACK_BYTES = 3_000


class ReflectionError(LuthierError, ImportError):
    """The package gepa is missing."""


class Rewritten(BaseModel):
    """The whole new text of the instructions, and what was changed."""

    model_config = ConfigDict(extra="forbid")

    value: str = Field(max_length=100_000)
    why: str = Field(max_length=1_000)


class GepaProposer:
    """Asks for one parameter's rewriting by GEPA's prompt, the parameters in turn."""

    name = "gepa"

    def __init__(self, llm: LanguageModel) -> None:
        """Take a model.

        Raises:
            ReflectionError: If gepa is not installed.
        """
        if find_spec("gepa") is None:
            raise ReflectionError("GEPA's reflection needs gepa: pip install 'luthier[gepa]'")
        self._llm = llm

    def propose(self, problem: Problem, count: int, seed: int, refused: str = "") -> list[Proposed]:
        """Return up to `count` proposals, each an edit of another parameter; see `Proposer`."""
        names = sorted(problem.allowed)

        def ask(place: int) -> Proposed:
            each = problem.params.params[names[(seed + place) % len(names)]]
            answer = self._llm.ask(
                [Message("system", _SYSTEM), Message("user", prompt_for(each, problem, refused))],
                Rewritten,
                purpose="workflow",
                max_tokens=longest_answer([each]),
                temperature=_TEMPERATURE,
            )
            value, why = answer.value.value, answer.value.why
            written = json.dumps(value) if each.kind in ("text", "code") else value
            edit = Edit(param=each.name, new_value_json=written, why=why)
            made = Proposal(diagnosis=why, edits=[edit])
            return Proposed(made, answer.usage, f"gepa@{version('gepa')}")

        return gathered(ask, count)


def prompt_for(each: Param, problem: Problem, refused: str) -> str:
    """Return GEPA's prompt for one parameter; what strangers wrote stands behind a fence."""
    from gepa.strategies.instruction_proposal import InstructionProposalSignature as Reflection

    records: list[Mapping[str, str]] = [
        {
            "Output": untrusted(short(run.nodes[-1].output if run.nodes else None), "output", 500),
            "Feedback": untrusted(
                run.feedback, "feedback", _FEEDBACK_BYTES // max(1, len(problem.runs))
            ),
        }
        for run in problem.runs
    ]
    if refused:
        records.append({"Refused": untrusted(refused, "why your last answer was refused", 600)})
    rendered = Reflection.prompt_renderer(
        {
            "current_instruction_doc": untrusted(each.shown(), each.name, PARAMETER_BYTES),
            "dataset_with_feedback": records,
            "prompt_template": _template(Reflection.default_prompt_template, each, problem),
        }
    )
    assert isinstance(rendered, str)  # it would be a list with images alone
    return rendered


def _template(theirs: str, each: Param, problem: Problem) -> str:
    """Return GEPA's template, which ends in the form of our answers instead of its own."""
    said: Sequence[str] = theirs.split("\n\n")[:-1]
    about = [
        untrusted(problem.objective, "what the workflow is for", 900),
        untrusted(
            f"{each.doc}\n{each.rule}", "what the instructions are, and their constraint", 4_000
        ),
    ]
    return "\n\n".join([*said, *about, "Give their whole new text in `value`."])
