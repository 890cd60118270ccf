"""The line to an endpoint that every request takes: metered, recorded, in time, without secrets.

It stands below the `openai` SDK, as HTTP clients that wait and that do not, so that whatever can
use a client of its own (langchain's `ChatOpenAI`, too) shares one meter, one recording, one limit.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx2
import tenacity

from ...tools.clock import Clock
from .answers import LLMError, Usage
from .failures import Failure
from .loop import Loop
from .metering import Caps, Meter
from .prices import price_of
from .recording import Entry, Recording
from .redaction import redactor
from .sending import Call, Sender, Visit
from .settings import Settings
from .transport import AsyncFront, Front, Reply, Sent

_ATTEMPTS = 3
"""How often a request is sent at most."""
_OTHER = "other"
"""What requests are metered under that are made outside of a call."""

_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


class Line:
    """The line to one endpoint; its clients may be used from any thread or event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        caps: Caps | None = None,
        spent: Usage | None = None,
        recording: Recording | None = None,
        clock: Clock = time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Make a line; nothing is connected yet.

        Args:
            settings: Which endpoint.
            caps: The most that may be spent.
            spent: What counts against the caps already.
            recording: Where answers are kept, or come from.
            clock: What deadlines and rests go by.
            sleep: Waits between attempts, in seconds.
        """
        self.meter = Meter(price_of(settings), caps or Caps(), spent or Usage())
        self.settings = settings
        self._recording = recording
        self.clock = clock
        self._sleep = sleep
        self._redact = redactor(settings.api_key)
        self._sender = Sender(settings, self.meter, clock, self._redact)
        self._loop = Loop()
        self.http_client = httpx2.Client(transport=Front(self._loop, self._exchange))
        """For code that waits."""
        self.http_async_client = httpx2.AsyncClient(
            transport=AsyncFront(self._loop, self._exchange)
        )
        """For code in an event loop, whichever."""

    @contextmanager
    def call(self, purpose: str, seconds: float | None = None) -> Iterator[Call]:
        """Meter the requests of this block under a purpose, and end them in time."""
        call = self._new_call(purpose, seconds)
        token = _CALL.set(call)
        try:
            yield call
        finally:
            _CALL.reset(token)

    def _new_call(self, purpose: str, seconds: float | None = None) -> Call:
        limit = self.settings.seconds if seconds is None else seconds
        return Call(purpose, self.clock.monotonic() + limit, limit)

    def close(self) -> None:
        """Hang up, whatever is under way."""
        self._loop.close(self._sender.close)

    async def _exchange(self, sent: Sent) -> Reply:
        """Answer a request: from the recording, or by sending it as often as it takes.

        Raises:
            LLMError: If there is no answer.
        """
        call = _CALL.get() or self._new_call(_OTHER)
        if self._recording is None:
            return await self._insist(sent, call, lambda entry: None)
        path = sent.url.removeprefix(self.settings.base_url)
        body = json.loads(self._redact(json.dumps(sent.body)))
        recording, place = self._recording, self._recording.place(path, body)
        entry = recording.find(place)
        if entry is None:
            return await self._insist(
                sent, call, lambda entry: recording.keep(place, path, body, entry)
            )
        if recording.mode == "replay":
            self.meter.settle(call.purpose, Usage(), entry.usage)
            call.usage += entry.usage
        return _replayed(entry)

    async def _insist(self, sent: Sent, call: Call, keep: Callable[[Entry], None]) -> Reply:
        """Send a request again as long as that makes sense, and keep what comes of it."""

        def too_often(state: tenacity.RetryCallState) -> bool:
            back_at = self.clock.monotonic() + state.upcoming_sleep
            return state.attempt_number >= _ATTEMPTS or back_at >= call.deadline

        visit = Visit(sent, call, keep, self.meter.priced(0, 0, calls=0))
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, Failure) and e.passing),
            wait=_pause,
            stop=too_often,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return await retrying(self._sender.send, visit)
        except LLMError as error:
            keep(Entry(cause=error.cause, message=str(error), usage=visit.usage))
            raise


_BACKOFF = tenacity.wait_exponential_jitter(multiplier=0.5, max=8.0)


def _pause(state: tenacity.RetryCallState) -> float:
    """Return how long to wait: as long as the endpoint asks for, else longer each time."""
    failure = state.outcome.exception() if state.outcome else None
    if isinstance(failure, Failure) and failure.wait is not None:
        return failure.wait
    return _BACKOFF(state)


def _replayed(entry: Entry) -> Reply:
    if entry.status is None:
        raise LLMError(entry.message, entry.cause or "server")
    body = entry.body.encode()
    if not entry.content_type.startswith("text/event-stream"):
        return Reply(entry.status, entry.content_type, body)
    return Reply(entry.status, entry.content_type, pieces=_at_once(body))


async def _at_once(body: bytes) -> AsyncGenerator[bytes]:
    yield body
