"""What a proposal, a case or a scorer may hold that is not as it should be, and what becomes of it.

The first part is the list of what the reference implementation of Trace and its relatives get
wrong, row by row.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.agent.workflow import Case, Feedback, Param, ParamSet, Suite, op, param
from luthier.agent.workflow.evaluate import Evaluator
from luthier.agent.workflow.params import ParamError, signature_of
from luthier.agent.workflow.propose import Edit, Proposal
from luthier.agent.workflow.validate import check
from pydantic import BaseModel

CODE = "def area(r):\n    return r * r\n"


class Options(BaseModel):
    strict: bool = True
    names: list[int] = [1]
    rate: float = 0.1


PARAMS = ParamSet(
    [
        Param.text("prompt", "Answer {question}."),
        Param.text("law", "frozen", trainable=False),
        Param.text("apart", "trainable, but nothing that ran has read it"),
        Param.number("depth", 3, 0, 10),
        Param.json("options", Options(), Options),
        Param.code("recipe", CODE),
    ]
)
RAN = PARAMS.trainable - {"apart"}


def proposal(*edits: tuple[str, str], diagnosis: str = "because") -> Proposal:
    made = [Edit(param=name, new_value_json=text, why="") for name, text in edits]
    return Proposal(diagnosis=diagnosis, edits=made)


def refusal(name: str, text: str) -> str:
    checked = check(proposal((name, text)), PARAMS, RAN)
    assert checked.values == {}
    return checked.refused[name]


def taken(name: str, value: Any) -> Any:
    checked = check(proposal((name, json.dumps(value))), PARAMS, RAN)
    assert checked.refused == {}
    return checked.values[name]


# what others get wrong


@pytest.mark.parametrize(
    ("name", "why"), [("apart", "no part"), ("law", "frozen"), ("budget", "no such parameter")]
)
def test_a_parameter_outside_of_what_ran_is_not_edited(name: str, why: str) -> None:
    assert why in refusal(name, '"x"')


@pytest.mark.parametrize(
    "words", ["Answer {question} by default.", "{question}: import os", "<value>{question}</value>"]
)
def test_a_text_that_looks_like_code_or_markup_is_a_text(words: str) -> None:
    assert taken("prompt", words) == words


def test_no_word_anywhere_ends_a_step() -> None:
    words = "TERMINATE {question} TERMINATE"
    checked = check(proposal(("prompt", json.dumps(words)), diagnosis="TERMINATE"), PARAMS, RAN)
    assert checked.values == {"prompt": words}


@pytest.mark.parametrize("value", ["False", "[2, 3]", 4.7, "4.5", "4", True, None])
def test_an_integer_is_an_integer(value: object) -> None:
    assert "must be an integer" in refusal("depth", json.dumps(value))


@pytest.mark.parametrize(
    "options", [{"strict": "False"}, {"names": "[2, 3]"}, {"strict": 0}, {"names": ["2"]}]
)
def test_data_is_not_converted(options: dict[str, Any]) -> None:
    assert next(iter(options)) in refusal("options", json.dumps(options))
    assert taken("options", {"strict": False, "names": [2, 3]})["strict"] is False


@pytest.mark.parametrize(
    "code", ["def area(r, s):\n    return r\n", "def volume(r):\n    return r\n", "area = 1\n"]
)
def test_code_keeps_its_signature(code: str) -> None:
    assert "must" in refusal("recipe", json.dumps(code))


def test_two_runs_with_different_feedback_share_one_proposal() -> None:
    suite = Suite([Case("a", 1), Case("b", 2)], lambda case, _: Feedback(case.inputs, case.name))
    results = Evaluator(lambda x: x, suite).evaluate(PARAMS, suite.cases)
    assert [result.feedback.text for result in results.values()] == ["a", "b"]


# what models say


@pytest.mark.parametrize("code", ["", "\n", "# nothing", "\0", "def", "(" * 300])
def test_code_that_is_none_is_refused(code: str) -> None:
    assert refusal("recipe", json.dumps(code))


def test_code_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ValueError, match="does not parse"):
        signature_of(f"def area(r={'-' * 1_500}1):\n    return r\n")


@given(st.text())
def test_whatever_stands_in_the_place_of_code_is_taken_or_refused_in_words(text: str) -> None:
    checked = check(proposal(("recipe", json.dumps(text))), PARAMS, RAN)
    assert checked.values or checked.refused["recipe"]


@given(st.text())
def test_whatever_stands_in_the_place_of_json_is_taken_or_refused_in_words(text: str) -> None:
    edits = [(name, text) for name in sorted(RAN)]
    checked = check(proposal(*edits), PARAMS, RAN)
    assert all(checked.refused.values())
    assert PARAMS.but(checked.values).changes(PARAMS).keys() == checked.values.keys()


@pytest.mark.parametrize(
    "words",
    [
        "{question.__class__.__init__.__globals__}",
        "{question} {question[0]}",
        "{question!r}",
        "{question:{question}}",
        "{question} {% for x in y %}",
        "{question} {",
    ],
)
def test_a_placeholder_that_reaches_further_is_another_one(words: str) -> None:
    assert "must keep exactly the placeholders" in refusal("prompt", json.dumps(words))


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
def test_a_number_beyond_all_numbers_is_refused_in_data_too(number: str) -> None:
    assert refusal("options", f'{{"rate": {number}}}')


@pytest.mark.parametrize("name", ["prompt", "recipe"])
def test_text_that_cannot_be_written_down_is_refused(name: str) -> None:
    text = "Answer {question}.\ud800" if name == "prompt" else f"{CODE}# \ud800"
    assert refusal(name, json.dumps(text))


# what runs


def evaluated(workflow: Callable[[Any], Any], suite: Suite, params: ParamSet = PARAMS) -> Any:
    return Evaluator(workflow, suite).evaluate(params, suite.cases[:1])["a"]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_finite_number_is_a_failed_run(score: float) -> None:
    suite = Suite([Case("a", 1), Case("b", 2)], lambda *_: Feedback(score), failed_score=-1.0)
    result = evaluated(lambda x: x, suite)
    assert result.score == -1.0
    assert "no finite number" in result.feedback.text


def test_an_output_that_cannot_be_scored_is_a_failed_run_with_its_cause() -> None:
    def score(case: Case, output: Any) -> Feedback:
        return Feedback(float(output["share"]))

    suite = Suite([Case("a", 1), Case("b", 2)], score)
    result = evaluated(lambda x: [x], suite)
    assert result.score == 0.0
    assert result.feedback.error.kind == "TypeError"
    assert result.feedback.error.op == "the scorer"


def test_a_secret_in_an_error_reaches_no_feedback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-123456789")

    @op
    def leak(x: int) -> int:
        raise RuntimeError(f"401 for sk-123456789 with {param('prompt')}")

    suite = Suite([Case("a", 1), Case("b", 2)], lambda *_: Feedback(1.0))
    error = evaluated(leak, suite).feedback.error
    assert error.message == "401 for [secret] with Answer {question}."


def test_a_declared_value_that_cannot_be_is_one_sentence() -> None:
    for make in (lambda: Param.code("c", ""), lambda: Param.text("t", "\ud800")):
        with pytest.raises(ParamError) as told:
            make()
        assert "\n" not in str(told.value)
