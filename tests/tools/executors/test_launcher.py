import json
import os
import subprocess
import sys

import pytest
from luthier.tools.executors.folder import (
    claim,
    start_ticks,
    without_secrets,
    write_atomically,
)


def test_an_attempt_is_claimed_once(tmp_path):
    assert claim(tmp_path, {"pid": 1})
    assert not claim(tmp_path, {"abandoned": True})
    assert json.loads((tmp_path / "process.json").read_text()) == {"pid": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["process.json"]


def test_of_many_claims_at_once_one_succeeds(tmp_path):
    code = (
        "import sys; from pathlib import Path; from luthier.tools.executors.folder import claim;"
        "sys.stdin.read(); print(claim(Path(sys.argv[1]), {}))"
    )
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.close()  # all of them go on now
    answers = []
    for rival in rivals:
        with rival:
            assert rival.stdout is not None
            answers.append(rival.stdout.read().strip())
    assert sorted(answers) == ["False", "False", "False", "True"]


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "outcome.json"
    write_atomically(path, {"exit_code": 0})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, {"exit_code": 1})
    assert json.loads(path.read_text()) == {"exit_code": 0}


def test_a_process_is_named_by_its_pid_and_its_start():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        started = start_ticks(process.pid)
        assert started == start_ticks(process.pid)
        assert started >= start_ticks(os.getpid())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_ticks(process.pid) is None  # a zombie runs nothing
    assert start_ticks(process.pid) is None


def test_the_keys_of_the_language_model_are_secret():
    environment = {"OPENAI_API_KEY": "a", "LUTHIER_LLM_KEY": "b", "HOME": "/", "HF_TOKEN": "c"}
    assert without_secrets(environment) == {"HOME": "/", "HF_TOKEN": "c"}


def test_the_server_imports_nothing_heavy_by_itself():
    code = (
        "import sys, luthier.tools.executors.launcher;"
        "print({'torch', 'numpy', 'pydantic', 'sqlalchemy', 'optuna'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_server_whose_worker_is_gone_ends():
    with subprocess.Popen(
        [sys.executable, "-m", "luthier.tools.executors.launcher", "no_such_module"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        server.stdin.close()
        assert server.wait(timeout=30) == 0
