"""What goes wrong on the way: causes, repeats, deadlines, the breaker, and answers without end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from luthier.agent.llm.answers import Cause, LLMError, Message
from luthier.agent.llm.client import Client
from luthier.agent.llm.line import Line
from luthier.agent.llm.settings import Settings
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.mind import Reply, Request

from .conftest import ASKED, GOOD, Connect, Rate, Watch


@dataclass(frozen=True)
class Case:
    """A fault that every request meets, what it is called, and how often a request is sent."""

    id: str
    fault: faults.Fault
    cause: Cause
    requests: int
    says: str


CASES = [
    Case("unauthorized", faults.Status(401, "bad key"), "unauthorized", 1, "LUTHIER_LLM_API_KEY"),
    Case("forbidden", faults.Status(403, "not yours"), "unauthorized", 1, "not yours"),
    Case("unpaid", faults.Status(402, "no credit"), "unauthorized", 1, "no credit"),
    Case("unknown model", faults.Status(404, "no such"), "unknown_model", 1, "LUTHIER_LLM_MODEL"),
    Case(
        "long prompt",
        faults.Status(400, "maximum context length is 1"),
        "context_too_small",
        1,
        "larger",
    ),
    Case("large body", faults.Status(413), "context_too_small", 1, "smaller space"),
    Case("refusal", faults.Refuse(), "refused", 1, "cannot help"),
    Case("rate limit", faults.rate_limited(), "rate_limited", 3, "too many requests"),
    Case(
        "quota", faults.Status(429, "You exceeded your current quota"), "rate_limited", 1, "account"
    ),
    Case("server", faults.Status(500), "server", 3, "answers 500"),
    Case("overloaded", faults.Status(529), "server", 3, "answers 529"),
    Case("moved", faults.Status(301, headers={"Location": "/"}), "server", 1, "BASE_URL"),
    Case("dropped", faults.Drop(), "connection", 3, "broke"),
    Case("dropped within", faults.Drop(200), "connection", 3, "broke"),
    Case("huge", faults.huge(), "malformed", 1, "longer than 4 MiB"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_fault_has_a_cause_and_is_repeated_only_if_it_may_pass(
    connect: Connect, case: Case
) -> None:
    client, server = connect(faults=faults.always(case.fault))
    with pytest.raises(LLMError, match=case.says) as failed:
        client.ask(ASKED, Rate, purpose="test")

    assert failed.value.cause == case.cause
    assert len(server.chats) == case.requests
    assert failed.value.usage.calls == case.requests


@pytest.mark.parametrize(
    "fault",
    [faults.rate_limited(), faults.Status(503), faults.Drop(), faults.Drop(150)],
    ids=["rate limit", "server", "dropped", "dropped within"],
)
def test_what_passes_is_waited_for(connect: Connect, watch: Watch, fault: faults.Fault) -> None:
    client, _ = connect(faults=faults.first(fault, fault))

    assert client.ask(ASKED, Rate, purpose="test").usage.calls == 3
    assert len(watch.waits) == 2
    assert watch.waits[1] > watch.waits[0] / 3 > 0


def test_an_endpoint_says_when_to_come_again(connect: Connect, watch: Watch) -> None:
    date = faults.http_date(watch.now + 7 + 12)
    client, _ = connect(faults=faults.first(faults.rate_limited(7), faults.rate_limited(date)))
    client.ask(ASKED, Rate, purpose="test")

    assert watch.waits == [7, 12]


def test_a_date_that_has_passed_means_now(connect: Connect, watch: Watch) -> None:
    limited = faults.rate_limited(faults.http_date(watch.now - 100))
    client, _ = connect(faults=faults.first(limited))
    client.ask(ASKED, Rate, purpose="test")

    assert watch.waits == [0]


def test_nobody_waits_beyond_the_deadline(connect: Connect, watch: Watch) -> None:
    client, server = connect(faults=faults.always(faults.rate_limited(31)))
    with pytest.raises(LLMError) as failed:
        client.ask(ASKED, Rate, purpose="test", seconds=30)

    assert failed.value.cause == "rate_limited"
    assert watch.waits == []
    assert len(server.chats) == 1


def test_the_repair_has_no_deadline_of_its_own(connect: Connect, watch: Watch) -> None:
    def slow(request: Request) -> Reply:
        watch.now += 20
        return Reply(("hm",))

    client, server = connect(slow)
    with pytest.raises(LLMError) as failed:
        client.ask(ASKED, Rate, purpose="test", seconds=15)

    assert failed.value.cause == "timeout"
    assert len(server.chats) == 1


def test_a_wrong_host_is_no_connection(watch: Watch) -> None:
    settings = Settings(base_url="http://127.0.0.1:9/v1", model="m", seconds=30)
    with (
        Client(Line(settings, clock=watch, sleep=watch.sleep)) as client,
        pytest.raises(LLMError, match="cannot be reached") as failed,
    ):
        client.ask(ASKED, Rate, purpose="test")

    assert failed.value.cause == "connection"
    assert failed.value.usage.tokens == 0


@pytest.mark.parametrize("fault", [faults.Hang(), faults.Drip()], ids=["hang", "drip"])
def test_a_deadline_holds_whatever_the_endpoint_does(connect: Connect, fault: faults.Fault) -> None:
    client, _ = connect(faults=faults.always(fault), clock=time)
    started = time.monotonic()
    with pytest.raises(LLMError, match=r"within 0\.2 s") as failed:
        client.ask(ASKED, Rate, purpose="test", seconds=0.2)

    assert failed.value.cause == "timeout"
    assert time.monotonic() - started < 5
    assert failed.value.usage.prompt_tokens > 0  # has probably been paid for


def test_a_request_that_takes_too_long_is_repeated(connect: Connect) -> None:
    client, server = connect(faults=faults.first(faults.Hang()), settings={"request_seconds": 0.5})
    assert client.ask(ASKED, Rate, purpose="test").usage.calls == 2
    assert len(server.chats) == 2


def test_three_failures_in_a_row_open_the_circuit(connect: Connect, watch: Watch) -> None:
    broken = faults.Status(500)
    client, server = connect(faults=faults.first(*[broken] * 4))
    for cause in ("server", "circuit_open"):
        with pytest.raises(LLMError) as failed:
            client.ask(ASKED, Rate, purpose="test")
        assert failed.value.cause == cause
    assert len(server.chats) == 3
    assert failed.value.usage.calls == 0

    watch.now += 30
    with pytest.raises(LLMError):  # one request tries, and fails
        client.ask(ASKED, Rate, purpose="test")
    assert len(server.chats) == 4

    watch.now += 30
    assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01
    assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01


def test_refusals_do_not_open_the_circuit(connect: Connect) -> None:
    client, server = connect(faults=faults.always(faults.Status(404)))
    for _ in range(5):
        with pytest.raises(LLMError):
            client.ask(ASKED, Rate, purpose="test")

    assert len(server.chats) == 5


def test_so_many_requests_run_at_a_time(connect: Connect) -> None:
    running, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2, timeout=20)

    def mind(request: Request) -> Reply:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait()
        with lock:
            running -= 1
        return Reply((GOOD,))

    client, _ = connect(mind, settings={"concurrency": 2})
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: client.ask(ASKED, Rate, purpose="test"), range(6)))

    assert most == 2


def test_waiting_for_others_counts_against_the_deadline(connect: Connect) -> None:
    arrived = threading.Event()

    def mind(request: Request) -> Reply:
        arrived.set()
        return Reply((GOOD,))

    client, server = connect(
        mind, faults=faults.first(faults.Hang()), settings={"concurrency": 1}, clock=time
    )
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.ask, ASKED, Rate, purpose="test")
        assert arrived.wait(20)
        with pytest.raises(LLMError) as failed:
            client.ask(ASKED, Rate, purpose="test", seconds=0.05)
        assert failed.value.cause == "timeout"
        assert failed.value.usage.calls == 0
        server.release()
        assert first.result().value.lr == 0.01


def test_an_answer_without_end_is_not_read_to_it(connect: Connect) -> None:
    client, _ = connect(faults=faults.always(faults.Say(lambda text: "x" * (30 << 20))))
    with pytest.raises(LLMError) as failed:
        client.ask(ASKED, Rate, purpose="test")

    # Of what has been paid for, so much has been read, not 30 MiB.
    assert failed.value.usage.completion_tokens == pytest.approx((4 << 20) / 3, rel=0.1)


@pytest.mark.parametrize(
    "body",
    [
        "<html>log in first</html>",
        "[]",
        '{"choices": 3}',
        '{"choices": [{"message": {"content": {"a": 1}}}]}',
        '{"choices": [{"message": null}]}',
        "[" * 100_000,
    ],
    ids=["page", "list", "number", "object", "null", "nested"],
)
def test_what_is_no_chat_completion_is_malformed(connect: Connect, body: str) -> None:
    client, _ = connect(faults=faults.always(faults.Raw(body)))
    with pytest.raises(LLMError) as failed:
        client.ask([Message("user", "?")], Rate, purpose="test")

    assert failed.value.cause == "malformed"


def test_a_response_without_choices_is_empty(connect: Connect) -> None:
    client, _ = connect(faults=faults.always(faults.Raw('{"choices": []}')))
    with pytest.raises(LLMError) as failed:
        client.ask(ASKED, Rate, purpose="test")

    assert failed.value.cause == "empty"


def test_an_error_that_comes_as_a_success_is_one(connect: Connect) -> None:
    client, server = connect(faults=faults.first(faults.Raw('{"error": {"message": "busy"}}')))

    assert client.ask(ASKED, Rate, purpose="test").value.lr == 0.01
    assert len(server.chats) == 2


def test_a_context_that_is_too_small_is_told(connect: Connect) -> None:
    client, _ = connect(endpoint=Endpoint(context=100))
    with pytest.raises(LLMError, match="larger context") as failed:
        client.ask(ASKED, Rate, purpose="test", max_tokens=101)

    assert failed.value.cause == "context_too_small"


def test_who_waits_when_the_client_is_closed_is_told(connect: Connect) -> None:
    arrived = threading.Event()

    def mind(request: Request) -> Reply:
        arrived.set()
        return Reply((GOOD,))

    client, _ = connect(mind, faults=faults.always(faults.Hang()))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.ask, ASKED, Rate, purpose="test")
        assert arrived.wait(20)
        client.close()
        with pytest.raises(LLMError, match="was closed") as failed:
            waiting.result(20)
        assert failed.value.usage.calls == 1
    with pytest.raises(LLMError, match="is closed"):
        client.ask(ASKED, Rate, purpose="test")
    client.close()
