"""A simulated language model without a network: a mind that is asked directly, for long evals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ...agent.llm.answers import Answer, LLMError, Message, Samples, Usage, Weights
from ...prompts.loading import tokens_of
from .mind import Mind, Request

T = TypeVar("T", bound=BaseModel)


class Direct:
    """A `LanguageModel` on a mind: validates and repairs once, as the real client does."""

    name = "simulated"

    def __init__(self, mind: Mind, has_logprobs: bool = True) -> None:
        """Take a mind.

        Args:
            mind: Thinks for the model.
            has_logprobs: Whether it weighs options.
        """
        self.has_logprobs = has_logprobs
        self.usage = Usage()
        """What all calls cost, by the length of the texts."""
        self.mind = mind

    def ask(
        self, messages: Sequence[Message], schema: type[T], *, purpose: str, **_: Any
    ) -> Answer[T]:
        """Return an answer that is an instance of `schema`; see `LanguageModel.ask`."""
        spent = Usage()
        for repaired in (False, True):
            request = Request(tuple(messages), schema.model_json_schema())
            texts, usage = self._think(request, purpose)
            spent += usage
            try:
                return Answer(schema.model_validate_json(texts[0]), spent, 0.0, repaired)
            except ValidationError as error:
                messages = [*messages, Message("user", f"{error.error_count()} errors; again")]
        raise LLMError("the answer was malformed twice", "malformed", spent)

    def sample(self, messages: Sequence[Message], count: int, *, purpose: str, **_: Any) -> Samples:
        """Return free texts; see `LanguageModel.sample`."""
        return Samples(*self._think(Request(tuple(messages), None, count), purpose))

    def weigh(
        self, messages: Sequence[Message], options: Sequence[str], *, purpose: str, **_: Any
    ) -> Weights:
        """Return the options' probabilities; see `LanguageModel.weigh`."""
        request = Request(tuple(messages), weighs=True)
        usage = self._think(request, purpose)[1]
        probabilities = self.mind(request).probabilities
        if probabilities is None:
            raise LLMError("this model weighs nothing", "malformed", usage)
        return Weights({option: probabilities[option] for option in options}, usage)

    def _think(self, request: Request, purpose: str) -> tuple[tuple[str, ...], Usage]:
        texts = self.mind(request).texts
        usage = Usage(
            sum(tokens_of(message.content) for message in request.messages),
            sum(map(tokens_of, texts)),
            calls=1,
        )
        self.usage += usage
        return texts, usage
