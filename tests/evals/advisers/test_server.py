"""A simulated endpoint, seen through the real `openai` client."""

import math
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import Server, serve

HELLO: list[Any] = [{"role": "user", "content": "Hello?"}]


def echo(request: Request) -> Reply:
    """Answer with what was asked, numbered."""
    texts = tuple(f"{i} {request.messages[-1].content}" for i in range(request.count))
    return Reply(texts, {"0": 0.75, " 1": 0.25} if request.weighs else None)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(echo) as server:
        yield server


def client(server: Server, key: str = "none") -> openai.OpenAI:
    # Certificates, which are not needed here, take most of the time that a client needs to start.
    http = httpx2.Client(verify=False)
    return openai.OpenAI(
        base_url=server.url, api_key=key, max_retries=0, timeout=10, http_client=http
    )


def chat(server: Server, **changes: Any) -> Any:
    with client(server) as sdk:
        return sdk.chat.completions.create(model=server.model, messages=HELLO, **changes)


def test_a_chat_is_answered_with_its_usage(server: Server) -> None:
    answer = chat(server)

    assert answer.choices[0].message.content == "0 Hello?"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 2)


def test_every_request_is_kept(server: Server) -> None:
    chat(server, temperature=0.5)

    assert [body["temperature"] for body in server.chats] == [0.5]
    assert server.received[0].headers["authorization"] == "Bearer none"


def test_several_answers(server: Server) -> None:
    texts = [choice.message.content for choice in chat(server, n=3).choices]

    assert texts == ["0 Hello?", "1 Hello?", "2 Hello?"]


def test_another_seed_gets_another_answer(server: Server) -> None:
    assert chat(server, seed=2).choices[0].message.content == "2 Hello?"


def test_a_stream_is_the_answer_in_pieces(server: Server) -> None:
    with client(server) as sdk:
        stream = sdk.chat.completions.create(
            model=server.model,
            messages=[{"role": "user", "content": "a long question " * 5}],
            stream=True,
            stream_options={"include_usage": True},
        )
        events = list(stream)

    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text == "0 " + "a long question " * 5
    assert events[-1].usage is not None


def test_first_tokens_have_the_minds_probabilities(server: Server) -> None:
    (first,) = chat(server, logprobs=True, top_logprobs=2).choices[0].logprobs.content

    top = {entry.token: math.exp(entry.logprob) for entry in first.top_logprobs}
    assert top == pytest.approx({"0": 0.75, " 1": 0.25})


SCHEMA = {"type": "object", "properties": {"x": {"type": "number"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "answer", "parameters": SCHEMA}}
CHOICE = {"type": "function", "function": {"name": "answer"}}


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": FORMAT},
        {"tools": [TOOL], "tool_choice": CHOICE},
        {"messages": [{"role": "user", "content": 'as JSON schema: {"type": "object"} please'}]},
    ],
    ids=["format", "tool", "text"],
)
def test_a_mind_sees_the_schema_wherever_it_stands(asked: dict[str, Any]) -> None:
    seen = []

    def mind(request: Request) -> Reply:
        seen.append(request.schema)
        return Reply(("{}",))

    with serve(mind) as server, client(server) as sdk:
        sdk.chat.completions.create(**{"model": server.model, "messages": HELLO, **asked})

    assert seen[0] is not None
    assert seen[0]["type"] == "object"


def test_a_forced_tool_is_called_with_the_answer(server: Server) -> None:
    message = chat(server, tools=[TOOL], tool_choice=CHOICE).choices[0].message

    assert message.content is None
    assert message.tool_calls[0].function.arguments == "0 Hello?"


def test_texts_are_completed_too(server: Server) -> None:
    with client(server) as sdk:
        answer = sdk.completions.create(model=server.model, prompt="Once", logprobs=1)

    assert answer.choices[0].text == "0 Once"
    assert list(answer.choices[0].logprobs.top_logprobs[0]) == ["0"]


def test_models_are_listed(server: Server) -> None:
    with client(server) as sdk:
        assert [model.id for model in sdk.models.list()] == [server.model]


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        (Endpoint(schema=False), {"response_format": FORMAT}),
        (Endpoint(json_mode=False), {"response_format": {"type": "json_object"}}),
        (Endpoint(tools=False), {"tools": [TOOL], "tool_choice": CHOICE}),
        (Endpoint(logprobs=False), {"logprobs": True, "top_logprobs": 5}),
        (Endpoint(most_logprobs=5), {"logprobs": True, "top_logprobs": 20}),
        (Endpoint(seed=False), {"seed": 1}),
        (Endpoint(streaming=False), {"stream": True}),
        (Endpoint(temperature=False), {"temperature": 0.7}),
        (Endpoint(max_tokens=False), {"max_tokens": 10}),
        (Endpoint(context=100), {"max_tokens": 99}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "without",
)
def test_what_an_endpoint_cannot_do_is_a_bad_request(
    endpoint: Endpoint, asked: dict[str, Any]
) -> None:
    with serve(echo, endpoint) as server, pytest.raises(openai.BadRequestError):
        chat(server, **asked)


def test_an_endpoint_may_ignore_n_and_give_no_usage() -> None:
    with serve(echo, Endpoint(several=False, usage=False)) as server:
        answer = chat(server, n=3)

    assert len(answer.choices) == 1
    assert answer.usage is None


def test_a_wrong_key_is_unauthorized() -> None:
    with serve(echo, Endpoint(key="right")) as server:
        with client(server, "wrong") as sdk, pytest.raises(openai.AuthenticationError):
            sdk.models.list()
        with client(server, "right") as sdk:
            assert list(sdk.models.list())


def test_an_unknown_model_is_not_found(server: Server) -> None:
    with client(server) as sdk, pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(model="another", messages=HELLO)


def test_faults_come_in_order() -> None:
    limited = faults.rate_limited(7)
    schedule = faults.first(limited, faults.Status(500), faults.Drop(), faults.Drop(30), None)
    with serve(echo, faults=schedule) as server:
        with pytest.raises(openai.RateLimitError) as refused:
            chat(server)
        with pytest.raises(openai.InternalServerError):
            chat(server)
        for _ in range(2):
            with pytest.raises(openai.APIConnectionError):
                chat(server)
        assert chat(server).choices[0].message.content == "0 Hello?"

    assert refused.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("fault", "text", "finish"),
    [
        (faults.malformed(), faults.MALFORMED, "stop"),
        (faults.empty(), "", "stop"),
        (faults.truncated(), "0 He", "length"),
        (faults.injecting(), faults.INJECTION, "stop"),
    ],
    ids=["malformed", "empty", "truncated", "injecting"],
)
def test_answers_can_be_spoiled(fault: faults.Fault, text: str, finish: str) -> None:
    with serve(echo, faults=faults.always(fault)) as server:
        choice = chat(server).choices[0]

    assert (choice.message.content, choice.finish_reason) == (text, finish)


def test_a_refusal_has_its_field() -> None:
    with serve(echo, faults=faults.always(faults.Refuse("No."))) as server:
        message = chat(server).choices[0].message

    assert (message.content, message.refusal) == (None, "No.")


def test_a_hanging_answer_comes_when_it_is_released() -> None:
    with serve(echo, faults=faults.always(faults.Hang())) as server, client(server) as sdk:
        with pytest.raises(openai.APITimeoutError):
            sdk.with_options(timeout=0.05).models.list()
        server.release()
        assert list(sdk.models.list())


def test_a_rate_of_faults_hits_the_same_requests_again() -> None:
    schedule = faults.at_rate(faults.empty(), 0.5, seed=1)
    hits = []
    for _ in range(2):
        with serve(echo, faults=schedule) as server, client(server) as sdk:
            answers = [
                sdk.chat.completions.create(model=server.model, messages=HELLO) for _ in range(12)
            ]
            hits.append([answer.choices[0].message.content == "" for answer in answers])

    assert hits[0] == hits[1]
    assert 0 < sum(hits[0]) < 12


def test_what_a_mind_raises_comes_out_at_the_end() -> None:
    def broken(request: Request) -> Reply:
        raise ZeroDivisionError("mind")

    with pytest.raises(ZeroDivisionError, match="mind"), serve(broken) as server:
        with pytest.raises(openai.InternalServerError):
            chat(server)
