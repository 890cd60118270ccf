import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import luthier.tools.executors.server
import pytest
from luthier.tools.executors.request import without_secrets
from luthier.tools.executors.server import SPARES
from luthier.tools.outcomes import Outcome

NOTE = "from notes import *\n"


def test_the_keys_of_the_language_model_are_secret():
    environment = {"OPENAI_API_KEY": "a", "LUTHIER_LLM_KEY": "b", "HOME": "/", "HF_TOKEN": "c"}
    assert without_secrets(environment) == {"HOME": "/", "HF_TOKEN": "c"}


def test_the_server_imports_nothing_heavy_by_itself():
    code = (
        "import sys, luthier.tools.executors.server;"
        "print({'torch', 'numpy', 'pydantic', 'sqlalchemy', 'optuna'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_server_whose_worker_is_gone_ends():
    with subprocess.Popen(
        [sys.executable, "-m", "luthier.tools.executors.server", "no_such_module"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        server.stdin.close()
        assert server.wait(timeout=30) == 0


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def spares(lab):
    """Return the launchers that wait for a request, in their order, and their trials."""

    def look():
        launchers = children(lab.executor._server.pid)
        trials = [trial for launcher in launchers for trial in children(launcher)]
        return (launchers, trials) if len(launchers) == len(trials) == SPARES else None

    return lab.until(look)


def test_a_trial_is_ready_before_it_is_asked_for(lab):
    _, (trial, *_) = spares(lab)
    lab.end(lab.submit_script(NOTE + "note('pid', os.getpid())"))
    assert lab.note("pid") == str(trial)


def test_what_was_ready_and_is_not_needed_ends_with_its_server(lab):
    launchers, trials = spares(lab)
    lab.executor._server.kill()
    lab.until(lambda: all(lab.is_gone(pid) for pid in launchers + trials))


@pytest.mark.parametrize("which", ["launchers", "trials"])
def test_what_was_ready_and_was_killed_is_replaced(lab, which):
    launchers, trials = spares(lab)
    killed = launchers if which == "launchers" else trials
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    lab.until(lambda: all(lab.is_gone(pid) for pid in killed))
    assert lab.end(lab.submit_script("print('{\"loss\": 1}')"))[2].outcome is Outcome.COMPLETE


def test_a_request_may_be_larger_than_a_pipe(lab):
    handle = lab.submit_script(
        "import sys; print('{\"loss\": %d}' % len(sys.argv[1]))", "x" * 99_999
    )
    assert lab.end(handle)[1] == {"loss": 99_999.0}


def test_no_module_of_the_server_knows_of_cuda():
    for path in Path(luthier.tools.executors.server.__file__).parent.glob("*.py"):
        names = {
            getattr(node, "attr", getattr(node, "id", ""))
            for node in ast.walk(ast.parse(path.read_text()))
        }
        assert "cuda" not in names, path
