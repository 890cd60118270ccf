"""`luthier optimise` and `luthier patch` from end to end."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import serve

from .conftest import Luthier

PIPELINE = '''\
"""Multiply by three."""

from luthier.agent.workflow import Case, Feedback, Param, Suite, op, param
from pydantic import BaseModel, Field


class Space(BaseModel):
    by: int = Field(ge=1, le=5)


params = [Param.json("space", {"by": 1}, Space), Param.text("greeting", "hello")]


@op
def workflow(x):
    return x * param("space")["by"] * (1 if "please" in param("greeting") else 0.9)


def score(case, output):
    return Feedback(1 - abs(output - 3 * case.inputs) / (3 * case.inputs), f"{output}")


suite = Suite([Case(f"case{i:02}", i + 1) for i in range(20)], score, max_drop=0.1)
'''


def mind(request: Request) -> Reply:
    """Raise `by` first, then be polite, then change it for the worse."""
    text = request.messages[-1].content
    if '\n>  "by": 1\n' in text:
        edit = {"param": "space", "new_value_json": '{"by": 3}', "why": "too little"}
    elif "\n> hello\n" in text:
        edit = {"param": "greeting", "new_value_json": '"please"', "why": "a tenth too little"}
    else:
        edit = {"param": "space", "new_value_json": '{"by": 5}', "why": "a try"}
    return Reply((json.dumps({"diagnosis": f"because of {edit['param']}", "edits": [edit]}),))


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "triple.py"
    path.write_text(PIPELINE)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    with serve(mind) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        yield path


def test_edits_are_found_looked_over_applied_and_taken_back(
    luthier: Luthier, pipeline: Path
) -> None:
    ran = luthier("optimise", pipeline, "--steps", 3)
    assert ran.code == 0, ran.err
    assert "edit 1 accepted: a mean gain of" in ran.out
    assert "edit 2 accepted: a mean gain of" in ran.out
    assert "2 of 3 edits accepted" in ran.out
    assert "On the sealed cases: a mean gain of +" in ran.out

    shown = luthier("patch", "show", "triple").out
    for part in ("because of space", '-  "by": 1', '+  "by": 3', "+please", "case01", "at least +"):
        assert part in shown.replace(' "by"', '  "by"')
    assert "edit 3 mini-batch" in shown

    written = pipeline.read_text()
    assert luthier("patch", "apply", pipeline).code == 0
    patch = pipeline.with_suffix(".params.json")
    (entry,) = json.loads(patch.read_text())["applied"]
    assert entry["values"] == {"space": {"by": 3}, "greeting": "please"}
    assert pipeline.read_text() == written
    assert "is applied already" in luthier("patch", "apply", pipeline).err

    assert luthier("patch", "revert", pipeline).code == 0
    assert not patch.exists()
    assert "no patch 'triple' is applied" in luthier("patch", "revert", pipeline).err


def test_one_edit_can_be_left_out_and_the_rest_is_measured_anew(
    luthier: Luthier, pipeline: Path
) -> None:
    luthier("optimise", pipeline, "--steps", 2)
    applied = luthier("patch", "apply", pipeline, "--without", 2)
    assert "Without them: a mean gain of" in applied.out
    (entry,) = json.loads(pipeline.with_suffix(".params.json").read_text())["applied"]
    assert entry["values"] == {"space": {"by": 3}}
    luthier("patch", "revert", pipeline)
    none = luthier("patch", "apply", pipeline, "--without", 1, "--without", 2)
    assert (none.code, "no edit of 'triple' is left" in none.err) == (2, True)


def test_a_search_ends_before_it_takes_more_than_it_may(luthier: Luthier, pipeline: Path) -> None:
    ran = luthier("optimise", pipeline, "--steps", 9, "--tokens", 6000)
    assert ran.code == 0
    assert "the budget of 6000 tokens has" in ran.out
    assert ran.out.count("edit ") < 9


@pytest.mark.parametrize("by", ["masked", "opro", "random"])
def test_the_baselines_propose_in_the_same_way(luthier: Luthier, pipeline: Path, by: str) -> None:
    ran = luthier("optimise", pipeline, "--steps", 1, "--by", by)
    assert ran.code == 0, ran.err
    assert "of 1 edits accepted; 1 steps are done." in ran.out


def test_gepas_reflection_proposes_in_the_same_way(
    luthier: Luthier, pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gepa")

    def rewriting(request: Request) -> Reply:
        by_three = json.dumps({"value": '{"by": 3}', "why": "too little"})
        polite = json.dumps({"value": "please", "why": "be polite"})
        return Reply(
            (by_three if "JSON of this schema" in request.messages[1].content else polite,)
        )

    with serve(rewriting) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        ran = luthier("optimise", pipeline, "--steps", 2, "--by", "gepa")
    assert ran.code == 0, ran.err
    assert "2 of 2 edits accepted" in ran.out


def test_dollars_of_an_unknown_price_are_not_spent(luthier: Luthier, pipeline: Path) -> None:
    ran = luthier("optimise", pipeline, "--dollars", 1)
    assert "0 of 0 edits accepted; the model's price is unknown" in ran.out


def test_what_few_cases_say_is_not_applied_by_itself(luthier: Luthier, pipeline: Path) -> None:
    pipeline.write_text(PIPELINE.replace("range(20)", "range(6)"))
    ran = luthier("optimise", pipeline, "--steps", 1)
    assert "low evidence" in ran.out
    assert "too few cases" in luthier("patch", "apply", pipeline).err
    assert luthier("patch", "apply", pipeline, "--anyway").code == 0


BAD = {
    "no file": (lambda path: ("optimise", "nowhere.py"), "there is no file 'nowhere.py'"),
    "no workflow": (lambda path: ("optimise", path), "defines nothing as `workflow`"),
    "no run": (lambda path: ("patch", "show", "tripel"), "no workflow 'tripel' was optimised"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(luthier: Luthier, pipeline: Path, name: str) -> None:
    make, why = BAD[name]
    pipeline.write_text(PIPELINE.replace("def workflow", "def work"))
    told = luthier(*make(pipeline))
    assert told.code == 2
    assert why in told.err


def test_without_a_model_it_says_how_to_set_one_up(
    luthier: Luthier, pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LUTHIER_LLM_BASE_URL")
    monkeypatch.delenv("LUTHIER_LLM_MODEL")
    assert "edits are proposed by a language model" in luthier("optimise", pipeline).err
    assert luthier("optimise", pipeline, "--by", "random", "--steps", 2).code == 0
