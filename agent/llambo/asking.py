"""Asks a language model by prompt, and keeps account of what was asked and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from pydantic import BaseModel

from ...prompts.loading import Prompt
from ..llm.answers import LanguageModel, LLMError, Message, Usage
from .admission import Fault

T = TypeVar("T", bound=BaseModel)
Item = TypeVar("Item")

_AT_ONCE = 8


class Conversation:
    """One language model, and the account of what a trial asks of it."""

    def __init__(self, llm: LanguageModel, seconds: float | None = None) -> None:
        """Begin an account.

        Args:
            llm: The model.
            seconds: Deadline of each call.
        """
        self.llm = llm
        self._seconds = seconds
        self.usage = Usage()
        """What all calls cost so far, failed ones included."""
        self.prompts: dict[str, None] = {}
        """The prompts that were used, as `id@version`, in order."""
        self.faults: Counter[Fault] = Counter()
        """What was wrong with the answers."""

    @contextmanager
    def accounted(self) -> Iterator[None]:
        """Let a failure of the block say what all calls have cost, not only the last one."""
        try:
            yield
        except LLMError as error:
            error.usage = self.usage
            raise

    def ask(self, prompt: Prompt, schema: type[T], *, max_tokens: int, temperature: float) -> T:
        """Return an answer in a form.

        Raises:
            LLMError: If there is none.
        """
        self.prompts[prompt.key] = None
        try:
            answer = self.llm.ask(
                _messages(prompt),
                schema,
                purpose=prompt.id,
                max_tokens=max_tokens,
                temperature=temperature,
                seconds=self._seconds,
            )
        except LLMError as error:
            self.usage += error.usage
            raise
        self.usage += answer.usage
        return answer.value

    def sample(
        self, prompts: Sequence[Prompt], count: int, *, max_tokens: int, temperature: float
    ) -> list[tuple[str, ...]]:
        """Return up to `count` texts in answer to each prompt, none where the model failed.

        Raises:
            LLMError: If it failed at every prompt.
        """

        def one(prompt: Prompt) -> tuple[tuple[str, ...], Usage]:
            samples = self.llm.sample(
                _messages(prompt),
                count,
                purpose=prompt.id,
                max_tokens=max_tokens,
                temperature=temperature,
                seconds=self._seconds,
            )
            return samples.texts, samples.usage

        return [texts or () for texts in self._all(prompts, one)]

    def weigh(
        self, prompts: Sequence[Prompt], options: Sequence[str]
    ) -> list[Mapping[str, float] | None]:
        """Return how probable each option is after each prompt, None where the model failed.

        Raises:
            LLMError: If it failed at every prompt.
        """

        def one(prompt: Prompt) -> tuple[Mapping[str, float], Usage]:
            weights = self.llm.weigh(
                _messages(prompt), options, purpose=prompt.id, seconds=self._seconds
            )
            return weights.probabilities, weights.usage

        return self._all(prompts, one)

    def _all(
        self, prompts: Sequence[Prompt], call: Callable[[Prompt], tuple[Item, Usage]]
    ) -> list[Item | None]:
        """Make a call a prompt, several at once."""

        def safe(prompt: Prompt) -> tuple[Item, Usage] | LLMError:
            try:
                return call(prompt)
            except LLMError as error:
                return error

        self.prompts.update(dict.fromkeys(prompt.key for prompt in prompts))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            results = list(pool.map(safe, prompts))
        answers: list[Item | None] = []
        error: LLMError | None = None
        for result in results:
            if isinstance(result, LLMError):
                self.usage += result.usage
                error = result
                answers.append(None)
            else:
                self.usage += result[1]
                answers.append(result[0])
        if error is not None and all(answer is None for answer in answers):
            raise error
        return answers


def _messages(prompt: Prompt) -> list[Message]:
    return [Message(role, content) for role, content in prompt.messages]
