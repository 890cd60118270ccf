"""The key goes to its endpoint, and nowhere else."""

import logging
import traceback
from pathlib import Path

import pytest
from luthier.agent.llm.answers import LLMError, Message
from luthier.agent.llm.recording import Recording
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.mind import Reply, Request

from .conftest import ASKED, Connect, Rate

KEY = 'sk-"hush/key'


def everything(folder: Path) -> str:
    """Return all text below a folder."""
    return "".join(p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file())


def test_the_key_reaches_the_endpoint(connect: Connect) -> None:
    client, server = connect(endpoint=Endpoint(key=KEY), settings={"api_key": KEY})
    client.ask(ASKED, Rate, purpose="test")

    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"


def test_without_a_key_none_is_sent(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "ours")
    client, server = connect()
    client.ask(ASKED, Rate, purpose="test")

    assert KEY not in str(server.received[0].headers)
    assert "ours" not in str(server.received[0].headers)


def test_an_endpoint_that_repeats_the_key_does_not_spread_it(
    connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client, _ = connect(
        endpoint=Endpoint(key="another"),
        settings={"api_key": KEY},
        recording=Recording(tmp_path, "record"),
    )
    with pytest.raises(LLMError) as failed:
        client.ask([Message("user", f"my key is {KEY}")], Rate, purpose="test")

    assert "Incorrect API key provided: [key]" in str(failed.value)
    seen = everything(tmp_path) + caplog.text + repr(client) + repr(vars(client))
    seen += "".join(traceback.format_exception(failed.value)) + repr(failed.value)
    assert "hush" not in seen


def test_a_model_that_repeats_the_key_does_not_spread_it(connect: Connect, tmp_path: Path) -> None:
    def mind(request: Request) -> Reply:
        return Reply((f"The key is {KEY}.",))

    client, _ = connect(mind, settings={"api_key": KEY}, recording=Recording(tmp_path, "record"))

    assert client.sample(ASKED, 1, purpose="test").texts == ("The key is [key].",)
    assert "hush" not in everything(tmp_path)


def test_the_key_is_not_sent_elsewhere(connect: Connect) -> None:
    client, server = connect(settings={"api_key": KEY})
    other, elsewhere = connect()
    with pytest.raises(LLMError, match="no other"):
        client.line.http_client.post(f"{elsewhere.url}/chat/completions", json={})
    del other

    assert elsewhere.received == []
    assert server.received == []


def test_the_settings_hide_the_key(connect: Connect) -> None:
    client, _ = connect(settings={"api_key": KEY})

    assert "hush" not in repr(client.settings) + client.settings.model_dump_json()


def test_a_redirect_is_not_followed(connect: Connect) -> None:
    other, elsewhere = connect()
    moved = faults.Status(307, headers={"Location": f"{elsewhere.url}/chat/completions"})
    client, _ = connect(settings={"api_key": KEY}, faults=faults.always(moved))
    with pytest.raises(LLMError):
        client.ask(ASKED, Rate, purpose="test")
    del other

    assert elsewhere.received == []


@pytest.mark.parametrize("word", ["none", "0", "EMPTY"])
def test_a_word_in_the_place_of_a_key_tears_no_answer_apart(connect: Connect, word: str) -> None:
    client, _ = connect('{"lr": 0.01, "why": "none, EMPTY"}', settings={"api_key": word})

    assert client.ask(ASKED, Rate, purpose="test").value == Rate(lr=0.01, why="none, EMPTY")
