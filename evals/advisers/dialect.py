"""What a simulated endpoint understands of requests, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...agent.llm.answers import Message
from .faults import Status
from .mind import Request

_BYTES_PER_TOKEN = 4


class Refusal(Exception):
    """A request that is answered with an HTTP error."""

    def __init__(self, status: Status) -> None:
        """Keep the error."""
        super().__init__(status.message)
        self.status = status


@dataclass(frozen=True)
class Endpoint:
    """What an endpoint can do."""

    model: str = "simulated"
    key: str | None = None
    """The API key that it demands; None for none."""
    context: int = 128_000
    """Tokens of the longest request with its answer, at four bytes each."""
    schema: bool = True
    json_mode: bool = True
    tools: bool = True
    logprobs: bool = True
    """Without, a request for them is refused."""
    most_logprobs: int = 20
    several: bool = True
    """Whether `n` counts; if not, it is ignored and one answer comes."""
    seed: bool = True
    streaming: bool = True
    completions: bool = True
    usage: bool = True
    temperature: bool = True
    """Whether another temperature than 1 may be asked for."""
    confused: bool = False
    """Whether it takes a request that it cannot read for an error of its own, as the server of
    llama-cpp-python does."""
    max_tokens: bool = True
    """Whether `max_tokens` is known; if not, only `max_completion_tokens` is."""

    def admit(self, headers: Mapping[str, str]) -> None:
        """Refuse a request without the right key."""
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self.key is not None and given != self.key:
            # Some real endpoints repeat the key, too.
            message = f"Incorrect API key provided: {given}."
            raise Refusal(Status(401, message, kind="invalid_api_key"))


@dataclass(frozen=True)
class Talk:
    """A request as it was understood."""

    request: Request
    body: Mapping[str, Any]
    is_chat: bool
    tool: str | None
    """The tool that must be called with the answer, if any."""

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted in pieces."""
        return bool(self.body.get("stream"))

    @property
    def texts(self) -> list[str]:
        """What was said to the model."""
        return [message.content for message in self.request.messages]


def listen(endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Talk:
    """Understand a request.

    Raises:
        Refusal: If the endpoint cannot do what is asked for.
    """
    is_chat = path == "/v1/chat/completions"
    if not is_chat and not (path == "/v1/completions" and endpoint.completions):
        raise Refusal(Status(404, f"Invalid URL (POST {path})"))
    if body.get("model") != endpoint.model:
        message = f"The model `{body.get('model')}` does not exist or you have no access to it."
        raise Refusal(Status(404, message, kind="model_not_found"))
    _refuse_unsupported(endpoint, body)
    if is_chat:
        messages = tuple(
            Message(message["role"], _text(message.get("content"))) for message in body["messages"]
        )
        weighs = bool(body.get("logprobs"))
    else:
        messages = (Message("user", str(body.get("prompt", ""))),)
        weighs = body.get("logprobs") is not None
    request = Request(
        messages,
        _schema(body, messages),
        _count(endpoint, body),
        weighs,
        _free_tools(body),
        _answered(body),
    )
    talk = Talk(request, body, is_chat, _tool(body))
    _refuse_too_long(endpoint, talk)
    return talk


def _refuse_unsupported(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Refuse what an endpoint cannot do, in the words of real ones."""
    kind = (body.get("response_format") or {}).get("type")
    temperature = body.get("temperature")
    checks: list[tuple[bool, str, str]] = [
        (
            kind == "json_schema" and not endpoint.schema,
            "response_format",
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with "
            "this model.",
        ),
        (
            kind == "json_object" and not endpoint.json_mode,
            "response_format",
            "Invalid parameter: 'response_format' of type 'json_object' is not supported with "
            "this model.",
        ),
        (
            bool(body.get("tools")) and not endpoint.tools,
            "tools",
            f"{endpoint.model} does not support tools",
        ),
        (
            bool(body.get("logprobs")) and not endpoint.logprobs,
            "logprobs",
            "You are not allowed to request logprobs from this model",
        ),
        (
            int(body.get("top_logprobs") or 0) > endpoint.most_logprobs,
            "top_logprobs",
            f"Invalid value for 'top_logprobs': must be at most {endpoint.most_logprobs}.",
        ),
        (
            "seed" in body and not endpoint.seed,
            "seed",
            "Extra inputs are not permitted: seed",
        ),
        (
            bool(body.get("stream")) and not endpoint.streaming,
            "stream",
            "Unsupported parameter: 'stream' is not supported with this model.",
        ),
        (
            temperature not in (None, 1, 1.0) and not endpoint.temperature,
            "temperature",
            f"Unsupported value: 'temperature' does not support {temperature} with this model. "
            "Only the default (1) value is supported.",
        ),
        (
            "max_tokens" in body and not endpoint.max_tokens,
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
        ),
    ]
    for wrong, param, message in checks:
        if wrong and endpoint.confused:
            text = f"1 validation error: {{'type': 'literal_error', 'loc': ('body', {param!r})}}"
            raise Refusal(Status(500, text))
        if wrong:
            raise Refusal(Status(400, message, param=param, kind="unsupported_parameter"))


def _refuse_too_long(endpoint: Endpoint, talk: Talk) -> None:
    used = sum(map(count_tokens, talk.texts)) + _longest(talk.body, 0)
    if used > endpoint.context:
        message = (
            f"This model's maximum context length is {endpoint.context} tokens. However, you "
            f"requested {used} tokens. Please reduce the length of the messages or completion."
        )
        raise Refusal(Status(400, message, param="messages", kind="context_length_exceeded"))


def _longest(body: Mapping[str, Any], default: int) -> int:
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or default)


def _count(endpoint: Endpoint, body: Mapping[str, Any]) -> int:
    """Return how many answers the mind thinks of.

    A request with a seed wants another answer than those with smaller ones: the last of so many.
    """
    n = int(body.get("n") or 1) if endpoint.several else 1
    return n + int(body.get("seed") or 0)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return content or ""


def _schema(body: Mapping[str, Any], messages: tuple[Message, ...]) -> Mapping[str, Any] | None:
    """Return the schema that the answer must follow, wherever the request has it."""
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        schema: Mapping[str, Any] = form["json_schema"]["schema"]
        return schema
    name = _tool(body)
    for tool in body.get("tools") or ():
        if tool["function"]["name"] == name:
            parameters: Mapping[str, Any] = tool["function"]["parameters"]
            return parameters
    # A model reads; so does this one.
    _, found, rest = messages[-1].content.rpartition("JSON schema") if messages else ("", "", "")
    start = rest.find("{")
    if not found or start < 0:
        return None
    try:
        read, _ = json.JSONDecoder().raw_decode(rest, start)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _tool(body: Mapping[str, Any]) -> str | None:
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        return str(choice["function"]["name"])
    tools = list(body.get("tools") or [])
    return str(tools[0]["function"]["name"]) if choice == "required" and len(tools) == 1 else None


def _free_tools(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tools that a model may call or not."""
    if body.get("tool_choice") not in (None, "auto") or body.get("response_format"):
        return ()
    return tuple(str(tool["function"]["name"]) for tool in body.get("tools") or ())


def _answered(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return of each message whose answer it is, as the calls before it tell."""
    names: dict[str, str] = {}
    found = []
    for message in body.get("messages") or ():
        for call in message.get("tool_calls") or ():
            names[call["id"]] = call["function"]["name"]
        found.append(names.get(message.get("tool_call_id", ""), ""))
    return tuple(found)


def count_tokens(text: str) -> int:
    """Return how many tokens this endpoint counts in a text."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
