"""Answers that are reused, recorded and replayed."""

import json
from pathlib import Path

import pytest
from luthier.agent.llm.answers import LLMError, Message
from luthier.agent.llm.client import Client
from luthier.agent.llm.line import Line
from luthier.agent.llm.recording import Mode, Recording
from luthier.agent.llm.settings import Settings
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.mind import Reply, Request

from .conftest import ASKED, Connect, Rate, saying


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recording"


def counting() -> object:
    """Give another answer every time."""
    count = 0

    def mind(request: Request) -> Reply:
        nonlocal count
        count += 1
        return Reply(tuple(f'{{"lr": {count / 100}}}' for _ in range(request.count)))

    return mind


def replaying(folder: Path, mode: Mode = "replay") -> Client:
    """Return a client of an endpoint that is not there."""
    settings = Settings(base_url="http://127.0.0.1:9/v1", model="simulated")
    return Client(Line(settings, recording=Recording(folder, mode)))


def study(client: Client) -> list[object]:
    """Make all kinds of calls, some the same, and return what became of them."""
    outcomes: list[object] = []
    for _ in range(2):
        for call in (
            lambda: client.ask(ASKED, Rate, purpose="test").value,
            lambda: client.sample(ASKED, 3, purpose="test").texts,
            lambda: client.weigh(ASKED, ["0", "1"], purpose="test").probabilities,
            lambda: client.ask([Message("user", "again")], Rate, purpose="test").value,
        ):
            try:
                outcomes.append(call())
            except LLMError as error:
                outcomes.append((error.cause, str(error), error.usage))
    return [*outcomes, client.meter.by_purpose()]


@pytest.mark.parametrize(
    "endpoint",
    [Endpoint(), Endpoint(schema=False, tools=False, several=False), Endpoint(seed=False)],
    ids=["able", "unable", "seedless"],
)
@pytest.mark.parametrize(
    "schedule",
    [
        faults.never,
        faults.at_rate(faults.Status(500), 0.5, seed=3),
        faults.at_rate(faults.malformed(), 0.5, seed=1),
        faults.at_rate(faults.Drop(100), 0.7, seed=2),
        faults.always(faults.Status(401)),
    ],
    ids=["fine", "errors", "malformed", "drops", "no key"],
)
def test_a_replay_is_the_same_without_a_network(
    connect: Connect, folder: Path, endpoint: Endpoint, schedule: faults.Schedule
) -> None:
    live, _ = connect(
        counting(), endpoint=endpoint, faults=schedule, recording=Recording(folder, "record")
    )
    recorded = study(live)
    with replaying(folder) as client:
        assert study(client) == recorded


def test_deadlines_and_an_open_circuit_are_replayed_too(connect: Connect, folder: Path) -> None:
    live, _ = connect(
        faults=faults.always(faults.Hang()),
        settings={"seconds": 0.05},
        recording=Recording(folder, "record"),
    )
    recorded = study(live)
    with replaying(folder) as client:
        assert study(client) == recorded

    assert {outcome[0] for outcome in recorded[:-1] if isinstance(outcome, tuple)} == {
        "timeout",
        "circuit_open",
    }


def test_a_replay_that_asks_something_else_says_so(connect: Connect, folder: Path) -> None:
    live, _ = connect(recording=Recording(folder, "record"))
    live.ask(ASKED, Rate, purpose="test")
    with replaying(folder) as client:
        client.ask(ASKED, Rate, purpose="test")
        with pytest.raises(LLMError, match="has no answer to this request"):
            client.ask(ASKED, Rate, purpose="test")  # it was asked only once
        with pytest.raises(LLMError, match="has no answer to this request") as missed:
            client.ask(ASKED, Rate, purpose="test", temperature=0.1)

    assert missed.value.cause == "no_endpoint"


def test_a_study_that_is_resumed_goes_on_with_its_recording(connect: Connect, folder: Path) -> None:
    for _ in range(2):
        client, _ = connect(counting(), recording=Recording(folder, "record"))
        client.ask(ASKED, Rate, purpose="test")
    with replaying(folder) as client:
        assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01
        assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01


def test_a_cache_saves_requests_and_money(connect: Connect, folder: Path) -> None:
    mind = counting()
    first, _ = connect(mind, recording=Recording(folder, "cache"))
    rates = [first.ask(ASKED, Rate, purpose="test").value.lr for _ in range(2)]
    second, server = connect(mind, recording=Recording(folder, "cache"))
    again = [second.ask(ASKED, Rate, purpose="test") for _ in range(3)]

    assert rates == [0.01, 0.02]  # the same question twice is two questions
    assert [answer.value.lr for answer in again] == [0.01, 0.02, 0.03]
    assert [answer.usage.calls for answer in again] == [0, 0, 1]
    assert len(server.chats) == 1


def test_a_cache_keeps_no_failures(connect: Connect, folder: Path) -> None:
    failing, _ = connect(
        faults=faults.always(faults.Status(500)), recording=Recording(folder, "cache")
    )
    with pytest.raises(LLMError):
        failing.ask(ASKED, Rate, purpose="test")
    working, _ = connect(recording=Recording(folder, "cache"))

    assert working.ask(ASKED, Rate, purpose="test").value.lr == 0.01


@pytest.mark.parametrize("text", ["", "{", "[]", '{"answer": {"usage": {}, "nonsense": 1}}'])
def test_a_damaged_file_is_no_answer(connect: Connect, folder: Path, text: str) -> None:
    live, _ = connect(recording=Recording(folder, "cache"))
    live.ask(ASKED, Rate, purpose="test")
    (file,) = folder.glob("*/*.json")
    file.write_text(text, encoding="utf-8")
    with replaying(folder) as client, pytest.raises(LLMError, match="damaged"):
        client.ask(ASKED, Rate, purpose="test")
    again, server = connect(recording=Recording(folder, "cache"))
    again.ask(ASKED, Rate, purpose="test")

    assert len(server.chats) == 1


def test_a_recording_can_be_read_by_people(connect: Connect, folder: Path) -> None:
    client, server = connect(saying('{"lr": 0.5}'), recording=Recording(folder, "record"))
    client.ask(ASKED, Rate, purpose="test")
    (file,) = folder.glob("*/*.json")
    kept = json.loads(file.read_text(encoding="utf-8"))

    assert kept["path"] == "/chat/completions"
    assert kept["request"] == server.chats[0]
    assert "0.5" in kept["answer"]["body"]
    assert kept["answer"]["usage"]["completion_tokens"] == 3
