"""How a simulated endpoint words its responses."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from .dialect import Endpoint, Talk, count_tokens
from .mind import Called, Reply

_PIECE = 12
"""Characters in one event of a stream."""
_LEAST_LOGPROB = -100.0


def chat_response(
    endpoint: Endpoint, talk: Talk, reply: Reply, finish: str, refusal: str | None
) -> dict[str, Any]:
    """Word the response to a chat request."""
    choices = []
    texts = reply.texts[int(talk.body.get("seed") or 0) :]
    for index, text in enumerate(texts):
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
        if refusal is not None:
            message["content"] = None
        elif talk.tool is not None:
            function = {"name": talk.tool, "arguments": text}
            call = {"id": f"call_{index}", "type": "function", "function": function}
            message |= {"content": None, "tool_calls": [call]}
        elif reply.calls:
            calls = [_call(talk, i, called) for i, called in enumerate(reply.calls)]
            message |= {"content": text or None, "tool_calls": calls}
            finish = "tool_calls"
        logprobs = _chat_logprobs(talk, reply, text) if talk.request.weighs else None
        choices.append(
            {"index": index, "message": message, "finish_reason": finish, "logprobs": logprobs}
        )
    return {
        **_envelope(endpoint, talk, "chat.completion"),
        "choices": choices,
        **_usage(endpoint, talk, texts),
    }


def chat_stream(
    endpoint: Endpoint, talk: Talk, response: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the same response in pieces."""
    envelope = _envelope(endpoint, talk, "chat.completion.chunk")
    for choice in response["choices"]:
        message, index = choice["message"], choice["index"]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if message.get("tool_calls"):
            calls = message["tool_calls"]
            deltas += [{"tool_calls": [{**call, "index": i}]} for i, call in enumerate(calls)]
        elif message["refusal"] is not None:
            deltas += [{"refusal": message["refusal"]}]
        text = message["content"] or ""
        deltas += [{"content": text[i : i + _PIECE]} for i in range(0, len(text), _PIECE)]
        for delta in deltas:
            piece = {"index": index, "delta": delta, "finish_reason": None}
            yield {**envelope, "choices": [piece]}
        end = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
        yield {**envelope, "choices": [end]}
    if (talk.body.get("stream_options") or {}).get("include_usage") and endpoint.usage:
        yield {**envelope, "choices": [], "usage": response["usage"]}


def text_response(endpoint: Endpoint, talk: Talk, reply: Reply, finish: str) -> dict[str, Any]:
    """Word the response to a request for the rest of a text."""
    texts = reply.texts[int(talk.body.get("seed") or 0) :]
    logprobs = None
    if talk.request.weighs and reply.probabilities is not None:
        top = dict(_ranked(reply.probabilities)[: int(talk.body["logprobs"])])
        first = max(top, key=lambda token: top[token], default="")
        logprobs = {
            "tokens": [first],
            "token_logprobs": [top.get(first)],
            "top_logprobs": [top],
            "text_offset": [0],
        }
    return {
        **_envelope(endpoint, talk, "text_completion"),
        "choices": [
            {"index": i, "text": text, "finish_reason": finish, "logprobs": logprobs}
            for i, text in enumerate(texts)
        ],
        **_usage(endpoint, talk, texts),
    }


def _call(talk: Talk, index: int, called: Called) -> dict[str, Any]:
    function = {"name": called.name, "arguments": json.dumps(called.arguments)}
    return {"id": f"call_{_digest(talk)[:8]}_{index}", "type": "function", "function": function}


def _chat_logprobs(talk: Talk, reply: Reply, text: str) -> dict[str, Any] | None:
    if reply.probabilities is None:
        return None
    ranked = _ranked(reply.probabilities)
    top = [_entry(*pair) for pair in ranked[: int(talk.body.get("top_logprobs") or 0)]]
    first = next((pair for pair in ranked if text.startswith(pair[0])), (text[:1], 0.0))
    return {"content": [{**_entry(*first), "top_logprobs": top}], "refusal": None}


def _ranked(probabilities: Mapping[str, float]) -> list[tuple[str, float]]:
    logs = {t: math.log(p) if p > 0 else _LEAST_LOGPROB for t, p in probabilities.items()}
    return sorted(logs.items(), key=lambda pair: -pair[1])


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _envelope(endpoint: Endpoint, talk: Talk, kind: str) -> dict[str, Any]:
    return {
        "id": f"chat-{_digest(talk)[:12]}",
        "object": kind,
        "created": 0,
        "model": endpoint.model,
    }


def _digest(talk: Talk) -> str:
    return hashlib.sha256(json.dumps(talk.body, sort_keys=True).encode()).hexdigest()


def _usage(endpoint: Endpoint, talk: Talk, texts: tuple[str, ...]) -> dict[str, Any]:
    if not endpoint.usage:
        return {}
    prompt, completion = sum(map(count_tokens, talk.texts)), sum(map(count_tokens, texts))
    return {
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
    }
