"""Who proposes edits: a language model with the graph, without it, by history alone; or chance."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ...prompts.loading import tokens_of
from ..llm.answers import LanguageModel, LLMError, Message, Usage
from .params import Param
from .represent import Problem, View, prompt_of

if TYPE_CHECKING:
    from ..llm.metering import Caps

_LEAST_TOKENS, _TOKENS_OF_WORDS = 4_000, 1_500
"""Of the longest answer, which grows with the parameters; and what it says beside their values."""
_ESCAPED = 1.5
"""Times as long as a value is the JSON of its JSON, about."""
_TEMPERATURE = 0.7


class Edit(BaseModel):
    """One parameter's new value."""

    model_config = ConfigDict(extra="forbid")

    param: str = Field(max_length=60)
    new_value_json: str = Field(max_length=100_000)
    why: str = Field(max_length=1_000)


class Proposal(BaseModel):
    """What is wrong, and what to change; no edits means no change."""

    model_config = ConfigDict(extra="forbid")

    diagnosis: str = Field(max_length=4_000)
    edits: list[Edit] = Field(max_length=20)


@dataclass(frozen=True)
class Proposed:
    """A proposal and what it cost."""

    proposal: Proposal
    usage: Usage = Usage()
    prompt: str = ""
    """Its prompt's id and version."""


class Proposer(Protocol):
    """Makes edits."""

    name: str

    def propose(self, problem: Problem, count: int, seed: int, refused: str = "") -> list[Proposed]:
        """Return up to `count` proposals; `refused` says why the last one was.

        Raises:
            LLMError: If there is none because the model failed.
        """


class LLMProposer:
    """One joint call a proposal, over everything that the view shows."""

    def __init__(self, llm: LanguageModel, view: View = "graph") -> None:
        """Take a model and a view: `graph`, `masked`, or `history` for OPRO."""
        self.name = {"graph": "optimizer", "masked": "masked", "history": "opro"}[view]
        self._llm = llm
        self._view = view

    def propose(self, problem: Problem, count: int, seed: int, refused: str = "") -> list[Proposed]:
        """Return up to `count` proposals, asked for side by side; see `Proposer`."""
        prompt = prompt_of(problem, self._view, refused)
        messages = [Message(turn.role, turn.content) for turn in prompt.messages]

        def ask(_: int) -> Proposed:
            answer = self._llm.ask(
                messages,
                Proposal,
                purpose="workflow",
                max_tokens=longest_answer(problem.params.params[n] for n in problem.allowed),
                temperature=_TEMPERATURE,
            )
            return Proposed(answer.value, answer.usage, prompt.key)

        return gathered(ask, count)


def gathered(ask: Callable[[int], Proposed], count: int) -> list[Proposed]:
    """Ask `count` times, side by side; what failed calls cost is booked on the first proposal.

    Args:
        ask: From a number from 0 to a proposal.
        count: How often.

    Raises:
        LLMError: If no call gives a proposal.
    """

    def tried(number: int) -> Proposed | LLMError:
        try:
            return ask(number)
        except LLMError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(tried, range(count)))
    errors = [each for each in answers if isinstance(each, LLMError)]
    found = [each for each in answers if isinstance(each, Proposed)]
    spent = sum((error.usage for error in errors), Usage())
    if not found:
        errors[0].usage = spent
        raise errors[0]
    return [replace(found[0], usage=found[0].usage + spent), *found[1:]]


def longest_answer(params: Iterable[Param]) -> int:
    """Return how many tokens an answer may take that writes these parameters anew, and words."""
    written = _ESCAPED * sum(tokens_of(each.shown()) for each in params)
    return max(_LEAST_TOKENS, _TOKENS_OF_WORDS + round(written))


@contextmanager
def configured(
    caps: Caps | None = None, make: Callable[[LanguageModel], Proposer] = LLMProposer
) -> Iterator[Proposer]:
    """Propose by the language model that is set up, and hang up at the end.

    Args:
        caps: The most that it may spend.
        make: Makes a proposer of it.

    Raises:
        SettingsError: If there is none.
    """
    from ..llm.client import language_model
    from ..llm.settings import HOW_TO, SettingsError

    llm = language_model(caps=caps)
    if llm is None:
        raise SettingsError(f"edits are proposed by a language model: {HOW_TO}")
    with llm:
        yield make(llm)


class RandomProposer:
    """Edits one parameter blindly: the baseline that everything must beat."""

    name = "random"

    def propose(self, problem: Problem, count: int, seed: int, refused: str = "") -> list[Proposed]:
        """Return `count` proposals; see `Proposer`."""
        rng = random.Random(f"{seed}/{len(problem.past)}/{refused}")
        found = []
        for _ in range(count):
            each = problem.params.params[rng.choice(sorted(problem.allowed))]
            value = json.dumps(_CHANGES[each.kind](each, rng))
            edit = Edit(param=each.name, new_value_json=value, why="chance")
            found.append(Proposed(Proposal(diagnosis="none: an edit by chance", edits=[edit])))
        return found


def _other_number(each: Param, rng: random.Random) -> Any:
    low, high = map(float, re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", each.rule)[-2:])
    drawn = rng.uniform(low, high)
    return round(drawn) if isinstance(each.value, int) else drawn


def _other_text(each: Param, rng: random.Random) -> str:
    parts = re.split(r"(?<=[.\n])\s+", each.value)
    if len(parts) > 1:
        parts.pop(rng.randrange(len(parts)))
    return " ".join(parts)


def _other_data(each: Param, rng: random.Random) -> Any:
    """Return the data with one of its numbers scaled."""
    data = json.loads(json.dumps(each.value))
    spots = list(_numbers(data))
    if spots:
        holder, key = rng.choice(spots)
        scaled = holder[key] * 2.0 ** rng.uniform(-2.0, 2.0)
        holder[key] = round(scaled) if isinstance(holder[key], int) else scaled
    return data


def _numbers(data: Any) -> Any:
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield data, key


def _other_code(each: Param, rng: random.Random) -> str:
    """Return the code with one of its numbers scaled."""
    numbers = list(re.finditer(r"(?<![\w.])\d+(?:\.\d+)?", each.value))
    if not numbers:
        return str(each.value)
    found = rng.choice(numbers)
    scaled = float(found[0]) * 2.0 ** rng.uniform(-2.0, 2.0)
    text = f"{scaled:.3g}" if "." in found[0] else str(round(scaled))
    return f"{each.value[: found.start()]}{text}{each.value[found.end() :]}"


_CHANGES: dict[str, Callable[[Param, random.Random], Any]] = {
    "number": _other_number,
    "text": _other_text,
    "json": _other_data,
    "code": _other_code,
}


def merged(first: Proposed, repaired: Proposed) -> Proposed:
    """Return a repaired proposal with what both calls cost."""
    return replace(repaired, usage=first.usage + repaired.usage)
