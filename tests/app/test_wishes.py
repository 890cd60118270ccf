"""`luthier spec wish`: a person's words become a spec."""

from pathlib import Path

import pytest
from luthier.evals.advisers import minds
from luthier.evals.advisers.server import serve
from luthier.tools.spec import load_spec

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1, "log": True},
    "units": {"type": "int", "low": 8, "high": 512, "log": True},
    "optimizer": {"type": "categorical", "choices": ["sgd", "adamw"]},
    "momentum": {"type": "float", "low": 0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
}
TRAIN = "print('step 1 loss=0.5')"
WORDS = "start near lr 3e-4, never above units 128 and optimizer only adamw"


@pytest.fixture
def reader(monkeypatch):
    with serve(minds.textbook()) as server:
        monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
        monkeypatch.setenv("LUTHIER_LLM_MODEL", "simulated")
        yield server


def test_the_differences_are_shown_and_the_new_spec_is_written(luthier, write, reader, tmp_path):
    run = luthier("spec", "wish", write(TRAIN, space=SPACE), WORDS, "--output", "wished.yaml")

    assert run.code == 0
    assert "space.units.high: 512 -> 128" in run.out
    after = load_spec(tmp_path / "wished.yaml")
    assert after.space["optimizer"].choices == ["adamw"]
    assert "momentum" not in after.space
    assert after.sampler.first == [{"lr": 3e-4}]


def test_the_study_keeps_to_it_without_any_model(
    luthier, write, reader, tmp_path: Path, monkeypatch
):
    luthier("spec", "wish", write(TRAIN, space=SPACE), WORDS, "--output", "wished.yaml")
    monkeypatch.delenv("LUTHIER_LLM_BASE_URL")
    monkeypatch.delenv("LUTHIER_LLM_MODEL")
    assert luthier("tune", "wished.yaml").code == 0

    first = luthier("show", "small", "0").out
    assert "0.0003" in first
    assert "wanted first, says the spec" in first


def test_without_output_nothing_is_written(luthier, write, reader, tmp_path):
    before = write(TRAIN, space=SPACE).read_text(encoding="utf-8")
    luthier("spec", "wish", "study.yaml", WORDS)
    assert (tmp_path / "study.yaml").read_text(encoding="utf-8") == before


def test_without_a_model_it_says_what_to_do(luthier, write, monkeypatch):
    monkeypatch.delenv("LUTHIER_LLM_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    run = luthier("spec", "wish", write(TRAIN, space=SPACE), WORDS)
    assert run.code == 2
    assert "LUTHIER_LLM_BASE_URL" in run.err
