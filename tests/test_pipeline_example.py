"""The pipeline example from the command line, with a simulated model behind a real endpoint."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.workflow.files import load_pipeline
from luthier.agent.workflow.sandbox import available
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import serve

from .app.conftest import Luthier, luthier

__all__ = ["luthier"]

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

EXAMPLE = Path(__file__).parent.parent / "examples" / "pipeline" / "pipeline.py"


def answer(diagnosis: str, **changes: Any) -> Reply:
    edits = [
        {"param": name, "new_value_json": json.dumps(value), "why": "so it must be"}
        for name, value in changes.items()
    ]
    return Reply((json.dumps({"diagnosis": diagnosis, "edits": edits}),))


def reader(request: Request) -> Reply:
    """Mend what the feedback blames, ask for too much, make it worse, then see the scales."""
    text = request.messages[-1].content
    recipe = RECIPE
    if "AttributeError in line 7" in text:
        return answer("a list has no tolist", recipe=recipe.replace("votes.tolist()", MENDED))
    mended = recipe.replace("votes.tolist()", MENDED)
    if "why your last answer was refused" in text:
        return answer("no better idea")
    if "refused" not in text:
        narrow = {"parameters": {"k": {"type": "int", "low": 15, "high": 1}}}
        return answer("k is too large", space=narrow)
    if "mini-batch" not in text:
        return answer("guess the last class", recipe=mended.replace("argmax()", "argmin()"))
    narrow = {"parameters": {"k": {"type": "int", "low": 1, "high": 15}}}
    scaled = mended.replace("    distances", "    x, t = x / x.std(0), t / x.std(0)\n    distances")
    return answer("the columns have other scales, and k is too large", recipe=scaled, space=narrow)


MENDED = "[int(v) for v in votes]"
RECIPE = str(load_pipeline(EXAMPLE).params["recipe"])


def test_a_broken_recipe_is_mended_and_improved_with_evidence(
    luthier: Luthier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Path(shutil.copy(EXAMPLE, tmp_path))
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    with serve(reader) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        ran = luthier("optimise", pipeline, "--steps", 4, "--workers", 2)
    decisions = [line.split(":")[0] for line in ran.out.splitlines() if line.startswith("edit ")]
    assert decisions == [
        "edit 1 accepted",
        "edit 2 refused",
        "edit 3 mini-batch",
        "edit 4 accepted",
    ], ran.out + ran.err
    assert "On the sealed cases: a mean gain of +" in ran.out
    shown = luthier("patch", "show", "pipeline").out
    for part in (
        "+    return [int(v) for v in votes]",
        '"high": 15',
        "the columns have other scales",
    ):
        assert part in shown
    assert "must not be larger" in shown or "edit 2 refused: space" in shown
    assert luthier("patch", "apply", pipeline).code == 0
    assert json.loads(pipeline.with_suffix(".params.json").read_text())["applied"]
    assert luthier("patch", "revert", pipeline).code == 0
    assert not pipeline.with_suffix(".params.json").exists()
