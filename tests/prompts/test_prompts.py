"""The prompts themselves: what each version says, and what it may take."""

from typing import Any

import pytest
from luthier.prompts.loading import load, names, render, tokens_of

TEXTS = {
    "candidate@1": "558713a261fc4f22",
    "candidates@1": "1a5b82cc6178a459",
    "planner@2": "70a5352f7775afe5",
    "promising@1": "61f2b3517c4a7173",
    "review@1": "5060ebab3a07b9d9",
    "score@1": "9c7b8170e2d1a693",
    "scores@1": "a188fbee1fecbffe",
    "warmstart@1": "b35fe7f277684a1c",
    "wishes@1": "9e731e728f6e3f24",
    "workflow@2": "6d70ab6bfa1dd41d",
}
"""Version of each prompt to the hash of its text. A changed text needs another version."""

HUGE = "word " * 20_000
NUMBERS: dict[str, Any] = {
    "best": -1.234567e-12,
    "target": -1.234567e-12,
    "maximize": True,
    "count": 100,
    "left": None,
    "percent": 25.0,
    "complete": 100,
    "more": 100,
}


def test_no_text_changes_without_its_version():
    assert {f"{n}@{load(n).header.version}": load(n).digest for n in names()} == TEXTS


@pytest.mark.parametrize("name", names())
def test_a_prompt_stays_within_its_tokens_whatever_its_inputs_are(name):
    header = load(name).header
    lines = "\n".join(HUGE[i : i + 70] for i in range(0, len(HUGE), 70))
    for text in (HUGE, lines, "\n" * 50_000, "\u20ac" * 50_000):
        inputs = {key: NUMBERS.get(key, text) for key in header.inputs}
        prompt = render(name, **inputs)
        used = sum(tokens_of(turn.content) for turn in prompt.messages)
        assert used <= header.most_tokens


@pytest.mark.parametrize("name", names())
def test_a_prompt_tells_its_purpose_and_the_form_of_its_answer(name):
    header = load(name).header

    assert header.purpose
    assert header.output in {
        "text",
        "configurations",
        "portfolio",
        "proposal",
        "review",
        "scores",
        "wishes",
    }
