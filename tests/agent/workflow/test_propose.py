"""How a language model is asked for edits."""

from typing import Any

from luthier.agent.llm.answers import Answer, Usage
from luthier.agent.workflow.params import Param, ParamSet
from luthier.agent.workflow.propose import LLMProposer, Proposal
from luthier.agent.workflow.represent import Problem
from luthier.prompts.loading import tokens_of


class Asked:
    """A model that notes how long its answers may be."""

    name = "asked"

    def __init__(self) -> None:
        self.longest = list[int]()

    def ask(self, messages: Any, schema: Any, *, max_tokens: int, **more: Any) -> Answer[Proposal]:
        self.longest.append(max_tokens)
        return Answer(Proposal(diagnosis="", edits=[]), Usage(), 0.0)


def longest_answer(*params: Param) -> int:
    model = Asked()
    given = ParamSet(list(params))
    LLMProposer(model).propose(Problem(given, frozenset(given), [], [], ""), 1, 0)  # type: ignore[arg-type]
    return model.longest[0]


def test_an_answer_may_be_as_long_as_the_parameters_that_it_may_write_anew() -> None:
    code = "def f(x):\n" + "    # why\n" * 780 + "    return x\n"
    parts = [Param.code("one", code), Param.code("two", code)]
    assert longest_answer(Param.text("prompt", "short")) == 4_000
    assert longest_answer(*parts) > 2 * tokens_of(code) + 2_000
