"""The client of a language model: typed answers, several texts, and probabilities of options."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from .abilities import Abilities, Wish
from .answers import Answer, LLMError, Message, Samples, Weights
from .completions import Choice, Completion
from .failures import detail_of
from .line import Line
from .metering import Caps, Meter
from .sending import Call
from .settings import load_settings
from .structured import Unusable, parse, repair, said

if TYPE_CHECKING:
    from openai import OpenAI

_MOST_TRIES = 10
"""Things that an endpoint may refuse before a request is given up."""
_FIRST_TOKENS = 4
"""Tokens of an answer that is weighed; the first may be a space."""

T = TypeVar("T", bound=BaseModel)


def language_model(
    base_url: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
    caps: Caps | None = None,
) -> Client | None:
    """Return the language model that is set up, None if there is none.

    Args:
        base_url: What comes before `/chat/completions`; None for the environment's, as for all.
        model: The model's name at the endpoint.
        api_key: Its key, if it wants one.
        caps: The most that may be spent; a call beyond it is refused.

    Raises:
        SettingsError: If something is missing.
    """
    settings = load_settings(base_url=base_url, model=model, api_key=api_key)
    return None if settings is None else Client(Line(settings, caps=caps))


class Client:
    """A language model behind an OpenAI-compatible endpoint; it may be used from any thread."""

    def __init__(self, line: Line, abilities: Abilities | None = None) -> None:
        """Make a client; nothing is sent yet.

        Args:
            line: The way to the endpoint; it is closed with the client.
            abilities: What is known of the endpoint already.
        """
        self.line = line
        self.settings = line.settings
        self._clock = line.clock
        self._abilities = abilities or Abilities()
        self._lock = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.line.close()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.settings.model

    @property
    def meter(self) -> Meter:
        """What was spent."""
        return self.line.meter

    @property
    def abilities(self) -> Abilities:
        """What the endpoint has not refused so far."""
        return self._abilities

    @property
    def has_logprobs(self) -> bool:
        """Whether `weigh` works, as far as is known."""
        return self._abilities.logprobs

    def ask(
        self,
        messages: Sequence[Message],
        schema: type[T],
        *,
        purpose: str,
        max_tokens: int = 1024,
        temperature: float = 0.7,
        seconds: float | None = None,
    ) -> Answer[T]:
        """Return an answer that is an instance of `schema`; see `LanguageModel.ask`."""
        started = self._clock.monotonic()
        with self._call(purpose, seconds) as call:
            wish = Wish(messages, max_tokens, temperature, schema)
            for repaired in (False, True):
                choice = self._one(wish)
                try:
                    value = parse(schema, choice.text, cut_off=choice.was_cut_off)
                except Unusable as error:
                    problem = str(error)
                    wish = replace(wish, messages=repair(messages, schema, choice.text, problem))
                else:
                    taken = self._clock.monotonic() - started
                    return Answer(value, call.usage, taken, repaired)
            raise _unusable(self.name, choice.text, problem)

    def sample(
        self,
        messages: Sequence[Message],
        count: int,
        *,
        purpose: str,
        max_tokens: int = 256,
        temperature: float = 0.7,
        seconds: float | None = None,
    ) -> Samples:
        """Return at most `count` free texts, at least one; see `LanguageModel.sample`."""
        with self._call(purpose, seconds) as call:
            wish = Wish(messages, max_tokens, temperature, count=count)
            choices = self._create(wish)
            if len(choices) < count:
                self._learn(replace(self._abilities, several=False))
                choices += self._others(wish, len(choices))
            answers = [choice for choice in choices[:count] if choice.refusal is None]
            if not answers:
                raise _refused(self.name, choices[0].refusal)
            texts = tuple(filter(None, (said(choice.text) for choice in answers)))
            if not texts:
                raise LLMError(f"{self.name!r} gives an empty answer", "empty")
            return Samples(texts, call.usage)

    def _others(self, wish: Wish, have: int) -> list[Choice]:
        """Ask for the rest of several answers one by one; what fails is missing."""

        def another(seed: int) -> list[Choice]:
            try:
                return self._create(replace(wish, count=1, seed=seed))
            except LLMError:
                return []

        # Requests that do not differ must come in order, or a replay could mix them up.
        at_once = self.settings.concurrency if self._abilities.seed else 1
        with ThreadPoolExecutor(at_once) as pool:
            asked = [pool.submit(copy_context().run, another, i) for i in range(have, wish.count)]
            return [choice for future in asked for choice in future.result()]

    def weigh(
        self,
        messages: Sequence[Message],
        options: Sequence[str],
        *,
        purpose: str,
        seconds: float | None = None,
    ) -> Weights:
        """Return how probable each option is as a first token; see `LanguageModel.weigh`."""
        with self._call(purpose, seconds) as call:
            if self._abilities.logprobs:
                wish = Wish(messages, _FIRST_TOKENS, temperature=1.0, weighs=True)
                top = self._one(wish).first_token()
                if top is not None:
                    return Weights(_shares(self.name, top, options), call.usage)
                self._learn(replace(self._abilities, logprobs=False))
            raise _without_logprobs(self.name)

    @contextmanager
    def _call(self, purpose: str, seconds: float | None) -> Iterator[Call]:
        """Let what fails say what it cost."""
        with self.line.call(purpose, seconds) as call:
            try:
                yield call
            except LLMError as error:
                error.usage = call.usage
                raise

    def _learn(self, abilities: Abilities) -> None:
        """Remember what was found missing."""
        with self._lock:
            self._abilities &= abilities

    def _one(self, wish: Wish) -> Choice:
        """Return a choice that is no refusal."""
        choice = self._create(wish)[0]
        if choice.refusal is not None:
            raise _refused(self.name, choice.refusal)
        return choice

    def _create(self, wish: Wish) -> list[Choice]:
        """Send a request that the endpoint understands, finding out what it does not."""
        import openai

        abilities, words = self._abilities, ""
        for _ in range(_MOST_TRIES):
            request = abilities.request(wish)
            try:
                response = self.sdk.chat.completions.with_raw_response.create(
                    model=self.name, **request
                )
            except openai.APIStatusError as error:
                words = detail_of(error.response.text)
                left = abilities.without(request, f"{words} {error.param or ''}")
                if left is None:
                    break
                abilities = left
                if wish.weighs and not abilities.logprobs:
                    self._learn(abilities)
                    raise _without_logprobs(self.name) from None
            else:
                self._learn(abilities)
                return self._choices(response.http_response.text)
        raise LLMError(f"the endpoint refuses the request: {words}", "refused")

    def _choices(self, body: str) -> list[Choice]:
        try:
            choices = Completion.model_validate_json(body).choices
        except ValidationError as error:
            where = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
            raise LLMError(
                f"the endpoint's answer is no chat completion, for its `{where}`", "malformed"
            ) from None
        if not choices:
            raise LLMError(f"{self.name!r} gives no answer", "empty")
        return choices

    @cached_property
    def sdk(self) -> OpenAI:
        """The same line for whatever else an endpoint offers."""
        from openai import OpenAI

        # The line has the key, and does what there is to be repeated.
        return OpenAI(
            base_url=self.settings.base_url,
            api_key="not here",
            max_retries=0,
            http_client=self.line.http_client,
        )


def _refused(name: str, words: str | None) -> LLMError:
    return LLMError(f"{name!r} refuses to answer: {detail_of(words or '')}", "refused")


def _without_logprobs(name: str) -> LLMError:
    return LLMError(f"{name!r} gives no log-probabilities; ask for samples instead", "refused")


def _unusable(name: str, text: str, problem: str) -> LLMError:
    if not said(text):
        return LLMError(f"{name!r} gives an empty answer, twice", "empty")
    words = " ".join(problem.split())
    return LLMError(f"{name!r} gives answers that cannot be used, twice: {words}", "malformed")


def _shares(name: str, top: dict[str, float], options: Sequence[str]) -> dict[str, float]:
    """Return the options' probabilities, a token counting with or without spaces around it."""
    found = dict.fromkeys(options, 0.0)
    for token, logprob in top.items():
        if token.strip() in found:
            found[token.strip()] += math.exp(min(0.0, logprob))
    total = sum(found.values())
    if total <= 0.0:
        raise LLMError(f"{name!r} answers with none of {list(options)}", "malformed")
    return {option: probability / total for option, probability in found.items()}
