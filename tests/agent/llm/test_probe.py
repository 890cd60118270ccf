"""What an endpoint can do is tried out."""

import time

import pytest
from luthier.agent.llm.answers import LLMError
from luthier.agent.llm.probe import probe
from luthier.agent.llm.settings import Settings
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import Server, serve

ALL = {
    "chat",
    "JSON schema",
    "tools",
    "JSON mode",
    "log-probabilities",
    "several answers",
    "streaming",
    "text completions",
}


def mind(request: Request) -> Reply:
    text = '{"answer": "yes"}' if request.schema else "yes"
    return Reply((text,) * request.count, {"yes": 0.9, "no": 0.1} if request.weighs else None)


def settings(server: Server, **changes: object) -> Settings:
    return Settings.model_validate({"base_url": server.url, "model": server.model, **changes})


def test_an_able_endpoint_can_do_everything() -> None:
    with serve(mind) as server:
        found = {probed.what: probed.works for probed in probe(settings(server))}

    assert found == dict.fromkeys(ALL, True)


@pytest.mark.parametrize(
    ("missing", "endpoint"),
    [
        ("JSON schema", Endpoint(schema=False)),
        ("tools", Endpoint(tools=False)),
        ("JSON mode", Endpoint(json_mode=False)),
        ("log-probabilities", Endpoint(logprobs=False)),
        ("several answers", Endpoint(several=False)),
        ("streaming", Endpoint(streaming=False)),
        ("text completions", Endpoint(completions=False)),
    ],
)
def test_what_is_missing_is_told_with_what_is_done_without(
    missing: str, endpoint: Endpoint
) -> None:
    with serve(mind, endpoint) as server:
        found = {probed.what: probed for probed in probe(settings(server))}

    assert {what for what, probed in found.items() if not probed.works} == {missing}
    assert found[missing].text.startswith("missing: ")


@pytest.mark.parametrize("context", [1000, 4000])
def test_a_context_is_tried_out_if_it_is_told(context: int) -> None:
    with serve(mind, Endpoint(context=2000)) as server:
        found = {probed.what: probed for probed in probe(settings(server, context=context))}

    assert found["context"].works is (context < 2000)


def test_what_fails_otherwise_cannot_be_told() -> None:
    spoiled = faults.always(faults.empty())
    with serve(mind, faults=lambda number, digest: spoiled(0, "") if number else None) as server:
        found = {probed.what: probed for probed in probe(settings(server))}

    assert found["JSON schema"].works is None
    assert "empty answer" in found["JSON schema"].text


def test_an_endpoint_that_does_not_answer_takes_little_time() -> None:
    started = time.monotonic()
    with (
        serve(mind, faults=faults.always(faults.Hang())) as server,
        pytest.raises(LLMError) as failed,
    ):
        probe(settings(server), seconds=0.1)

    assert failed.value.cause == "timeout"
    assert time.monotonic() - started < 5
