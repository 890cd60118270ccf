"""Each prompt of the samplers as a model sees it, word for word, for one small problem.

A changed prompt shows here as a difference of two texts. Delete the file in `rendered` to have it
written anew by the test, which fails once.
"""

from pathlib import Path

import pytest
from luthier.agent.llambo.asking import Conversation
from luthier.agent.llambo.candidates import propose_candidates, sample_candidates
from luthier.agent.llambo.context import History
from luthier.agent.llambo.surrogate import GenerativeSurrogate, SampledSurrogate, TableSurrogate
from luthier.agent.llambo.warmstart import warm_start
from luthier.agent.llambo.wishes import read_wishes
from luthier.agent.llm.answers import Message
from luthier.evals.advisers import minds
from luthier.prompts.loading import names

RENDERED = Path(__file__).parent / "rendered"


@pytest.fixture
def asked(problem, history, model):
    """The messages of the first request by each prompt."""
    llm = model(minds.textbook())
    conversation = Conversation(llm)
    small = History(history.observations[:4] + history.observations[-3:])
    some = [o.configuration for o in history.complete[:2]]
    warm_start(conversation, problem, 3, seed=0)
    read_wishes(conversation, problem.space, "lr at most 1e-2, please")
    propose_candidates(conversation, problem, small, 6, seed=0, left=20)
    sample_candidates(conversation, problem, small, 2, seed=0)
    for surrogate in (TableSurrogate, SampledSurrogate, GenerativeSurrogate):
        surrogate(conversation, problem, small, 0).predict(some)
    first: dict[str, list[Message]] = {}
    for purpose, messages in llm.asked:
        # Requests that are made at once come in any order.
        text = first.setdefault(purpose, messages)
        if messages[1].content < text[1].content:
            first[purpose] = messages
    return first


@pytest.mark.parametrize(
    "name", [name for name in names() if name not in ("planner", "review", "workflow")]
)
def test_a_prompt_reads_as_it_was_last_looked_over(name, asked):
    text = "\n\n".join(f"[{m.role}]\n{m.content}" for m in asked[name]) + "\n"
    path = RENDERED / f"{name}.txt"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path} was written anew; look it over")

    assert text == path.read_text(encoding="utf-8")


def test_the_prompts_of_one_step_begin_with_the_same_text(asked):
    propose, score = asked["candidates"], asked["scores"]

    assert propose[0] == score[0]
    shared = propose[1].content.index("Best value so far")
    assert propose[1].content[:shared] == score[1].content[:shared]
