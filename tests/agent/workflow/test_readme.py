"""The example of the introduction, word for word, with a simulated model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.workflow import ParamSet, Settings, optimise
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import serve

README = Path(__file__).parents[3] / "README.md"


def blaming(request: Request) -> Reply:
    edit = {"param": "prompt", "new_value_json": json.dumps("Kindly: {text}"), "why": "kind"}
    return Reply((json.dumps({"diagnosis": "it is not kind", "edits": [edit]}),))


def test_the_workflow_of_the_readme_is_improved(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(
        r"```python\n(from luthier.agent.workflow.*?)```", README.read_text("utf-8"), re.S
    )
    space: dict[str, Any] = {
        "my_model": lambda prompt, limit: prompt[:limit],
        "my_score": lambda name, output: float(output.startswith("Kindly")),
        "TEXTS": {f"text{number}": f"number {number}" for number in range(20)},
    }
    exec(code, space)
    with serve(blaming) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        done = optimise(
            space["workflow"], ParamSet(space["params"]), space["suite"], settings=Settings(steps=1)
        )
    assert "-Summarise: {text}\n+Kindly: {text}" in done.best.diff(done.base)
    assert done.sealed is not None
    assert done.sealed.accepted
