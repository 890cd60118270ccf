"""Code of a language model runs behind walls; each test is one way that it might get out."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.agent.workflow import sandbox
from luthier.agent.workflow.sandbox import (
    CodeError,
    Limits,
    Outcome,
    SandboxError,
    available,
    call,
    run,
)

isolates = pytest.mark.skipif(available() is not None, reason=f"no sandbox: {available()}")
SHORT = Limits(seconds=1.0)


def probe(body: str, *given: Any, limits: Limits | None = None) -> Outcome:
    """Run the body of a function `probe(x)`, which may import what it likes."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return run(f"import os, sys\ndef probe(x=None):\n{lines}\n", "probe", [given], limits)


def error_of(outcome: Outcome) -> CodeError:
    assert outcome.error is not None, outcome
    assert outcome.values is None
    return outcome.error


def value_of(outcome: Outcome) -> Any:
    assert outcome.values is not None, outcome
    return outcome.values[0]


def refused(outcome: Outcome) -> bool:
    """Tell whether the kernel said no."""
    return error_of(outcome).kind in ("PermissionError", "OSError")


@contextmanager
def endless_call() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Have another process make an endless call; give that process and the pid of the code's."""
    code = "def f():\n    import os\n    os.write(3, b'[')\n    while True: pass\n"
    program = f"""
import os
from pathlib import Path
from luthier.agent.workflow import sandbox

def child(pid):
    return int(Path(f"/proc/{{pid}}/task/{{pid}}/children").read_text())

def watched(pipe, most, deadline):
    os.read(pipe.fileno(), 1)
    print(child(child(os.getpid())), flush=True)
    return read(pipe, most, deadline)

assert sandbox.available() is None
read, sandbox._read = sandbox._read, watched
sandbox.run({code!r}, "f", [()], sandbox.Limits(seconds=600))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@isolates
class TestAnswers:
    def test_a_value_comes_back_for_each_input_in_order(self) -> None:
        outcome = run("def add(a, b):\n    return a + b", "add", [(1, 2), ("a", "b")])

        assert outcome.values == [3, "ab"]
        assert outcome.error is None
        assert outcome.seconds > 0.0

    def test_a_failure_is_raised_by_who_wants_values_alone(self) -> None:
        assert call("def f(x):\n    return -x", "f", [(1,)]) == [-1]
        with pytest.raises(CodeError, match="ZeroDivisionError in line 2: division by zero"):
            call("def f(x):\n    return x / 0", "f", [(1,)])

    def test_no_input_gives_no_value(self) -> None:
        assert run("def f():\n    return 1", "f", []).values == []

    def test_arrays_come_back_as_lists(self) -> None:
        outcome = probe("import numpy\nreturn numpy.arange(4).reshape(2, 2)")

        assert outcome.values == [[[0, 1], [2, 3]]]

    def test_libraries_can_be_used(self) -> None:
        outcome = probe(
            "from sklearn.tree import DecisionTreeClassifier\n"
            "return DecisionTreeClassifier().fit(x, [0, 1]).predict(x)",
            [[0.0], [1.0]],
        )

        assert outcome.values == [[0, 1]]

    @settings(max_examples=10, deadline=None)
    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, width=32).filter(lambda x: abs(x) < 1e30)
            | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=8,
        )
    )
    def test_what_goes_in_comes_out(self, value: Any) -> None:
        assert run("def same(x):\n    return x", "same", [(value,)]).values == [value]

    def test_what_the_code_prints_is_no_answer(self) -> None:
        assert probe("""print('{"values": [9]}', flush=True)\nreturn 1""").values == [1]

    def test_calls_share_no_state_with_the_next_run(self) -> None:
        code = "seen = []\ndef f():\n    seen.append(1)\n    return len(seen)"

        assert run(code, "f", [(), ()]).values == [1, 2]
        assert run(code, "f", [()]).values == [1]


@isolates
class TestErrors:
    def test_an_exception_is_told_with_its_line(self) -> None:
        error = error_of(run("def f():\n    x = 1\n    return x / 0", "f", [()]))

        assert (error.kind, error.line) == ("ZeroDivisionError", 3)
        assert "division by zero" in error.message

    def test_an_exception_without_arguments_is_told(self) -> None:
        error = error_of(run("def f():\n    raise ValueError()", "f", [()]))

        assert (error.kind, error.message, error.line) == ("ValueError", "", 2)

    def test_the_line_is_the_innermost_of_the_code(self) -> None:
        error = error_of(run("import json\ndef f():\n    return json.loads('{')", "f", [()]))

        assert (error.kind, error.line) == ("JSONDecodeError", 3)

    def test_code_that_does_not_parse_is_told_with_its_line(self) -> None:
        error = error_of(run("x = 1\ndef f(:\n", "f", [()]))

        assert (error.kind, error.line) == ("SyntaxError", 2)

    def test_a_missing_function_is_told(self) -> None:
        assert "no function 'g'" in error_of(run("def f(): pass", "g", [()])).message

    def test_a_value_that_is_no_json_is_told(self) -> None:
        assert "object is no value of JSON" in error_of(probe("return object()")).message

    @pytest.mark.parametrize("value", ["nan", "inf"])
    def test_a_number_that_is_not_finite_is_told(self, value: str) -> None:
        assert error_of(probe(f"return float('{value}')")).kind == "ValueError"

    def test_a_long_message_is_cut(self) -> None:
        assert len(error_of(probe("raise ValueError('a' * 10**6)")).message) == 2_000

    def test_an_exception_that_cannot_be_printed_is_told(self) -> None:
        body = "class Odd(Exception):\n    def __str__(self): raise self\nraise Odd"

        assert error_of(probe(body)).kind == "Odd"


@isolates
class TestExits:
    @pytest.mark.parametrize("call", ["sys.exit(0)", "exit(0)", "raise SystemExit(0)"])
    def test_an_exit_is_no_answer(self, call: str) -> None:
        assert error_of(probe(call)).kind in ("SystemExit", "NameError")

    @pytest.mark.parametrize("code", [0, 1, 77])
    def test_an_immediate_exit_is_no_answer(self, code: int) -> None:
        assert error_of(probe(f"os._exit({code})")).kind == "Killed"

    def test_a_crash_is_told(self) -> None:
        error = error_of(probe("import ctypes\nctypes.string_at(0)"))

        assert error.kind == "Killed"
        assert "SIGSEGV" in error.message

    def test_exit_handlers_get_no_turn(self) -> None:
        body = "import atexit, time\natexit.register(time.sleep, 600)\nreturn 1"

        assert probe(body).values == [1]


@isolates
class TestForgery:
    """The answers may be forged, but the labels that judge them are never inside."""

    def forged(self, answer: str) -> Outcome:
        body = f"for fd in range(3, 64):\n  try: os.write(fd, {answer.encode()!r})\n"
        return probe(body + "  except OSError: pass\nos._exit(0)")

    @pytest.mark.parametrize(
        "answer",
        [
            '{"value": 999}',
            '{"values": [1, 2]}',
            '{"values": [1], "score": 999}',
            '{"values": 1}',
            '{"values": [NaN]}',
            "[" * 100_000,
            "prose",
            '{"values": [' + "9" * 10_000 + "]}",
            '{"type": 1, "message": "", "line": null}',
            "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        ],
        ids=lambda answer: answer[:20],
    )
    def test_an_answer_of_another_shape_is_refused(self, answer: str) -> None:
        assert error_of(self.forged(answer)).kind == "Malformed"

    def test_a_forged_score_is_only_a_wrong_prediction(self) -> None:
        labels = [0, 1, 1, 0]
        outcome = self.forged('{"values": [999]}')

        assert outcome.values == [999]
        assert 999 not in labels

    def test_nothing_but_the_job_is_inside(self) -> None:
        body = "import gc\njobs = [o for o in gc.get_objects() if type(o) is dict]\n"
        body += "return [name for job in jobs if 'inputs' in job for name in job]"

        assert set(value_of(probe(body))) == {
            *("code", "function", "inputs", "readable", "path", "memory_bytes")
        }


@isolates
class TestExhaustion:
    def test_an_endless_loop_ends_at_the_limit(self) -> None:
        outcome = probe("while True: pass", limits=SHORT)

        assert error_of(outcome).kind == "Killed"
        assert outcome.seconds < 5.0

    def test_a_loop_that_closes_every_file_ends_at_the_limit(self) -> None:
        body = "os.closerange(0, 64)\nwhile True: pass"

        assert error_of(probe(body, limits=SHORT)).kind == "Killed"

    def test_a_loop_that_ignores_signals_ends_at_the_limit(self) -> None:
        body = "import signal\nfor s in range(1, 32):\n  try: signal.signal(s, signal.SIG_IGN)\n"
        body += "  except OSError: pass\nwhile True: pass"

        assert error_of(probe(body, limits=SHORT)).kind == "Killed"

    def test_eight_gigabytes_are_not_given(self) -> None:
        assert error_of(probe("return len(bytearray(8 << 30))")).kind == "MemoryError"

    def test_memory_beside_the_address_space_is_not_given(self) -> None:
        assert refused(probe("return os.memfd_create('hoard')"))

    def test_the_memory_limit_cannot_be_raised(self) -> None:
        body = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))"

        assert error_of(probe(body)).kind == "ValueError"

    def test_a_fork_bomb_has_no_first_child(self) -> None:
        assert refused(probe("while True: os.fork()"))

    def test_a_bomb_of_threads_ends(self) -> None:
        body = "import threading, time\nwhile True: threading.Thread(target=time.sleep, "
        body += "args=(600,), daemon=True).start()"

        assert error_of(probe(body)).kind == "RuntimeError"

    def test_no_program_is_started(self) -> None:
        assert refused(probe("import subprocess\nreturn subprocess.run(['/bin/true']).returncode"))

    def test_the_process_cannot_become_another_program(self) -> None:
        assert refused(probe("os.execv('/bin/true', ['true'])"))

    def test_a_flood_of_answers_is_cut(self) -> None:
        body = "while True: os.write(3, b'a' * 65536)"

        assert error_of(probe(body, limits=Limits(output_bytes=1_000))).kind == "Killed"

    def test_an_answer_that_is_too_long_is_cut(self) -> None:
        outcome = probe("return 'a' * 1_001", limits=Limits(output_bytes=1_000))

        assert error_of(outcome).kind == "Killed"

    def test_a_flood_of_prints_goes_nowhere(self) -> None:
        body = "for _ in range(1_000): print('a' * 10_000); print('b', file=sys.stderr)\nreturn 1"

        assert probe(body, limits=Limits(output_bytes=1_000)).values == [1]

    def test_deep_recursion_is_an_error(self) -> None:
        assert error_of(probe("f = lambda: f()\nf()")).kind == "RecursionError"


@isolates
class TestReach:
    def test_no_connection_is_made(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            body = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)"

            assert refused(probe(body))

    def test_no_socket_file_is_reached(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "s"))
            server.listen()
            body = "import socket\nsocket.socket(socket.AF_UNIX).connect(x)"

            assert refused(probe(body, str(tmp_path / "s")))

    def test_the_environment_is_not_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LUTHIER_LLM_API_KEY", "sk-secret-of-the-parent")

        assert "LUTHIER_LLM_API_KEY" not in value_of(probe("return dict(os.environ)"))

    @pytest.mark.parametrize("path", ["/proc/1/environ", "/proc/self/environ", "/etc/passwd"])
    def test_files_of_the_machine_are_not_read(self, path: str) -> None:
        assert refused(probe("return open(x).read()", path))

    def test_the_parents_environment_is_not_read(self) -> None:
        assert refused(probe("return open(f'/proc/{x}/environ').read()", os.getpid()))

    def test_a_file_of_the_user_is_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("secret")

        assert refused(probe("return open(x).read()", str(tmp_path / "key")))

    def test_a_folder_is_not_listed(self, tmp_path: Path) -> None:
        assert refused(probe("return os.listdir(x)", str(tmp_path)))

    def test_luthier_itself_is_not_imported(self) -> None:
        assert error_of(probe("import luthier")).kind in ("ModuleNotFoundError", "PermissionError")

    @pytest.mark.parametrize(
        "deed",
        [
            "open(x, 'w')",
            "open(x, 'a').write('a')",
            "os.remove(x)",
            "os.rename(x, x + '2')",
            "os.truncate(x, 0)",
            "os.chmod(x, 0o777)",
            "os.utime(x)",
            "os.setxattr(x, 'user.a', b'a')",
            "os.link(x, x + '2')",
            "os.symlink(x, x + '2')",
            "os.mkdir(x + '2')",
            "os.chown(x, 1, 1)",
        ],
    )
    def test_no_file_is_changed(self, deed: str, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("kept")
        before = file.stat()

        assert refused(probe(deed, str(file)))
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert file.read_text() == "kept"
        after = file.stat()
        assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)

    @pytest.mark.parametrize("folder", [".", "/tmp", "/dev/shm", "/var/tmp"])
    def test_no_file_is_made(self, folder: str) -> None:
        assert refused(probe("open(x + '/left-by-a-recipe', 'w')", folder))

    def test_the_libraries_are_not_changed(self) -> None:
        body = "import json\nopen(json.__file__, 'a')"

        assert refused(probe(body))

    def test_no_other_process_is_seen_or_hit(self) -> None:
        body = "import signal\ntry: os.kill(x, signal.SIGKILL)\n"
        body += "except ProcessLookupError: pass\nreturn [os.getpid(), os.getppid()]"

        assert probe(body, os.getpid()).values == [[1, 0]]

    def test_signals_to_everybody_reach_nobody(self) -> None:
        hit = threading.Event()
        previous = signal.signal(signal.SIGUSR1, lambda *_: hit.set())
        try:
            body = "import signal\nfor pid in (-1, 0):\n"
            body += "  try: os.kill(pid, signal.SIGUSR1)\n  except OSError: pass"
            probe(body)
        finally:
            signal.signal(signal.SIGUSR1, previous)

        assert not hit.is_set()

    def test_it_cannot_leave_its_session(self) -> None:
        assert refused(probe("os.setsid()"))

    @pytest.mark.parametrize(
        "number", [101, 157, 272, 165, 425, 321, 298], ids=lambda number: f"call {number}"
    )
    def test_calls_that_open_other_doors_are_refused(self, number: int) -> None:
        body = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        body += "return [libc.syscall(x, 0, 0, 0, 0, 0), ctypes.get_errno()]"

        assert probe(body, number).values == [[-1, 1]]

    def test_nothing_outlives_who_called(self) -> None:
        with endless_call() as (process, code):
            descriptor = os.pidfd_open(code)
            assert select.select([descriptor], [], [], 0.0)[0] == []
            process.kill()
            ended = select.select([descriptor], [], [], 30.0)[0]
        os.close(descriptor)

        assert ended == [descriptor]


@isolates
def test_runs_side_by_side_do_not_mix() -> None:
    outcomes: dict[int, Outcome] = {}

    def square(i: int) -> None:
        outcomes[i] = run("def f(x):\n    return x * x", "f", [(i,)])

    threads = [threading.Thread(target=square, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {i: outcome.values for i, outcome in outcomes.items()} == {i: [i * i] for i in range(8)}


class TestRefusals:
    @pytest.fixture
    def fresh(self) -> Iterator[None]:
        available.cache_clear()
        yield
        available.cache_clear()

    @pytest.mark.usefixtures("fresh")
    def test_without_the_tools_nothing_is_run(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

        assert "util-linux" in str(available())
        with pytest.raises(SandboxError, match="util-linux"):
            run("def f(): pass", "f", [()])

    @pytest.mark.usefixtures("fresh")
    def test_without_namespaces_nothing_is_run(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        stub = tmp_path / "unshare"
        stub.write_text("#!/bin/sh\nexit 1\n")
        stub.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

        assert "be isolated" in str(available())
        with pytest.raises(SandboxError, match="user namespaces"):
            run("def f(): pass", "f", [()])

    @isolates
    @pytest.mark.parametrize("wall", ["_allow_reading", "_filter_calls"])
    def test_without_a_wall_no_line_of_the_code_runs(self, wall: str, tmp_path: Path) -> None:
        source = Path(sandbox.__file__).with_name("jail.py").read_text()
        child = tmp_path / "child.py"
        child.write_text(source.replace(f"def {wall}(", f"def _of_old{wall}(", 1))
        job = '{"code": "1/0", "function": "f", "inputs": [[]], "readable": [], "path": [], '
        job += '"memory_bytes": 4294967296}'
        command = [sys.executable, "-I", "-S", str(child)]
        told = subprocess.run(command, input=job, capture_output=True, text=True, check=True)

        assert wall in told.stdout
        assert "ZeroDivisionError" not in told.stdout

    @pytest.mark.usefixtures("fresh")
    def test_another_system_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sandbox.platform, "machine", lambda: "arm64")

        assert "arm64" in str(available())

    @isolates
    def test_inputs_that_are_no_json_are_refused(self) -> None:
        with pytest.raises(SandboxError, match="finite JSON"):
            run("def f(x): pass", "f", [(object(),)])

    @pytest.mark.parametrize("limit", ["seconds", "memory_bytes", "output_bytes"])
    def test_a_limit_of_nothing_is_refused(self, limit: str) -> None:
        with pytest.raises(SandboxError, match="more than 0"):
            Limits(**{limit: 0})
