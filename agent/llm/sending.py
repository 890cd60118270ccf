"""Sends one request: in time, billed, judged by the breaker, and read only so far."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from ...tools.clock import Clock
from . import metering
from .answers import LLMError, Usage
from .circuit import Circuit
from .failures import Failure, detail_of, failure_of
from .metering import Meter
from .recording import Entry
from .settings import Settings
from .transport import Reply, Sent

MOST_BYTES = 4 << 20
"""The longest response that is read."""
_END = "data: [DONE]"
_ENDPOINTS_FAULT = frozenset({"server", "connection", "timeout"})
_BROKEN = (httpx2.TransportError, ssl.SSLError, anyio.EndOfStream)


@dataclass
class Call:
    """What one call of Luthier's is for, and how long it may take; it may be several requests."""

    purpose: str
    deadline: float
    """By the clock's `monotonic`."""
    seconds: float
    """How long that was in the beginning."""
    usage: Usage = field(default_factory=Usage)


@dataclass
class Bill:
    """What one request has cost, as far as is known."""

    usage: Usage


@dataclass
class Visit:
    """A request, however often it is sent."""

    sent: Sent
    call: Call
    keep: Callable[[Entry], None]
    usage: Usage

    def keep_response(self, status: int, content_type: str, body: str, bill: Bill) -> None:
        """Keep what came, with all that it cost."""
        self.keep(Entry(status, content_type, body, usage=self.usage + bill.usage))


class Sender:
    """What all requests to one endpoint share; it lives in one event loop."""

    def __init__(
        self, settings: Settings, meter: Meter, clock: Clock, redact: Callable[[str], str]
    ) -> None:
        """Connect nothing yet.

        Args:
            settings: Which endpoint.
            meter: Counts what is spent.
            clock: What deadlines and rests go by.
            redact: Takes the key out of a text.
        """
        self._settings = settings
        self._key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._meter = meter
        self._clock = clock
        self._redact = redact
        self._circuit = Circuit(clock)
        self._slots = asyncio.Semaphore(settings.concurrency)
        # Deadlines are kept here: those of HTTP clients begin anew with every byte.
        secure = settings.base_url.startswith("https")
        self._http = httpx2.AsyncClient(timeout=None, verify=secure)

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def send(self, visit: Visit) -> Reply:
        """Send a request once."""
        call, sent = visit.call, visit.sent
        async with AsyncExitStack() as stack:
            await self._take_slot(stack, call)
            bill = stack.enter_context(self._billed(visit))
            stack.enter_context(self._judged())
            async with self._in_time(call, self._settings.request_seconds):
                response = await self._open(sent, bill)
                stack.push_async_callback(response.aclose)
                if not (sent.streams and response.is_success):
                    body = await self._read(response, bill, sent)
            if sent.streams and response.is_success:
                pieces = self._stream(response, visit, bill, stack.pop_all())
                return Reply(200, _content_type(response), pieces=pieces)
            return self._settle(response, body, visit, bill)
        raise AssertionError("no exception is swallowed")

    async def _take_slot(self, stack: AsyncExitStack, call: Call) -> None:
        async with self._in_time(call):
            await stack.enter_async_context(self._slots)

    @asynccontextmanager
    async def _in_time(self, call: Call, most: float = math.inf) -> AsyncIterator[None]:
        """End the block when the call must end, or after `most` seconds; name what fails in it."""
        left = call.deadline - self._clock.monotonic()
        late = f"no answer within {call.seconds:g} s; LUTHIER_LLM_SECONDS gives it more time"
        if left <= 0:
            raise Failure(late, "timeout")
        host = self._settings.host
        try:
            async with asyncio.timeout(min(left, most)):
                yield
        except TimeoutError:
            if left <= most:
                raise Failure(late, "timeout") from None
            late = f"no answer within {most:g} s; LUTHIER_LLM_REQUEST_SECONDS gives it more time"
            raise Failure(late, "timeout", passing=True) from None
        except httpx2.ConnectError:
            text = f"{host!r} cannot be reached; check LUTHIER_LLM_BASE_URL and the network"
            raise Failure(text, "connection", passing=True) from None
        except _BROKEN as error:
            text = f"the connection to {host!r} broke ({type(error).__name__}); check the network"
            raise Failure(text, "connection", passing=True) from None
        except httpx2.DecodingError:
            raise Failure(f"the answer of {host!r} is garbled", "malformed") from None

    @contextmanager
    def _billed(self, visit: Visit) -> Iterator[Bill]:
        """Reserve what a request may cost, and book in the end what it did."""
        reserved = self._meter.reserve(visit.sent.body)
        bill = Bill(self._meter.priced(0, 0, calls=0))
        try:
            yield bill
        finally:
            self._meter.settle(visit.call.purpose, reserved, bill.usage)
            visit.call.usage += bill.usage
            visit.usage += bill.usage

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Ask the breaker, and tell it what came of it; who hangs up does not tell."""
        self._circuit.enter()
        failed = None
        try:
            yield
            failed = False
        except LLMError as error:
            failed = error.cause in _ENDPOINTS_FAULT
            raise
        except GeneratorExit:  # a stream that was heard until nobody wanted more
            failed = False
            raise
        finally:
            self._circuit.leave(failed)

    async def _open(self, sent: Sent, bill: Bill) -> httpx2.Response:
        """Send a request, and return the response when its body is to come."""
        if not sent.url.startswith(self._settings.base_url + "/"):
            # The key is for nobody else.
            raise Failure(f"{self._settings.base_url} is the endpoint, no other", "no_endpoint")
        headers = {"accept-encoding": "identity", "user-agent": "luthier"}
        if sent.content:
            headers["content-type"] = "application/json"
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        request = self._http.build_request(
            sent.method, sent.url, headers=headers, content=sent.content
        )
        # Should no answer come, so much has been paid for at least.
        bill.usage = self._meter.priced(sent.prompt_tokens, 0)
        try:
            return await self._http.send(request, stream=True)
        except httpx2.ConnectError:
            bill.usage = self._meter.priced(0, 0)
            raise

    async def _read(self, response: httpx2.Response, bill: Bill, sent: Sent) -> str:
        """Read a response, but not without end."""
        read = bytearray()
        async for chunk in response.aiter_bytes():
            read += chunk
            if len(read) > MOST_BYTES:
                self._charge(bill, sent, None, len(read))
                raise _too_long()
        return self._redact(read.decode("utf-8", "replace"))

    def _settle(self, response: httpx2.Response, body: str, visit: Visit, bill: Bill) -> Reply:
        """Book a response and keep it, or raise what it means."""
        if response.is_success:
            answer = _json_object(body)
            if answer is None:
                raise Failure(
                    f"the endpoint answers no JSON but {detail_of(body)!r}; check that "
                    "LUTHIER_LLM_BASE_URL ends as in `/v1`",
                    "malformed",
                )
            self._charge(bill, visit.sent, metering.usage_in(answer), metering.answer_size(answer))
            if answer.get("error") and not answer.get("choices"):
                raise Failure(f"the endpoint answers: {detail_of(body)}", "server", passing=True)
        else:
            bill.usage = self._meter.priced(0, 0)
            model = str(visit.sent.body.get("model") or self._settings.model)
            headers = dict(response.headers)
            failure = failure_of(response.status_code, headers, body, model, self._clock)
            if failure is not None:
                raise failure
        visit.keep_response(response.status_code, _content_type(response), body, bill)
        return Reply(response.status_code, _content_type(response), body.encode())

    def _charge(self, bill: Bill, sent: Sent, named: tuple[int, int] | None, size: int) -> None:
        """Set what a request cost: what the endpoint says, else what the texts suggest."""
        guess = (sent.prompt_tokens, metering.count_tokens(size))
        bill.usage = self._meter.priced(*(named or guess))

    async def _stream(
        self, response: httpx2.Response, visit: Visit, bill: Bill, stack: AsyncExitStack
    ) -> AsyncGenerator[bytes]:
        """Yield a response line by line as it comes; book and keep it in the end."""
        text, size, named = "", 0, None
        tail: bytes | None = b""
        async with stack:
            try:
                chunks = aiter(response.aiter_bytes())
                while tail is not None:
                    async with self._in_time(visit.call):
                        chunk = await anext(chunks, None)
                    # A key that is cut in two would not be found: it has no line breaks.
                    whole, tail = _lines(tail or b"", chunk)
                    piece = self._redact(whole.decode("utf-8", "replace"))
                    text += piece
                    for event in _events(piece):
                        size += metering.answer_size(event)
                        named = metering.usage_in(event) or named
                    self._charge(bill, visit.sent, named, size)
                    if len(text) + len(tail or b"") > MOST_BYTES:
                        raise _too_long()
                    # After this line nobody listens any more.
                    if tail is None or _END in piece:
                        visit.keep_response(200, _content_type(response), text, bill)
                        tail = None
                    if piece:
                        yield piece.encode()
            except LLMError as error:
                usage = visit.usage + bill.usage
                visit.keep(Entry(cause=error.cause, message=str(error), usage=usage))
                raise


def _too_long() -> Failure:
    return Failure(
        f"the answer is longer than {MOST_BYTES >> 20} MiB, and was cut off", "malformed"
    )


def _content_type(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "application/json"))


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _lines(tail: bytes, chunk: bytes | None) -> tuple[bytes, bytes | None]:
    """Return the whole lines so far, and the begun one; at the end everything, and None."""
    if chunk is None:
        return tail, None
    whole, newline, rest = (tail + chunk).rpartition(b"\n")
    return whole + newline, rest


def _events(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of server-sent events."""
    for line in text.splitlines():
        event = _json_object(line.removeprefix("data:"))
        if event is not None:
            yield event
