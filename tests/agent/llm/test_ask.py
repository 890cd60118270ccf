"""Typed answers: how they are asked for, read, repaired, and refused."""

import json
import subprocess
import sys
from typing import Any

import pytest
from luthier.agent.llm.answers import LLMError, Message
from luthier.agent.llm.structured import Unusable, parse, said
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.mind import Reply, Request
from pydantic import BaseModel

from .conftest import ASKED, GOOD, Connect, Rate


def test_an_answer_is_an_instance_of_the_model_with_its_cost(connect: Connect) -> None:
    client, _ = connect()
    answer = client.ask(ASKED, Rate, purpose="candidates")

    assert answer.value == Rate(lr=0.01, why="usual")
    assert not answer.repaired
    assert (answer.usage.calls, answer.usage.completion_tokens) == (1, 7)
    assert client.meter.by_purpose() == {"candidates": answer.usage}


def test_the_schema_and_its_descriptions_reach_the_model(connect: Connect) -> None:
    client, server = connect()
    client.ask(ASKED, Rate, purpose="test", max_tokens=99, temperature=0.3)

    (body,) = server.chats
    form = body["response_format"]["json_schema"]
    assert form["strict"]
    assert form["schema"]["description"] == "A learning rate."
    assert (body["max_tokens"], body["temperature"]) == (99, 0.3)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def structures(server: Any) -> list[str]:
    """How each request asked for structure."""
    return [
        body["response_format"]["type"]
        if "response_format" in body
        else "tool"
        if "tools" in body
        else "text"
        for body in server.chats
    ]


@pytest.mark.parametrize(
    ("endpoint", "first", "then"),
    [
        (Endpoint(), ["json_schema"], "json_schema"),
        (Endpoint(schema=False), ["json_schema", "tool"], "tool"),
        (
            Endpoint(schema=False, tools=False),
            ["json_schema", "tool", "json_object"],
            "json_object",
        ),
        (
            Endpoint(schema=False, tools=False, json_mode=False),
            ["json_schema", "tool", "json_object", "text"],
            "text",
        ),
    ],
    ids=["schema", "tool", "json", "text"],
)
def test_what_an_endpoint_cannot_do_is_found_out_once(
    connect: Connect, endpoint: Endpoint, first: list[str], then: str
) -> None:
    schemas = []

    def mind(request: Request) -> Reply:
        schemas.append(request.schema)
        return Reply((GOOD,))

    client, server = connect(mind, endpoint=endpoint)
    for _ in range(2):
        assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01

    assert structures(server) == [*first, then]
    assert all(schema is not None and "lr" in schema["properties"] for schema in schemas)


@pytest.mark.parametrize(
    ("endpoint", "missing", "instead"),
    [
        (Endpoint(temperature=False), "temperature", None),
        (Endpoint(max_tokens=False), "max_tokens", "max_completion_tokens"),
    ],
)
def test_parameters_that_are_not_known_are_left_out(
    connect: Connect, endpoint: Endpoint, missing: str, instead: str | None
) -> None:
    client, server = connect(endpoint=endpoint)
    client.ask(ASKED, Rate, purpose="test")

    assert missing not in server.chats[-1]
    assert instead is None or server.chats[-1][instead] == 1024
    assert structures(server)[-1] == "json_schema"


def test_a_bad_request_without_a_reason_is_blamed_on_the_structure(connect: Connect) -> None:
    client, server = connect(faults=faults.first(faults.Status(400, "Bad Request")))
    client.ask(ASKED, Rate, purpose="test")

    assert structures(server) == ["json_schema", "tool"]


def test_a_server_that_blames_itself_for_a_form_it_cannot_read_is_asked_in_another(
    connect: Connect,
) -> None:
    client, server = connect(endpoint=Endpoint(schema=False, tools=False, confused=True))
    assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01

    assert structures(server)[-1] == "json_object"
    assert len(server.chats) <= 3


def test_a_request_that_is_refused_whatever_is_left_out_is_given_up(connect: Connect) -> None:
    client, server = connect(faults=faults.always(faults.Status(400, "No roles like these")))
    with pytest.raises(LLMError, match="No roles like these") as refused:
        client.ask(ASKED, Rate, purpose="test")

    assert refused.value.cause == "refused"
    assert client.abilities.schema  # nothing was learned from it
    assert len(server.chats) < 10


@pytest.mark.parametrize("arguments", [GOOD, json.loads(GOOD)], ids=["text", "object"])
def test_a_tool_is_called_with_text_or_an_object(connect: Connect, arguments: object) -> None:
    call = {"type": "function", "function": {"name": "answer", "arguments": arguments}}
    message = {"content": None, "tool_calls": [call]}
    client, _ = connect(faults=faults.always(faults.raw({"choices": [{"message": message}]})))

    assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01


def test_an_answer_in_parts_is_read_without_its_thoughts(connect: Connect) -> None:
    parts = [{"type": "thinking", "thinking": "{hm"}, {"type": "text", "text": GOOD}]
    response = {"choices": [{"message": {"content": parts}}]}
    client, _ = connect(faults=faults.always(faults.raw(response)))

    assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01


class Open(BaseModel):
    """Numbers by name."""

    values: dict[str, float]


def test_a_schema_with_free_names_is_not_asked_for_strictly(connect: Connect) -> None:
    client, server = connect('{"values": {"lr": 0.1}}')
    assert client.ask(ASKED, Open, purpose="test").value.values == {"lr": 0.1}
    assert not server.chats[0]["response_format"]["json_schema"]["strict"]


def test_importing_the_client_does_not_load_the_sdk() -> None:
    code = "import luthier.agent.llm.client, sys; print('openai' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert run.stdout == "False\n"


READABLE = {
    "plain": GOOD,
    "fence": f"```json\n{GOOD}\n```",
    "prose": f"Sure! Here is {{what}} you want:\n\n{GOOD}\n\nI hope {{this}} helps.",
    "thought": f'<think>0.1? {{}} No, {GOOD[:-1]}, "lr": 3}}</think>\n{GOOD}',
    "thought without a beginning": f"hm, 0.1 <b></think>{GOOD}",
    "thinking": f"<thinking>hm</thinking>{GOOD}",
    "number as text": '{"lr": "0.01", "why": "usual"}',
    "another language": 'Конечно: {"lr": 1e-2, "why": "обычно"}',
    "extra field": '{"lr": 0.01, "why": "usual", "os": "rm -rf /"}',
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_an_answer_is_found_in_what_models_write(text: str) -> None:
    assert parse(Rate, text).lr == 0.01


UNREADABLE = {
    "empty": ("", "empty"),
    "thought only": ("<think>well, {", "empty"),
    "prose": ("I would take 0.01.", "no JSON object"),
    "NaN": ('{"lr": NaN}', "NaN is no number"),
    "Infinity": ('{"lr": -Infinity}', "Infinity is no number"),
    "too large": ('{"lr": 1e999}', "too large"),
    "units": ('{"lr": "0.01 per step"}', "lr: .* got '0.01 per step'"),
    "out of range": ('{"lr": 7}', "lr: .*less than or equal to 1, got 7"),
    "missing": ('{"why": "usual"}', "lr: Field required"),
    "nested": ('{"a":' * 40_000, "nested"),
    "long": ('{"lr": 0.01' + " " * 300_000 + "}", "shorter"),
    "malformed": (faults.MALFORMED, "no JSON"),
    "injection": (faults.INJECTION, "lr: Field required"),
}


@pytest.mark.parametrize(("text", "problem"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_answer_is_told_why(text: str, problem: str) -> None:
    with pytest.raises(Unusable, match=problem):
        parse(Rate, text)


class Anything(BaseModel):
    """Has a field that takes any number."""

    x: float
    rest: list[float] = []


@pytest.mark.parametrize("text", ['{"x": "NaN"}', '{"x": 1, "rest": [1, "inf"]}'])
def test_numbers_that_are_not_finite_are_refused_as_text_too(text: str) -> None:
    with pytest.raises(Unusable, match="finite"):
        parse(Anything, text)


class Portfolio(BaseModel):
    """Several rates; none is fine."""

    rates: list[Rate] = []


def test_a_piece_of_a_broken_answer_is_not_taken_for_it() -> None:
    with pytest.raises(Unusable, match="no JSON"):
        parse(Portfolio, '{"rates": [{"lr": 0.1}, {"lr": 0.2}, {"lr": ')


def test_thoughts_are_not_said() -> None:
    assert said("a <think>b</think> c <think>d") == "c"


def test_one_repair_shows_the_errors(connect: Connect) -> None:
    client, server = connect('{"lr": 7}', GOOD)
    answer = client.ask(ASKED, Rate, purpose="test")

    assert answer.repaired
    assert answer.usage.calls == 2
    *before, given, asked = server.chats[1]["messages"]
    assert len(before) == 2
    assert given == {"role": "assistant", "content": '{"lr": 7}'}
    assert "less than or equal to 1, got 7" in asked["content"]
    assert json.dumps(Rate.model_json_schema(), separators=(",", ":")) in asked["content"]


def test_an_answer_that_was_cut_off_is_asked_for_in_fewer_words(connect: Connect) -> None:
    client, server = connect(faults=faults.first(faults.truncated()))

    assert client.ask(ASKED, Rate, purpose="test").repaired
    assert "cut off" in server.chats[1]["messages"][-1]["content"]


def test_an_empty_answer_is_asked_for_without_an_empty_turn(connect: Connect) -> None:
    client, server = connect(faults=faults.first(faults.empty()))
    client.ask(ASKED, Rate, purpose="test")

    assert [m["role"] for m in server.chats[1]["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (faults.malformed(), "malformed"),
        (faults.injecting(), "malformed"),
        (faults.truncated(), "malformed"),
        (faults.empty(), "empty"),
    ],
)
def test_two_bad_answers_are_enough(connect: Connect, fault: faults.Fault, cause: str) -> None:
    client, server = connect(faults=faults.always(fault))
    with pytest.raises(LLMError) as failed:
        client.ask(ASKED, Rate, purpose="test")

    assert failed.value.cause == cause
    assert failed.value.usage.calls == len(server.chats) == 2
    assert client.meter.total() == failed.value.usage


@pytest.mark.parametrize(
    "fault", [faults.Refuse("I will not."), faults.Say(lambda text: "", "content_filter")]
)
def test_a_refusal_is_not_argued_with(connect: Connect, fault: faults.Fault) -> None:
    client, server = connect(faults=faults.always(fault))
    with pytest.raises(LLMError, match="refuses to answer") as refused:
        client.ask(ASKED, Rate, purpose="test")

    assert refused.value.cause == "refused"
    assert len(server.chats) == 1


def test_what_a_model_says_is_not_an_order_in_the_error(connect: Connect) -> None:
    client, _ = connect(faults=faults.always(faults.Refuse("no\n\x1b[31m" + "x" * 10_000)))
    with pytest.raises(LLMError) as refused:
        client.ask([Message("user", "?")], Rate, purpose="test")

    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()
