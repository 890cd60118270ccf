"""How prompts are filled in: nothing is lost, and nothing untrusted gets out of its fence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.prompts import loading
from luthier.prompts.loading import (
    FENCE_RULE,
    Fenced,
    PromptError,
    load,
    render,
    tokens_of,
    untrusted,
)

examples = settings(derandomize=True, deadline=None, max_examples=200, database=None)

SPACE = "name | type | range\nlr | float log | 1e-05..0.1"


def test_a_prompt_says_which_it_is_and_which_version_of_it():
    prompt = render("wishes", space=SPACE, words="a small rate")

    assert (prompt.id, prompt.key) == ("wishes", f"wishes@{prompt.version}")
    assert [turn.role for turn in prompt.messages] == ["system", "user"]


def test_every_system_turn_says_what_a_quoted_line_is():
    assert render("wishes", space=SPACE, words="").messages[0].content.endswith(FENCE_RULE)


@pytest.mark.parametrize("inputs", [{"space": SPACE}, {"space": "", "words": "", "more": 1}])
def test_inputs_must_be_those_that_the_prompt_declares(inputs):
    with pytest.raises(PromptError, match="takes \\['space', 'words'\\]"):
        render("wishes", **inputs)


@pytest.mark.parametrize("id", ["whishes", "../tools/space", "", "loading.py"])
def test_an_unknown_prompt_is_named_with_those_that_there_are(id):
    with pytest.raises(PromptError, match="the prompts are candidate, candidates"):
        load(id)


def test_text_without_a_fence_is_an_error_and_not_a_leak():
    template = loading._environment().from_string("{{ text | untrusted('notes', 99) | upper }}")

    with pytest.raises(PromptError, match="which is not a number"):
        template.render(text="plain")


def test_a_template_cannot_reach_python():
    from jinja2.exceptions import SecurityError

    template = loading._environment().from_string("{{ text.__class__.__mro__ }}")

    with pytest.raises(SecurityError):
        template.render(text="")


def test_a_missing_variable_is_an_error():
    from jinja2.exceptions import UndefinedError

    with pytest.raises(UndefinedError):
        loading._environment().from_string("{{ numbr }}").render(number=1)


def test_a_fence_names_what_is_in_it_and_quotes_every_line():
    assert untrusted("one\n\ntwo", "notes", 100) == "notes:\n> one\n>\n> two\n(end of notes)"


def test_what_is_too_long_is_cut_off_at_a_line_and_says_so():
    fenced = untrusted("first line\nsecond line", "notes", 15)

    assert fenced == "notes:\n> first line\n> (the rest is cut off)\n(end of notes)"


@examples
@given(text=st.text() | st.text(alphabet="\n\r\u2028\x0b\x85> (end of notes)#<|", max_size=80))
def test_no_text_gets_out_of_its_fence(text):
    fenced = untrusted(text, "notes", 500)
    first, *quoted, last = fenced.splitlines()

    assert (first, last) == ("notes:", "(end of notes)")
    assert all(line == ">" or line.startswith("> ") for line in quoted)
    assert all(c == "\n" or c.isprintable() or c.isspace() for c in fenced)
    assert isinstance(fenced, Fenced)


@examples
@given(text=st.text(max_size=2000), most=st.integers(10, 500))
def test_a_fence_has_a_largest_size(text, most):
    assert len(untrusted(text, "notes", most).encode()) <= most + 60


def test_ten_megabytes_are_cut_at_once():
    assert tokens_of(untrusted("x " * 5_000_000, "notes", 1000)) < 360
