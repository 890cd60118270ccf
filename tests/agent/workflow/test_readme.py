"""The example of the introduction, word for word, with a simulated model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import serve

README = Path(__file__).parents[3] / "README.md"


def blaming(request: Request) -> Reply:
    edit = {"param": "prompt", "new_value_json": json.dumps("Kindly: {question}"), "why": "kind"}
    return Reply((json.dumps({"diagnosis": "it is not kind", "edits": [edit]}),))


def test_the_ten_lines_of_the_readme_improve_a_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (code,) = re.findall(
        r"```python\n(from luthier.agent.workflow.*?)```", README.read_text("utf-8"), re.S
    )
    file = tmp_path / "example.py"
    file.write_text(code, encoding="utf-8")
    questions = [f"what is {number}" for number in range(20)]
    space: dict[str, Any] = {
        "llm": str.upper,
        "QUESTIONS": questions,
        "TRUTH": {question: f"KINDLY: {question.upper()}" for question in questions},
    }
    with serve(blaming) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        exec(compile(code, str(file), "exec"), space)
    assert "-Answer: {question}\n+Kindly: {question}" in capsys.readouterr().out
    assert space["result"].sealed.accepted
