"""An OpenAI-compatible endpoint on this machine that a mind thinks for, with faults to order."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .dialect import Endpoint, Refusal, Talk, listen
from .faults import Drip, Drop, Fault, Hang, Raw, Refuse, Say, Schedule, Status, never
from .mind import Mind, Reply
from .wording import chat_response, chat_stream, text_response

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Received:
    """One request that came in."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    """Names in lower case."""


@contextmanager
def serve(
    mind: Mind, endpoint: Endpoint | None = None, faults: Schedule = never
) -> Iterator[Server]:
    """Serve a mind on a free port of 127.0.0.1 until the block ends.

    Args:
        mind: Thinks for the model.
        endpoint: What the endpoint can do; everything by default.
        faults: Which requests go wrong, and how.

    Raises:
        Exception: What the mind raised, at the end of the block.
    """
    server = Server(mind, endpoint or Endpoint(), faults)
    try:
        yield server
    finally:
        server.close()
    if server.crash is not None:
        raise server.crash


class Server:
    """A running endpoint."""

    def __init__(self, mind: Mind, endpoint: Endpoint, faults: Schedule) -> None:
        """Start it; `serve` also ends it."""
        self.endpoint = endpoint
        self.received: list[Received] = []
        """Every request, in the order of arrival."""
        self.crash: Exception | None = None
        """What the mind raised."""
        self._mind = mind
        self._faults = faults
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._released = threading.Event()
        self._http = _Listener(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def model(self) -> str:
        """The name of its model."""
        return self.endpoint.model

    @property
    def chats(self) -> list[Mapping[str, Any]]:
        """The bodies of the chat requests so far."""
        return [r.body for r in self.received if r.path.endswith("/chat/completions")]

    def release(self) -> None:
        """Let the requests that hang go on, and all later ones."""
        self._released.set()

    def close(self) -> None:
        """Cut all connections and end."""
        self.release()
        self._http.shutdown()
        self._http.cut()
        self._http.server_close()
        self._thread.join()

    def wait(self, seconds: float | None) -> None:
        """Wait in a request that hangs."""
        self._released.wait(seconds)

    def fault_of(self, received: Received) -> Fault | None:
        """Keep a request, and return the fault that it meets."""
        text = json.dumps([received.path, received.body], sort_keys=True)
        with self._lock:
            number = len(self.received)
            self.received.append(received)
            self._seen[text] += 1
            again = self._seen[text]
        return self._faults(number, hashlib.sha256(f"{again} {text}".encode()).hexdigest())

    def think(self, talk: Talk) -> Reply:
        """Ask the mind; what it raises is also raised at the end of `serve`."""
        try:
            return self._mind(talk.request)
        except Exception as error:
            self.crash = error
            raise Refusal(Status(500, f"the mind failed: {error!r}")) from error


class _Listener(ThreadingHTTPServer):
    """A server that knows its connections, to cut them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up, and a mind's own failure is kept by the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, owner: Server, *arguments: Any) -> None:
        self._owner = owner
        super().__init__(*arguments)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep standard error clean."""

    def do_GET(self) -> None:
        """List the models."""
        self._answer({})

    def do_POST(self) -> None:
        """Complete a chat or a text."""
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        self._answer(body if isinstance(body, dict) else {})

    def _answer(self, body: dict[str, Any]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.path, body, headers)
        fault = self._owner.fault_of(received)
        try:
            payload = self._payload(received, fault)
        except Refusal as refusal:
            payload = _error(refusal.status)
        if isinstance(fault, Hang):
            self._owner.wait(fault.seconds)
        elif isinstance(fault, Drop):
            self.wfile.write(payload[: fault.after])
            self.close_connection = True
            return
        elif isinstance(fault, Drip):
            for byte in payload:
                self.wfile.write(bytes([byte]))
                self._owner.wait(fault.seconds)
            return
        self.wfile.write(payload)

    def _payload(self, received: Received, fault: Fault | None) -> bytes:
        """Return the bytes of the whole response."""
        endpoint = self._owner.endpoint
        if isinstance(fault, Status):
            return _error(fault)
        if isinstance(fault, Raw):
            return _body(200, fault.body.encode())
        endpoint.admit(received.headers)
        if received.path == "/v1/models":
            models = [{"id": endpoint.model, "object": "model", "created": 0, "owned_by": "us"}]
            return _json(200, {"object": "list", "data": models})
        talk = listen(endpoint, received.path, received.body)
        reply = self._owner.think(talk)
        finish, refusal = "stop", None
        if isinstance(fault, Say):
            reply = Reply(tuple(fault.change(text) for text in reply.texts), reply.probabilities)
            finish = fault.finish
        elif isinstance(fault, Refuse):
            refusal = fault.text
        if not talk.is_chat:
            return _json(200, text_response(endpoint, talk, reply, finish))
        response = chat_response(endpoint, talk, reply, finish, refusal)
        if talk.streams:
            return _events(chat_stream(endpoint, talk, response))
        return _json(200, response)


def _error(fault: Status) -> bytes:
    error = {"message": fault.message, "type": "error", "param": fault.param, "code": fault.kind}
    return _json(fault.code, {"error": error}, fault.headers)


def _json(code: int, data: Any, headers: Mapping[str, str] | None = None) -> bytes:
    return _body(code, json.dumps(data).encode(), headers)


def _body(code: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    head = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    return _head(code, head) + body


def _events(chunks: Iterator[Mapping[str, Any]]) -> bytes:
    """Return server-sent events in HTTP chunks."""
    events = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    events.append(b"data: [DONE]\n\n")
    body = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    head = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
    return _head(200, head) + body + b"0\r\n\r\n"


def _head(code: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {code} {BaseHTTPRequestHandler.responses.get(code, ('Error',))[0]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
