"""langchain's `ChatOpenAI` on the same line: metered, in time, recorded, without secrets."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from luthier.agent.llm.answers import LLMError
from luthier.agent.llm.client import Client
from luthier.agent.llm.line import Line
from luthier.agent.llm.metering import Caps
from luthier.agent.llm.recording import Recording
from luthier.agent.llm.settings import Settings
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint

from .conftest import Connect


def chat_model(client: Client, url: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=url,
        model=client.name,
        api_key="not here",
        http_client=client.line.http_client,
        http_async_client=client.line.http_async_client,
        **options,
    )


def replaying(settings: Settings, folder: Path) -> Client:
    return Client(Line(settings, recording=Recording(folder, "replay")))


def invoke(model: ChatOpenAI, how: str) -> str:
    """Ask in one of langchain's four ways."""

    async def stream() -> str:
        return "".join([str(piece.content) async for piece in model.astream("Hello?")])

    if how == "invoke":
        return str(model.invoke("Hello?").content)
    if how == "ainvoke":
        return str(asyncio.run(model.ainvoke("Hello?")).content)
    if how == "stream":
        return "".join(str(piece.content) for piece in model.stream("Hello?"))
    return asyncio.run(stream())


HOW = ["invoke", "ainvoke", "stream", "astream"]
WORDS = "Hello, world, and all who tune it."


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("usage", [True, False], ids=["usage", "guess"])
def test_it_is_metered_and_recorded(
    connect: Connect, tmp_path: Path, how: str, usage: bool
) -> None:
    client, server = connect(
        WORDS,
        endpoint=Endpoint(key="secret", usage=usage),
        settings={"api_key": "secret"},
        recording=Recording(tmp_path, "record"),
    )
    with client.line.call("planner") as call:
        assert invoke(chat_model(client, server.url, stream_usage=usage), how) == WORDS

    assert client.meter.by_purpose() == {"planner": call.usage}
    assert call.usage.calls == 1
    assert call.usage.completion_tokens == (9 if usage else 12)

    settings = Settings(base_url=server.url, model=client.name)
    with replaying(settings, tmp_path) as replay:
        assert invoke(chat_model(replay, server.url, stream_usage=usage), how) == WORDS
        assert replay.meter.by_purpose() == {"other": call.usage}
    assert len(server.received) == 1


@pytest.mark.parametrize("how", HOW)
def test_its_failures_are_ours(connect: Connect, how: str) -> None:
    client, server = connect(faults=faults.always(faults.Status(401)))
    with pytest.raises(LLMError) as failed:
        invoke(chat_model(client, server.url), how)

    assert failed.value.cause == "unauthorized"
    assert len(server.received) == 1


@pytest.mark.parametrize("how", HOW)
def test_it_keeps_to_the_budget(connect: Connect, how: str) -> None:
    client, server = connect(caps=Caps(tokens=10))
    with pytest.raises(LLMError) as refused:
        invoke(chat_model(client, server.url), how)

    assert refused.value.cause == "budget"
    assert server.received == []


@pytest.mark.parametrize("how", HOW)
def test_it_keeps_to_the_deadline(connect: Connect, how: str) -> None:
    client, server = connect(faults=faults.always(faults.Drip()))
    with client.line.call("planner", seconds=0.1), pytest.raises(LLMError) as failed:
        invoke(chat_model(client, server.url), how)

    assert failed.value.cause == "timeout"


@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_stream_that_breaks_is_a_failure(connect: Connect, tmp_path: Path, how: str) -> None:
    client, server = connect(
        WORDS, faults=faults.always(faults.Drop(400)), recording=Recording(tmp_path, "record")
    )
    with pytest.raises(LLMError) as failed:
        invoke(chat_model(client, server.url), how)

    assert failed.value.cause == "connection"
    settings = Settings(base_url=server.url, model=client.name)
    with replaying(settings, tmp_path) as replay, pytest.raises(LLMError, match="broke"):
        invoke(chat_model(replay, server.url), how)


def test_a_stream_comes_as_it_is_said(connect: Connect) -> None:
    client, server = connect(WORDS * 100, faults=faults.always(faults.Hang(0)))
    pieces = chat_model(client, server.url).stream("Hello?")
    first = str(next(pieces).content) + str(next(pieces).content)
    pieces.close()

    assert WORDS.startswith(first)
    assert client.meter.total().calls == 1


def test_a_stream_that_repeats_the_key_does_not_spread_it(connect: Connect) -> None:
    client, server = connect("sk-hush-hush", settings={"api_key": "sk-hush-hush"})

    assert invoke(chat_model(client, server.url), "stream") == "[key]"
