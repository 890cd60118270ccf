"""The example, run as it stands, and what its file may not be."""

import shutil
from pathlib import Path

import pytest
from luthier.agent.workflow.evaluate import Evaluator, split
from luthier.agent.workflow.files import PipelineError, applied, apply, load_pipeline, patch_path
from luthier.agent.workflow.sandbox import available

EXAMPLE = Path(__file__).parents[3] / "examples" / "pipeline" / "pipeline.py"


@pytest.mark.skipif(available() is not None, reason=str(available()))
def test_the_example_fails_in_the_line_that_is_broken_and_runs_when_it_is_mended() -> None:
    found = load_pipeline(EXAMPLE)
    evaluator, case = Evaluator(found.workflow, found.suite), split(found.suite).dev[0]
    (broken,) = evaluator.evaluate(found.params, [case]).values()
    error = broken.feedback.error
    assert error is not None
    assert (error.kind, error.line, error.op) == ("AttributeError", 7, "choose_k")
    nodes, names = broken.rollout.subgraph(broken.leaf, found.params.trainable)
    assert names == {"recipe", "space"}
    recipe = found.params["recipe"].replace("votes.tolist()", "[int(v) for v in votes]")
    scaled = recipe.replace("    distances", "    x, t = x / x.std(0), t / x.std(0)\n    distances")
    narrow = {"parameters": {"k": {"type": "int", "low": 1, "high": 15}}}
    values = {"recipe": scaled, "space": narrow}
    (mended,) = evaluator.evaluate(found.params.but(values), [case]).values()
    assert mended.score > 0.9


def test_patches_stand_beside_the_file_and_are_read_with_it(tmp_path: Path) -> None:
    path = Path(shutil.copy(EXAMPLE, tmp_path))
    narrow = {"parameters": {"k": {"type": "int", "low": 1, "high": 15}}}
    apply(load_pipeline(path), "narrow", {"space": narrow})
    found = load_pipeline(path)
    assert found.params["space"]["parameters"]["k"]["high"] == 15
    assert found.written["space"]["parameters"]["k"]["high"] == 60
    assert [entry["name"] for entry in applied(path)] == ["narrow"]


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"applied": [{"name": 1}]}'])
def test_a_damaged_patch_is_told_before_anything_runs(tmp_path: Path, text: str) -> None:
    path = Path(shutil.copy(EXAMPLE, tmp_path))
    patch_path(path).write_text(text)
    with pytest.raises(PipelineError, match="holds no patches"):
        load_pipeline(path)


def test_a_file_that_cannot_be_run_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("raise RuntimeError('not today')")
    with pytest.raises(PipelineError, match="cannot be run: RuntimeError: not today"):
        load_pipeline(path)
