"""What code in the sandbox can and cannot do: every line here is an attempt."""

import os
from pathlib import Path

import pytest
from luthier.agent.workflow import sandbox
from luthier.agent.workflow.sandbox import CodeError, Limits, SandboxError, available, call, run

if (WHY := available()) is not None:
    pytest.skip(WHY, allow_module_level=True)


def attempt(body: str, limits: Limits = Limits(seconds=10)) -> sandbox.Outcome:  # noqa: B008
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return run(f"def f(x):\n{lines}\n", "f", [(5,)], limits)


def refused(body: str) -> str:
    outcome = attempt(body)
    assert outcome.values is None
    assert outcome.error is not None
    return f"{outcome.error.kind}: {outcome.error.message}"


def test_values_come_back_in_the_order_of_the_inputs() -> None:
    assert call("def f(x, y):\n    return [x, {'y': y}]", "f", [(1, "a"), (2.5, None)]) == [
        [1, {"y": "a"}],
        [2.5, {"y": None}],
    ]


def test_an_exception_comes_back_with_its_line() -> None:
    outcome = attempt("y = 1\nreturn y / 0")
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.error.line) == ("ZeroDivisionError", 3)
    assert str(outcome.error) == "ZeroDivisionError in line 3: division by zero"


def test_an_exception_without_a_message_comes_back_too() -> None:
    with pytest.raises(CodeError, match="ValueError in line 2: "):
        call("def f(x):\n    raise ValueError()", "f", [(1,)])


@pytest.mark.parametrize(
    "body",
    [
        "return open('/etc/passwd').read()",
        "import os\nreturn os.listdir('/root')",
        "return open('/proc/1/environ').read()",
        "import os\nreturn open(f'/proc/{os.getppid()}/environ').read()",
        f"return open({str(Path(__file__))!r}).read()",
        "open('/tmp/left-behind', 'w').write('x')",
        "import os\nos.mkdir('/dev/shm/left-behind')",
        "import os\nos.remove('/usr/bin/env')",
    ],
)
def test_no_file_but_pythons_is_read_and_none_written(body: str) -> None:
    assert "Permission denied" in refused(body) or "No such file" in refused(body)


@pytest.mark.parametrize(
    "body",
    [
        "import socket\nsocket.socket()",
        "import socket\nsocket.socket(socket.AF_UNIX)",
        "import urllib.request\nreturn str(urllib.request.urlopen('http://127.0.0.1:1').read())",
        "import os\nreturn os.fork()",
        "import subprocess\nsubprocess.run(['id'])",
        "import os\nos.execv('/usr/bin/id', ['id'])",
    ],
)
def test_there_is_no_network_and_no_other_program(body: str) -> None:
    assert "not permitted" in refused(body)


def test_its_environment_is_empty_and_the_parents_is_out_of_sight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUTHIER_LLM_API_KEY", "sk-secret")
    outcome = attempt("import os\nreturn dict(os.environ)")
    assert outcome.values == [{}]


def test_a_signal_reaches_nobody_but_itself() -> None:
    attempt("import os\nfor pid in (1, os.getppid()):\n    os.kill(pid, 9)\nreturn 1")
    attempt(f"import os\nos.kill({os.getpid()}, 9)")
    assert attempt("return x").values == [5]


def test_a_loop_without_end_is_ended() -> None:
    outcome = attempt("while True:\n    pass", Limits(seconds=0.5))
    assert outcome.error is not None
    assert "took longer than 0.5 s" in outcome.error.message


def test_eight_gigabytes_are_too_many() -> None:
    assert "MemoryError" in refused("return len(bytearray(8 << 30))")


def test_a_flood_is_cut_off() -> None:
    assert "Killed" in refused("import os\nwhile True:\n    os.write(3, b'x' * 65536)")


def test_what_it_prints_is_no_answer() -> None:
    body = """print('{"values": [999]}')\nimport sys\nsys.stdout.flush()\nreturn x"""
    assert attempt(body).values == [5]


@pytest.mark.parametrize(
    "body",
    [
        """import os\nos.write(3, b'{"values": "all right"}')\nos._exit(0)""",
        """import os\nos.write(3, b'{"score": 1}')\nos._exit(0)""",
        "import os\nos.write(3, b'nonsense')\nos._exit(0)",
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "return object()",
    ],
)
def test_an_answer_that_is_no_list_of_values_is_a_failure(body: str) -> None:
    assert attempt(body).error is not None


def test_the_packages_of_this_environment_can_be_used_and_threads_too() -> None:
    body = (
        "import numpy as np, threading\nl = []\nt = threading.Thread(target=l.append, args=(x,))\n"
    )
    body += "t.start(); t.join()\nreturn float(np.arange(x).sum()) + l[0]"
    assert attempt(body).values == [15.0]


def test_its_own_folder_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert attempt("open('own', 'w').write('x')\nreturn open('own').read()").values == ["x"]
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_isolate_it_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    available.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    try:
        with pytest.raises(SandboxError, match="needs `unshare`"):
            run("def f(x):\n    return x", "f", [(1,)])
    finally:
        available.cache_clear()
