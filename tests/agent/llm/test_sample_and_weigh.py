"""Several free texts, and the probabilities of one-token answers."""

import pytest
from luthier.agent.llm.answers import LLMError
from luthier.evals.advisers import faults
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.mind import Reply, Request

from .conftest import ASKED, Connect, saying


def counting(request: Request) -> Reply:
    """Number the answers."""
    return Reply(tuple(f"<think>hm</think> {i}" for i in range(request.count)))


def test_several_texts_come_in_one_request(connect: Connect) -> None:
    client, server = connect(counting)
    samples = client.sample(ASKED, 4, purpose="surrogate", max_tokens=8)

    assert samples.texts == ("0", "1", "2", "3")
    assert samples.usage.calls == len(server.chats) == 1
    assert client.meter.by_purpose() == {"surrogate": samples.usage}


@pytest.mark.parametrize("endpoint", [Endpoint(several=False), Endpoint(several=False, seed=False)])
def test_an_endpoint_that_ignores_n_is_asked_several_times(
    connect: Connect, endpoint: Endpoint
) -> None:
    client, server = connect(counting, endpoint=endpoint)
    samples = client.sample(ASKED, 4, purpose="test")

    assert samples.texts == (("0", "1", "2", "3") if endpoint.seed else ("0",) * 4)
    assert server.chats[0]["n"] == 4
    assert all("n" not in body for body in server.chats[1:])

    before = len(server.chats)
    assert len(client.sample(ASKED, 2, purpose="test").texts) == 2
    assert len(server.chats) == before + 2  # and `n` is not tried again


def test_some_texts_are_better_than_none(connect: Connect) -> None:
    client, _ = connect(
        counting,
        endpoint=Endpoint(several=False),
        faults=faults.first(None, faults.Status(401), faults.empty()),
        settings={"concurrency": 1},
    )
    assert client.sample(ASKED, 4, purpose="test").texts == ("0", "3")


@pytest.mark.parametrize(
    ("fault", "cause"), [(faults.empty(), "empty"), (faults.Refuse(), "refused")]
)
def test_no_text_at_all_is_an_error(connect: Connect, fault: faults.Fault, cause: str) -> None:
    client, _ = connect(counting, faults=faults.always(fault))
    with pytest.raises(LLMError) as failed:
        client.sample(ASKED, 3, purpose="test")

    assert failed.value.cause == cause
    assert failed.value.usage.calls == 1


def test_options_are_weighed_with_and_without_spaces(connect: Connect) -> None:
    top = {"A": 0.3, " A": 0.1, "B": 0.2, "C": 0.25, "the": 0.15}
    client, server = connect(saying("A", probabilities=top))
    weights = client.weigh(ASKED, ["A", "B"], purpose="test")

    assert weights.probabilities == pytest.approx({"A": 0.4 / 0.6, "B": 0.2 / 0.6})
    assert client.has_logprobs
    assert server.chats[0]["top_logprobs"] == 20


def test_an_option_that_did_not_come_up_has_no_weight(connect: Connect) -> None:
    client, _ = connect(saying("1", probabilities={"1": 0.9, "x": 0.1}))

    assert client.weigh(ASKED, ["0", "1"], purpose="test").probabilities == {"0": 0.0, "1": 1.0}


def test_an_answer_with_none_of_the_options_is_malformed(connect: Connect) -> None:
    client, _ = connect(saying("Well", probabilities={"Well": 0.9, "I": 0.1}))
    with pytest.raises(LLMError) as failed:
        client.weigh(ASKED, ["0", "1"], purpose="test")

    assert failed.value.cause == "malformed"
    assert client.has_logprobs


@pytest.mark.parametrize("endpoint", [Endpoint(logprobs=False), Endpoint()], ids=["400", "ignored"])
def test_an_endpoint_without_logprobs_is_found_out(connect: Connect, endpoint: Endpoint) -> None:
    client, server = connect("A", endpoint=endpoint)
    assert client.has_logprobs
    for _ in range(2):
        with pytest.raises(LLMError, match="no log-probabilities") as failed:
            client.weigh(ASKED, ["A", "B"], purpose="test")
        assert failed.value.cause == "refused"

    assert not client.has_logprobs
    assert len(server.chats) == 1


def test_an_endpoint_may_give_only_five(connect: Connect) -> None:
    client, server = connect(
        saying("A", probabilities={"A": 1.0}), endpoint=Endpoint(most_logprobs=5)
    )
    assert client.weigh(ASKED, ["A", "B"], purpose="test").probabilities["A"] == 1.0
    assert [body["top_logprobs"] for body in server.chats] == [20, 5]


def test_a_first_token_that_is_a_space_is_passed_over(connect: Connect) -> None:
    tokens = [
        {"token": "\n", "logprob": 0.0, "top_logprobs": [{"token": "\n", "logprob": 0.0}]},
        {
            "token": "A",
            "logprob": -0.1,
            "top_logprobs": [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": None}],
        },
    ]
    choice = {"message": {"content": "\nA"}, "logprobs": {"content": tokens}}
    client, _ = connect(faults=faults.always(faults.raw({"choices": [choice]})))

    assert client.weigh(ASKED, ["A", "B"], purpose="test").probabilities["A"] == 1.0
