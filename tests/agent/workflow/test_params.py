"""Parameters of a workflow: what they may become, and what not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.agent.workflow.params import Param, ParamError, ParamSet
from pydantic import BaseModel, Field

CODE = "import math\n\n\ndef area(r, *, unit=1):\n    return math.pi * r * r * unit\n"


class Stopping(BaseModel):
    patience: int = Field(ge=1, le=50)
    strict: bool
    names: list[int] = []


def parsed(each: Param, given: object) -> object:
    return ParamSet([each]).but({each.name: given})[each.name]


def test_a_prompt_keeps_its_placeholders_whatever_else_it_says() -> None:
    prompt = Param.text("prompt.ask", "Answer {question} as {{ role }}.")
    assert parsed(prompt, "{{ role }}: {question}, by default at once TERMINATE <value>")
    for wrong in ("Answer {question}.", "{question} {{ role }} {secret}", "{question} {question}"):
        with pytest.raises(ParamError, match="exactly the placeholders"):
            parsed(prompt, wrong)


def test_a_text_has_a_longest_length() -> None:
    with pytest.raises(ParamError, match="has 11 characters, of which 10 are allowed"):
        parsed(Param.text("prompt", "short", most=10), "x" * 11)


@pytest.mark.parametrize("given", ["False", 0, 1, None])
def test_truth_is_no_text_and_no_number(given: object) -> None:
    stopping = Param.json("stopping", {"patience": 3, "strict": True}, Stopping)
    with pytest.raises(ParamError, match="strict"):
        parsed(stopping, {"patience": 3, "strict": given})


def test_a_list_stays_a_list_and_a_range_a_range() -> None:
    stopping = Param.json("stopping", Stopping(patience=3, strict=True), Stopping)
    assert parsed(stopping, {"patience": 3, "strict": False, "names": [2, 3]}) == {
        "patience": 3,
        "strict": False,
        "names": [2, 3],
    }
    for wrong in (
        {"patience": 3, "strict": True, "names": "[2, 3]"},
        {"patience": 0, "strict": True},
    ):
        with pytest.raises(ParamError, match=r"names|patience"):
            parsed(stopping, wrong)


@pytest.mark.parametrize("given", [4.7, "4", "4.5", True, None, 11, -1, 1e400])
def test_an_integer_is_never_rounded_nor_read_from_text(given: object) -> None:
    with pytest.raises(ParamError):
        parsed(Param.number("depth", 3, 0, 10), given)


@given(st.floats(0.0, 1.0))
def test_a_number_in_its_range_is_kept_as_it_is(value: float) -> None:
    assert parsed(Param.number("alpha", 0.5, 0.0, 1.0), value) == value


def test_code_keeps_the_name_and_the_arguments_of_its_function() -> None:
    code = Param.code("recipe", CODE)
    assert parsed(code, CODE.replace("r * r", "r**2"))
    for old, new in (("area", "surface"), ("(r, *, unit=1)", "(r, unit=1)"), ("unit=1", "unit=2")):
        with pytest.raises(ParamError, match="must define exactly"):
            parsed(code, CODE.replace(old, new))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def area(r, *, unit=1):\n    return (", "does not parse in line 2"),
        ("print(1)\n" + CODE, "imports and one plain function"),
        (CODE + "\ndef other():\n    pass\n", "imports and one plain function"),
        (CODE.replace("import math", "import os"), "imports os"),
        (
            CODE.replace("    return", "    from subprocess import run\n    return"),
            "imports subprocess",
        ),
        (CODE.replace("def", "@staticmethod\ndef"), "imports and one plain function"),
        (CODE + "#" * 20_000, "characters, of which"),
    ],
)
def test_code_that_must_not_be_is_refused_before_it_is_run(text: str, why: str) -> None:
    with pytest.raises(ParamError, match=why):
        parsed(Param.code("recipe", CODE), text)


def test_a_set_never_changes_and_names_what_it_holds() -> None:
    first = ParamSet([Param.text("a", "one\ntwo"), Param.number("b", 1, 0, 9)])
    second = first.but({"a": "one\nthree"})
    assert dict(first) == {"a": "one\ntwo", "b": 1}
    assert second.changes(first) == {"a": "one\nthree"}
    assert first.hash != second.hash == first.but({"a": "one\nthree"}).hash
    assert second.diff(first).splitlines() == [
        "--- a/a", "+++ b/a", "@@ -1,2 +1,2 @@", " one", "-two", "+three",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Param.text("Prompt!", "x"), "is no name of a parameter"),
        (lambda: Param.number("n", 11, 0, 10), "outside of"),
        (lambda: Param.code("c", "x = 1"), "one plain function"),
        (lambda: ParamSet([Param.text("a", "x"), Param.text("a", "y")]), "two parameters"),
        (lambda: ParamSet([Param.text("a", "x")]).but({"b": "y"}), "no parameter 'b'; there are a"),
    ],
)
def test_a_wrong_declaration_is_one_sentence(make, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ParamError, match=why) as told:
        make()
    assert "\n" not in str(told.value)


def test_a_rule_tells_a_proposer_what_the_checks_are() -> None:
    schema = Param.json("s", {"patience": 3, "strict": True}, Stopping).rule
    assert json.loads(schema.partition(": ")[2])["properties"]["patience"]["maximum"] == 50
    assert "area(r, *, unit=1)" in Param.code("recipe", CODE).rule
