"""Zero-shot warm start: configurations before there is any result (arXiv:2402.03921, section 4).

One request asks for twice as many as are wanted, in several roles; what is valid is spread out,
and what is missing comes from the textbook, then from Sobol points. Without a model, or without
an answer, the same call gives the classical start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from ...prompts.loading import render
from ...tools.space import Configuration, SearchSpace
from ...tools.textbook import prior_of
from ..llm.answers import LLMError, Usage
from ..textbook_start import CONFIGURATIONS
from .admission import Fault, admit
from .asking import Conversation
from .context import Problem
from .forms import ROLES, portfolio_form
from .geometry import NEAR, farthest_first, nearest
from .past import Neighbour, carry_over
from .serialisation import describe_space, describe_task, row
from .wishes import Wishes

SPREAD = 0.1
"""What the model proposes is nearer than this to something chosen is left out."""

_TEMPERATURE = 0.7
_TOKENS = 90
_MOST_DRAWS = 256

Origin = Literal["wish", "past study", "llm", "textbook", "sobol"]


@dataclass(frozen=True)
class Start:
    """One configuration to begin with, and where it comes from."""

    configuration: Configuration
    origin: Origin
    reason: str


@dataclass(frozen=True)
class WarmStart:
    """The configurations to begin with, and what they cost."""

    starts: tuple[Start, ...]
    usage: Usage = field(default_factory=Usage)
    faults: Mapping[Fault, int] = field(default_factory=dict)
    """What was wrong with the model's configurations, and how often."""
    prompts: tuple[str, ...] = ()
    """The prompts that were used, as `id@version`."""
    error: LLMError | None = None
    """Why the model gave no answer."""


def warm_start(
    conversation: Conversation | None,
    problem: Problem,
    count: int,
    *,
    seed: int,
    wishes: Wishes | None = None,
    past: Sequence[Neighbour] = (),
) -> WarmStart:
    """Return configurations to begin a study with.

    What a person asked for comes first, then one of each similar study, then the model's.

    Args:
        conversation: The model; None for the classical start.
        problem: What is optimised; with wishes, its space is narrowed by them.
        count: How many are wanted; there are fewer only if the space has hardly more.
        seed: Seed of what the textbook and Sobol add.
        wishes: What a person wants.
        past: Earlier studies that are near, the nearest one first.
    """
    space = problem.space if wishes is None else wishes.narrow(problem.space)
    problem = Problem(space, problem.direction, problem.card)
    given = [
        *_wished(space, wishes, count, seed),
        *_remembered(space, past),
    ][:count]
    starts: list[Start] = []
    for start in given:
        if _is_new(space, start, starts, NEAR):
            starts.append(start)
    error = None
    if conversation is not None and len(starts) < count:
        try:
            proposed = _ask(conversation, problem, 2 * (count - len(starts)), past)
        except LLMError as failure:
            proposed, error = [], failure
        order = farthest_first(
            space,
            [start.configuration for start in proposed],
            count - len(starts),
            others=[start.configuration for start in starts],
            least=SPREAD,
        )
        conversation.faults["near another"] += len(proposed) - len(order)
        starts += [proposed[i] for i in order]
    for start in chain(_of_textbook(space, seed), _of_sobol(space, seed)):
        if len(starts) >= count:
            break
        if _is_new(space, start, starts, NEAR):
            starts.append(start)
    return WarmStart(
        tuple(starts),
        Usage() if conversation is None else conversation.usage,
        {} if conversation is None else dict(+conversation.faults),
        () if conversation is None else tuple(conversation.prompts),
        error,
    )


def _ask(
    conversation: Conversation, problem: Problem, count: int, past: Sequence[Neighbour]
) -> list[Start]:
    space = problem.space
    prompt = render(
        "warmstart",
        task=describe_task(problem),
        space=describe_space(space),
        past=_past_table(space, past),
        count=count,
    )
    form = conversation.ask(
        prompt,
        portfolio_form(space),
        max_tokens=200 + _TOKENS * count,
        temperature=_TEMPERATURE,
    )
    entries = [entry if isinstance(entry, dict) else {} for entry in form.configurations]
    admitted = admit(space, [entry.get("values") for entry in entries], most=2 * count)
    conversation.faults.update(admitted.faults)
    starts = []
    for position, configuration in zip(admitted.positions, admitted.configurations, strict=True):
        role = entries[position].get("role")
        what = role if role in ROLES else "sensible"
        starts.append(Start(configuration, "llm", f"a {what} configuration to begin with"))
    return starts


def _past_table(space: SearchSpace, past: Sequence[Neighbour]) -> str:
    carried = (
        carry_over(space, configuration)
        for neighbour in past
        for configuration in neighbour.study.best
    )
    return "\n".join(row(space, configuration) for configuration in carried if configuration)


def _wished(space: SearchSpace, wishes: Wishes | None, count: int, seed: int) -> Iterator[Start]:
    if wishes is not None:
        # One as it was asked for, another in case that the first was completed badly.
        for configuration in wishes.preferred(space, min(2, count), seed):
            names = ", ".join(wishes.start)
            yield Start(configuration, "wish", f"a person asked for this {names}")


def _remembered(space: SearchSpace, past: Iterable[Neighbour]) -> Iterator[Start]:
    for neighbour in past:
        configuration = carry_over(space, neighbour.study.best[0])
        if configuration is not None:
            yield Start(configuration, "past study", neighbour.reason)


def _of_textbook(space: SearchSpace, seed: int) -> Iterator[Start]:
    prior = prior_of(space)
    if prior.knows:
        for configuration in prior.configurations(CONFIGURATIONS, seed):
            yield Start(configuration, "textbook", "textbook values")


def _of_sobol(space: SearchSpace, seed: int) -> Iterator[Start]:
    from scipy.stats import qmc

    points = qmc.Sobol(len(space.parameters), scramble=True, rng=seed)
    for point in points.random(_MOST_DRAWS):
        configuration = space.decode([float(u) for u in point])
        if space.satisfies_constraints(configuration):
            yield Start(configuration, "sobol", "spread over the space")


def _is_new(space: SearchSpace, start: Start, others: Sequence[Start], least: float) -> bool:
    known = [other.configuration for other in others]
    return nearest(space, start.configuration, known) >= least
