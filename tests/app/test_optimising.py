"""`luthier optimise` and `luthier patch`, on a small pipeline and a simulated model's endpoint."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import Server, serve

from .conftest import Luthier

PIPELINE = '''\
"""Grow each number to three times its size."""
from luthier.agent.workflow import Case, Feedback, Param, Suite, op, param
from pydantic import BaseModel, Field


class Space(BaseModel):
    by: int = Field(ge=1, le=5)


params = [Param.json("space", {"by": 1}, Space), Param.text("tone", "rude")]


@op
def grow(x):
    return x * param("space")["by"], param("tone")


def workflow(x):
    return grow(x)


def score(case, output):
    grown, tone = output
    miss = abs(grown - 3 * case.inputs) / (3 * case.inputs)
    return Feedback(1.0 - miss + 0.1 * (tone == "kind"), f"{grown}, said in a {tone} tone")


suite = Suite([Case(f"case{i}", i + 1) for i in range(CASES)], score, max_drop=0.05)
'''


def fixer(request: Request) -> Reply:
    """Mend what the feedback shows, one thing at a time, after a wrong guess."""
    text = request.messages[-1].content
    if "refused" not in text and "earlier edits" not in text:
        edit = ("budget", 100)
    elif "less than or equal to 5" in text or "in a rude tone" not in text:
        edit = ("space", {"by": 3})
    elif '"by": 3' in text:
        edit = ("tone", "kind")
    else:
        edit = ("space", {"by": 3})
    edits = [{"param": edit[0], "new_value_json": json.dumps(edit[1]), "why": "it is blamed"}]
    return Reply((json.dumps({"diagnosis": f"{edit[0]} is wrong", "edits": edits}),))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve(fixer) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        yield server


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_pipeline(cases: int = 20) -> Path:
        path = tmp_path / "pipeline.py"
        path.write_text(PIPELINE.replace("CASES", str(cases)), encoding="utf-8")
        return path

    return write_pipeline


def patched(path: Path) -> dict[str, object]:
    from luthier.agent.workflow.files import load_pipeline

    return dict(load_pipeline(path).params)


def test_a_patch_is_found_looked_over_applied_and_taken_back(
    luthier: Luthier, model: Server, write: Callable[..., Path]
) -> None:
    path = write()
    before = path.read_text(encoding="utf-8")

    ran = luthier("optimise", path, "--steps", 2)
    assert ran.code == 0, ran.err
    assert "2 of 2 edits accepted" in ran.out
    assert "On the sealed cases: a mean gain of" in ran.out
    assert patched(path) == {"space": {"by": 1}, "tone": "rude"}  # nothing changes by itself

    shown = luthier("patch", "show", "pipeline").out
    for words in (
        "space is wrong",
        '- "by": 1',
        '+ "by": 3',
        "refused budget: there is no such parameter; there are space, tone",
        "-rude",
        "+kind",
        "case1 ",
        "+0.1",
        "mean gain",
        "tokens",
    ):
        assert words in shown

    assert luthier("patch", "apply", path).code == 0
    assert patched(path) == {"space": {"by": 3}, "tone": "kind"}
    again = luthier("patch", "apply", path)
    assert (again.code, "applied already" in again.err) == (2, True)

    assert luthier("patch", "revert", path).code == 0
    assert patched(path) == {"space": {"by": 1}, "tone": "rude"}
    assert path.read_text(encoding="utf-8") == before
    assert "no patch 'pipeline' is applied" in luthier("patch", "revert", path).err


def test_a_part_of_a_patch_is_measured_by_itself(
    luthier: Luthier, model: Server, write: Callable[..., Path]
) -> None:
    path = write()
    luthier("optimise", path, "--steps", 2)

    part = luthier("patch", "apply", path, "--without", 2)
    assert part.code == 0, part.err
    assert "Without them: a mean gain of +0.6667" in part.out
    assert patched(path) == {"space": {"by": 3}, "tone": "rude"}
    assert "edit 7 is none of those" in luthier("patch", "apply", path, "--without", 7).err


def test_a_patch_with_low_evidence_is_applied_only_on_demand(
    luthier: Luthier, model: Server, write: Callable[..., Path]
) -> None:
    path = write(cases=6)
    ran = luthier("optimise", path, "--steps", 1)
    assert "low evidence" in ran.out

    refused = luthier("patch", "apply", path)
    assert (refused.code, "too few cases" in refused.err) == (2, True)
    assert patched(path)["space"] == {"by": 1}
    assert luthier("patch", "apply", path, "--anyway").code == 0
    assert patched(path)["space"] == {"by": 3}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1", "defines nothing as `params`"),
        ("raise RuntimeError('no')", "cannot be run: RuntimeError: no"),
        ("from luthier.agent.workflow import Param\nparams = [Param.text('A', '')]", "no name"),
    ],
)
def test_a_file_that_is_no_pipeline_is_one_sentence(
    luthier: Luthier, tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "bad.py").write_text(text, encoding="utf-8")
    ran = luthier("optimise", "bad.py", "--by", "random")
    assert ran.code == 2
    assert why in ran.err
    assert "Traceback" not in ran.err


def test_without_a_model_it_says_how_to_name_one(
    luthier: Luthier, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LUTHIER_LLM_BASE_URL", raising=False)
    ran = luthier("optimise", write())
    assert ran.code == 2
    assert "LUTHIER_LLM_BASE_URL" in ran.err
