"""Tokens and dollars by purpose, and budgets that hold."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from luthier.agent.llm.answers import LLMError, Message, Usage
from luthier.agent.llm.metering import Caps
from luthier.agent.llm.prices import Price, price_of
from luthier.agent.llm.settings import Settings
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint

from .conftest import ASKED, GOOD, Connect, Rate

PRICED = {"input_dollars": 1000.0, "output_dollars": 2000.0}
"""A thousandth of a dollar for a prompt token, two for an answered one."""


def test_calls_are_metered_by_purpose(connect: Connect) -> None:
    client, _ = connect(settings=PRICED)
    one = client.ask(ASKED, Rate, purpose="warmstart").usage
    two = client.sample(ASKED, 2, purpose="surrogate").usage

    assert client.meter.by_purpose() == {"warmstart": one, "surrogate": two}
    assert client.meter.total() == one + two
    assert one.dollars == pytest.approx(one.prompt_tokens / 1000 + one.completion_tokens / 500)


def test_without_usage_three_bytes_are_a_token(connect: Connect) -> None:
    text = "äöü" * 10
    client, _ = connect(text, endpoint=Endpoint(usage=False))
    usage = client.sample([Message("user", text + "x")], 1, purpose="test").usage

    assert (usage.prompt_tokens, usage.completion_tokens) == (21, 20)


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -5, "completion_tokens": 1}, {"prompt_tokens": "many"}, 7]
)
def test_a_usage_that_cannot_be_is_not_believed(connect: Connect, usage: object) -> None:
    response = {"choices": [{"message": {"content": "ok"}}], "usage": usage}
    client, _ = connect(faults=faults.always(faults.raw(response)))

    assert client.sample(ASKED, 1, purpose="test").usage.completion_tokens == 1


def test_an_unknown_price_is_unknown(connect: Connect) -> None:
    client, _ = connect()

    assert client.ask(ASKED, Rate, purpose="test").usage.dollars is None
    assert client.meter.total().dollars is None


def test_a_budget_of_dollars_needs_a_price(connect: Connect) -> None:
    client, server = connect(caps=Caps(dollars=1.0))
    with pytest.raises(LLMError, match="price is unknown") as refused:
        client.ask(ASKED, Rate, purpose="test")

    assert refused.value.cause == "budget"
    assert server.chats == []


def test_the_table_knows_a_model_only_at_its_own_endpoint() -> None:
    official = Settings(base_url="https://api.openai.com/v1", model="gpt-5.4-mini")
    another = official.model_copy(update={"base_url": "https://example.org/v1"})
    own = another.model_copy(update={"input_dollars": 0.0, "output_dollars": 0.0})

    assert price_of(official) == Price(0.75, 4.5)
    assert price_of(another) is None
    assert price_of(own) == Price(0.0, 0.0)


@pytest.mark.parametrize(
    ("caps", "says"),
    [(Caps(tokens=60), "budget of 60 tokens"), (Caps(dollars=0.06), "budget of 0.06 dollars")],
)
def test_what_a_call_may_cost_must_be_left_of_the_budget(
    connect: Connect, caps: Caps, says: str
) -> None:
    client, server = connect(caps=caps, settings=PRICED)
    client.sample(ASKED, 1, purpose="test", max_tokens=20)
    with pytest.raises(LLMError, match=says) as refused:
        client.sample(ASKED, 1, purpose="test", max_tokens=60)

    assert refused.value.cause == "budget"
    assert refused.value.usage.calls == 0
    assert len(server.chats) == 1


def test_a_reservation_is_settled_to_the_true_cost(connect: Connect) -> None:
    client, _ = connect("ok", caps=Caps(tokens=65))
    for _ in range(3):  # each may take 47 tokens, and takes 7
        client.sample(ASKED, 1, purpose="test", max_tokens=40)

    assert client.meter.total().tokens == 3 * 7


def test_a_budget_that_is_exhausted_within_a_call_counts_what_was_spent(connect: Connect) -> None:
    client, server = connect("hm", caps=Caps(tokens=200))
    with pytest.raises(LLMError) as refused:
        client.ask(ASKED, Rate, purpose="test", max_tokens=16)  # the repair is too long

    assert refused.value.cause == "budget"
    assert refused.value.usage == client.meter.total()
    assert refused.value.usage.calls == len(server.chats) == 1


def test_calls_at_the_same_time_do_not_share_what_is_left(connect: Connect) -> None:
    client, server = connect(
        "ok", caps=Caps(tokens=150), faults=faults.always(faults.Hang()), clock=time
    )
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(client.sample, ASKED, 1, purpose="test", max_tokens=60) for _ in range(4)
        ]
        # Each reserves about 70 tokens: two wait for their answers, two are refused at once.
        refused = list(itertools.islice(as_completed(asked, timeout=20), 2))
        assert {getattr(future.exception(), "cause", None) for future in refused} == {"budget"}
        server.release()

    assert sum(future.exception() is None for future in asked) == 2


def test_what_was_spent_before_counts(connect: Connect) -> None:
    client, server = connect(caps=Caps(tokens=5000), spent=Usage(4000, 500, None, 7))
    with pytest.raises(LLMError, match="500 left"):
        client.ask(ASKED, Rate, purpose="test")

    assert server.chats == []
    assert client.meter.total().tokens == 4500


def test_requests_that_fail_cost_nothing_but_are_counted(connect: Connect) -> None:
    client, _ = connect(GOOD, faults=faults.first(faults.Status(500)), settings=PRICED)
    with_failure = client.ask(ASKED, Rate, purpose="test").usage
    without = client.ask(ASKED, Rate, purpose="test").usage

    assert with_failure.tokens == without.tokens
    assert (with_failure.calls, without.calls) == (2, 1)
