"""HTTP transports, for code with and without an event loop, that leave the work to one place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx2

from .loop import Loop
from .metering import prompt_tokens


@dataclass(frozen=True)
class Sent:
    """One request."""

    method: str
    url: str
    content: bytes
    body: dict[str, Any]
    """The same, read; empty if it is no JSON object."""

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted in pieces."""
        return bool(self.body.get("stream"))

    @cached_property
    def prompt_tokens(self) -> int:
        """About how many tokens it has; every piece of an answer is billed with them."""
        return prompt_tokens(self.body)


@dataclass(frozen=True)
class Reply:
    """What comes back."""

    status: int
    content_type: str
    body: bytes = b""
    pieces: AsyncGenerator[bytes] | None = None
    """The body of a stream, instead."""


Exchange = Callable[[Sent], Coroutine[Any, Any, Reply]]
"""Answers one request in the loop's thread."""


class Front(httpx2.BaseTransport):
    """For code that waits."""

    def __init__(self, loop: Loop, exchange: Exchange) -> None:
        """Pass requests on to `exchange`, which runs in `loop`."""
        self._loop = loop
        self._exchange = exchange

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request."""
        reply = self._loop.run(self._exchange(_sent(request, request.read())))
        if reply.pieces is None:
            return _response(reply, content=reply.body)
        return _response(reply, stream=_Pieces(self._loop, reply.pieces))


class AsyncFront(httpx2.AsyncBaseTransport):
    """For code in an event loop, whichever."""

    def __init__(self, loop: Loop, exchange: Exchange) -> None:
        """Pass requests on to `exchange`, which runs in `loop`."""
        self._loop = loop
        self._exchange = exchange

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request."""
        sent = _sent(request, await request.aread())
        reply = await asyncio.wrap_future(self._loop.submit(self._exchange(sent)))
        if reply.pieces is None:
            return _response(reply, content=reply.body)
        return _response(reply, stream=_AsyncPieces(self._loop, reply.pieces))


class _Pieces(httpx2.SyncByteStream):
    def __init__(self, loop: Loop, pieces: AsyncGenerator[bytes]) -> None:
        self._loop = loop
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._loop.run(_next(self._pieces))) is not None:
            yield piece

    def close(self) -> None:
        if not self._loop.is_closed:
            self._loop.run(self._pieces.aclose())


class _AsyncPieces(httpx2.AsyncByteStream):
    def __init__(self, loop: Loop, pieces: AsyncGenerator[bytes]) -> None:
        self._loop = loop
        self._pieces = pieces

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        while (piece := await self._in_loop(_next(self._pieces))) is not None:
            yield piece

    async def aclose(self) -> None:
        if not self._loop.is_closed:
            await self._in_loop(self._pieces.aclose())

    def _in_loop(self, work: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
        return asyncio.wrap_future(self._loop.submit(work))


async def _next(pieces: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(pieces, None)


def _sent(request: httpx2.Request, content: bytes) -> Sent:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    return Sent(request.method, str(request.url), content, body if isinstance(body, dict) else {})


def _response(reply: Reply, **body: Any) -> httpx2.Response:
    return httpx2.Response(reply.status, headers={"content-type": reply.content_type}, **body)
