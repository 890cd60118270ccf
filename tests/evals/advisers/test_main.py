"""The command that serves a simulated model."""

import signal
import subprocess
import sys

import pytest
from luthier.agent.llm.client import language_model
from luthier.agent.llm.probe import probe

COMMAND = [sys.executable, "-P", "-m", "luthier.evals.advisers"]


def test_a_simulated_model_is_served_until_it_is_interrupted() -> None:
    with subprocess.Popen([*COMMAND, "textbook"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
        told = dict(line.removeprefix("export LUTHIER_LLM_").split("=", 1) for line in lines)
        llm = language_model(told["BASE_URL"], told["MODEL"])
        assert llm is not None
        with llm:
            assert probe(llm.settings)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("arguments", [[], ["expert"], ["textbook", "novice"]])
def test_who_cannot_be_served_is_told(arguments: list[str]) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "textbook" in done.stderr
