"""`luthier optimise self`: Luthier's own prompts."""

import json

import pytest
from luthier.evals.advisers import minds
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import serve

from .conftest import Luthier


def test_luthiers_own_prompts_are_plumbing_with_a_simulated_model(
    luthier: Luthier, monkeypatch: pytest.MonkeyPatch
) -> None:
    textbook = minds.textbook()

    def mind(request: Request) -> Reply:
        if not request.messages[0].content.startswith("You improve a workflow"):
            return textbook(request)
        edit = {"param": "prompt.scores", "new_value_json": '"shorter"', "why": "less to read"}
        return Reply((json.dumps({"diagnosis": "too long", "edits": [edit]}),))

    with serve(mind) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        ran = luthier("optimise", "self", "--suite", "smoke", "--steps", 1)
    assert ran.code == 0, ran.err
    assert "The model is simulated: this shows that the plumbing works" in ran.out
    assert "edit 1 refused: prompt.scores: must keep exactly the placeholders" in ran.out
    assert "low evidence" in ran.out
    assert "put the new text there" in luthier("patch", "apply", "self").err


def test_luthiers_own_prompts_are_not_tried_without_a_model(luthier: Luthier) -> None:
    ran = luthier("optimise", "self")
    assert ran.code == 2
    assert "tried out on a language model: set LUTHIER_LLM_BASE_URL" in ran.err
    assert "unknown suite 'nothing'" in luthier("optimise", "self", "--suite", "nothing").err


def test_a_ceiling_holds_for_the_calls_that_score_too(
    luthier: Luthier, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(minds.textbook()) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        ran = luthier("optimise", "self", "--suite", "smoke", "--steps", 3, "--tokens", 5_000)
    assert ran.code == 0, ran.err
    assert "0 of 0 edits accepted; the budget of 5000 tokens has" in ran.out
    spent = int(
        ran.out.split(" tokens, of which 0 asked for edits")[0].split()[-1].replace(",", "")
    )
    assert 0 < spent <= 5_000
