import ast
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import luthier.tools.executors.server
from luthier.tools.executors.request import without_secrets
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


def spares(lab):
    """Return the launcher that waits for a request, and its trial."""
    server = lab.executor._server.pid
    children = Path(f"/proc/{server}/task/{server}/children")

    def look():
        pids = children.read_text().split()
        grandchildren = [Path(f"/proc/{pid}/task/{pid}/children").read_text() for pid in pids]
        return [*pids, *grandchildren] if len(pids) == 1 and grandchildren[0] else None

    return [int(pid) for pid in lab.until(look)]


def test_a_trial_is_ready_before_it_is_asked_for(lab):
    _, spare = spares(lab)
    lab.end(lab.submit_script(NOTE + "note('pid', os.getpid())"))
    assert lab.note("pid") == str(spare)


def test_what_was_ready_and_is_not_needed_ends_with_its_server(lab):
    pids = spares(lab)
    lab.executor._server.kill()
    lab.until(lambda: all(lab.is_gone(pid) for pid in pids))


def test_what_was_ready_and_was_killed_is_replaced(lab):
    for which in (0, 1):
        pid = spares(lab)[which]
        os.kill(pid, signal.SIGKILL)
        lab.until(partial(lab.is_gone, pid))
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
