"""What `luthier doctor` says of a language model."""

from collections.abc import Iterator

import pytest
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import Server, serve

from .conftest import Luthier


def mind(request: Request) -> Reply:
    return Reply(('{"answer": "yes"}',) * request.count)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(mind, Endpoint(key="hush-hush", tools=False)) as server:
        yield server


@pytest.fixture
def set_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
    monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
    monkeypatch.setenv("LUTHIER_LLM_API_KEY", "hush-hush")
    return server


def test_without_one_it_says_how_to_get_one(luthier: Luthier) -> None:
    run = luthier("doctor")

    assert run.code == 0
    assert "ok language model: none, Luthier tunes classically" in run.out
    assert "LUTHIER_LLM_BASE_URL" in run.out


def test_it_says_what_luthier_does_without(luthier: Luthier, set_up: Server) -> None:
    run = luthier("doctor")

    assert run.code == 0
    assert f"ok language model: simulated at {set_up.url}" in " ".join(run.out.split())
    assert "language model, JSON schema: works" in run.out
    assert "language model, tools: missing: answers are held" in run.out
    assert "language model, log-probabilities: missing" in run.out
    assert "hush" not in run.out


def test_a_wrong_key_is_a_finding(
    luthier: Luthier, set_up: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_LLM_API_KEY", "wrong-hush")
    run = luthier("doctor")

    assert run.code == 1
    assert "!! language model: the key is refused" in run.out
    assert "hush" not in run.out


def test_half_a_configuration_is_a_finding(
    luthier: Luthier, set_up: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LUTHIER_LLM_MODEL")
    run = luthier("doctor")

    assert run.code == 1
    assert "!! language model: the language model has no name" in run.out
