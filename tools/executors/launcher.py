"""The launcher: starts one attempt, watches over it, and writes how it ended.

`serve` is a small fork server. It holds the modules that trials need, so that a trial does not pay
for importing them, and forks one launcher a request. A launcher leads a session of its own and
outlives both the server and the worker: it keeps the time limit, copies the output, and leaves
exactly one `outcome.json`, so a trial needs nobody to wait for it.

Only the standard library is imported before the fork, besides the modules asked for. The server
never touches CUDA.

Files of an attempt's folder, all replaced atomically:
    process.json    who runs it; whoever creates it first decides (see `claim`)
    trial.json      the trial's own process
    metrics.jsonl   reports, from the trial itself or read off its standard output
    stop            a request to stop: {"reason": ...}
    exception.json  type and message of what ended a Python trial
    outcome.json    the evidence of its end
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ..metrics import OutputReader
from ..outcomes import StopReason

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_TAIL_BYTES = 64_000


@dataclass(frozen=True)
class Request:
    """One attempt to start."""

    folder: str
    """The attempt's folder; `process.json` and the rest go there."""
    working_directory: str
    environment: dict[str, str]
    """The trial's whole environment."""
    command: list[str] | None
    """Argument list of a script; None for a Python trial."""
    entry: dict[str, Any] | None
    """What a Python trial runs; see `entry.run_entry`."""
    import_path: list[str]
    """`sys.path` of a Python trial."""
    devices: list[str]
    """The devices that it has leased."""
    patterns: dict[str, str]
    """Metric name to its pattern on standard output."""
    metric_names: list[str]
    """Metrics that are looked for in JSON lines on standard output."""
    limit_seconds: float | None
    grace_seconds: float
    log_bytes: int


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the keys of the language model, which no trial needs."""
    secret = ("LUTHIER_LLM_", "OPENAI_")
    return {name: value for name, value in environment.items() if not name.startswith(secret)}


def claim(folder: Path, content: dict[str, Any]) -> bool:
    """Create `process.json` with `content` if nobody has; tell whether it was us.

    A launcher claims its attempt before it starts anything. A worker that finds an attempt without
    a launcher claims it as abandoned, so a launcher that comes late runs nothing.
    """
    temporary = folder / f"process.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(content), encoding="utf-8")
    try:
        os.link(temporary, folder / "process.json")
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def write_atomically(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file so that a reader sees the old or the new one, never a half."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None if there is none.

    With the pid it names a process for good: pids are used again, the pair is not.
    """
    fields = _status_fields(pid)
    return None if not fields or fields[0] == "Z" else int(fields[19])


def session_of(pid: int) -> int | None:
    """Return the session of a process, which is the pid of who began it; None if there is none."""
    fields = _status_fields(pid)
    return int(fields[3]) if fields else None


def _status_fields(pid: int) -> list[str]:
    """Return what the kernel tells of a process from its state on, nothing if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return fields.rpartition(")")[2].split()


def serve(preload: list[str]) -> NoReturn:
    """Fork a launcher for every request (one JSON line) on standard input, until it closes."""
    for module in preload:
        with contextlib.suppress(ImportError):  # the trial itself will say what is missing
            importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Objects made so far are shared by every child: keep the collector from touching their pages.
    gc.collect()
    gc.freeze()
    requests = sys.stdin.buffer
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while line := requests.readline():
        if os.fork() == 0:
            # A launcher must not hold the pipe: the server's end is told by its closing.
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(null, 1)
            with _exit_always():
                launch(Request(**json.loads(line)))
    os._exit(0)


@contextlib.contextmanager
def _exit_always() -> Any:
    code = 1
    try:
        yield
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def launch(request: Request) -> None:
    """Run one attempt to its end in this process, which becomes its launcher."""
    os.setsid()
    # With a handler the end of the trial is written to the wake-up pipe below.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    folder = Path(request.folder)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if not claim(folder, {"pid": os.getpid(), "start": start_ticks(os.getpid())}):
        return
    asked = _Asked()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, asked.hear)
    kills_before = _kernel_oom_kills()
    begun = time.monotonic()
    try:
        process = _start(request)
    except OSError as error:
        write_atomically(
            folder / "outcome.json",
            {"exit_code": 127, "error": str(error), "seconds": 0.0, "ended": time.time()},
        )
        _poke(request)
        return
    _note_process(folder, process.pid)
    reason = _watch(request, process, asked, wake_read, begun)
    _kill_descendants()
    usage = process.usage
    status = process.status
    evidence = {
        "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "stop_reason": reason,
        "kernel_oom_kills": _kernel_oom_kills() - kills_before,
        "peak_bytes": usage.ru_maxrss * 1024,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "seconds": time.monotonic() - begun,
        "ended": time.time(),
    }
    write_atomically(folder / "outcome.json", evidence)
    _poke(request)


def _note_process(folder: Path, pid: int) -> None:
    # After a power cut it is of no use to anybody, so nobody waits for the disk.
    temporary = folder / "trial.tmp"
    temporary.write_text(json.dumps({"pid": pid, "start": start_ticks(pid)}), encoding="utf-8")
    temporary.replace(folder / "trial.json")


class _Asked:
    """Whether the worker asked to stop; a lock could be held by the signal before this one."""

    to_stop = False

    def hear(self, *_: object) -> None:
        self.to_stop = True


class _Process:
    """The trial's process: its pid and, once reaped, its status and resource usage."""

    def __init__(self, pid: int, outputs: tuple[int, int]) -> None:
        self.pid = pid
        self.outputs = outputs
        self.status: int = 0
        self.usage: Any = None

    def reap(self) -> bool:
        """Collect the process if it has ended, and any orphan that was handed to us."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return self.usage is not None
            if pid == 0:
                return self.usage is not None
            if pid == self.pid:
                self.status, self.usage = status, usage


def _start(request: Request) -> _Process:
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    if request.command is not None:
        child = subprocess.Popen(
            request.command,
            cwd=request.working_directory,
            env=request.environment,
            stdin=subprocess.DEVNULL,
            stdout=out_write,
            stderr=err_write,
            start_new_session=True,
            preexec_fn=_die_with_launcher,
        )
        pid = child.pid
        child.returncode = 0  # reaped here, with its resource usage, not by subprocess
    else:
        pid = os.fork()
        if pid == 0:
            with _exit_always():
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.setsid()
                _die_with_launcher()
                os.dup2(out_write, 1)
                os.dup2(err_write, 2)
                os.closerange(3, 256)
                _run_python(request)
    os.close(out_write)
    os.close(err_write)
    return _Process(pid, (out_read, err_read))


def _run_python(request: Request) -> NoReturn:
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.working_directory)
    sys.path[:] = request.import_path
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)
    code = 0
    try:
        from .entry import run_entry

        assert request.entry is not None
        run_entry(request.entry)
    except SystemExit as exit_request:
        code = exit_request.code if isinstance(exit_request.code, int) else 1
        if exit_request.code is None:
            code = 0
        elif not isinstance(exit_request.code, int):
            print(exit_request.code, file=sys.stderr)
    except BaseException as error:
        code = 1
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        write_atomically(
            Path(request.folder, "exception.json"), {"type": kind, "message": str(error)[:2000]}
        )
        if kind.endswith(".TrialPruned"):
            code = 0
        else:
            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(
    request: Request,
    process: _Process,
    asked: _Asked,
    wake_read: int,
    begun: float,
) -> str | None:
    """Copy output, keep the limits, and return why the trial was asked to stop, if it was."""
    folder = Path(request.folder)
    reader = OutputReader(request.patterns, frozenset(request.metric_names))
    selector = selectors.DefaultSelector()
    pumps = {
        process.outputs[0]: _Pump(
            process.outputs[0],
            folder / "stdout.log",
            request.log_bytes,
            lambda line: _append_reports(request, reader, line),
        ),
        process.outputs[1]: _Pump(
            process.outputs[1], folder / "stderr.log", request.log_bytes, lambda _: None
        ),
    }
    for descriptor in pumps:
        selector.register(descriptor, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    reason: str | None = None
    terminate_at = kill_at = float("inf")
    ended_at: float | None = None
    try:
        while True:
            now = time.monotonic()
            if process.reap() and ended_at is None:
                ended_at = now
            open_pumps = [d for d in pumps if d in selector.get_map()]
            # A stray child may hold the pipes open after the trial has ended; do not wait for it.
            if ended_at is not None and (not open_pumps or now > ended_at + 0.5):
                break
            if ended_at is None:
                if asked.to_stop and reason is None:
                    reason = _stop_reason(folder)
                    # `luthier.report` raises TrialPruned; who prints its metrics cannot be told.
                    reports_itself = (folder / "metrics.jsonl").exists() and not reader.found
                    patient = reason == "prune" and reports_itself
                    terminate_at = now + request.grace_seconds if patient else now
                limit = request.limit_seconds
                if reason is None and limit is not None and now - begun > limit:
                    reason, terminate_at = "deadline", now
                if now >= terminate_at:
                    terminate_at, kill_at = float("inf"), now + request.grace_seconds
                    _signal_group(process.pid, signal.SIGTERM)
                if now >= kill_at or (folder / "kill").exists():
                    _signal_group(process.pid, signal.SIGKILL)
            due = [terminate_at, kill_at, now + 0.5]
            if request.limit_seconds is not None and reason is None:
                due.append(begun + request.limit_seconds)
            if ended_at is not None:
                due.append(ended_at + 0.5)
            for key, _ in selector.select(max(0.0, min(due) - now)):
                if key.fd == wake_read:
                    os.read(wake_read, 4096)
                elif not pumps[key.fd].copy():
                    selector.unregister(key.fd)
    finally:
        for pump in pumps.values():
            pump.close()
    return reason


def _stop_reason(folder: Path) -> str:
    try:
        return StopReason(json.loads((folder / "stop").read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return StopReason.STOP


class _Pump:
    """Copies a pipe to a log of bounded size and hands each line on."""

    def __init__(
        self, descriptor: int, path: Path, limit: int, on_line: Callable[[str], None]
    ) -> None:
        self._descriptor = descriptor
        self._log: BinaryIO = path.open("ab", buffering=0)
        self._tail_bytes = min(_TAIL_BYTES, limit // 2)
        self._room = limit - self._tail_bytes
        self._left_out = 0
        self._tail = b""
        self._on_line = on_line
        self._partial = b""

    def copy(self) -> bool:
        """Copy what there is; tell whether the pipe is still open."""
        block = os.read(self._descriptor, 1 << 16)
        if not block:
            if self._partial:
                self._on_line(self._partial.decode("utf-8", "replace"))
            return False
        self._write(block)
        *lines, rest = (self._partial + block).split(b"\n")
        self._partial = rest[-(1 << 16) :]
        for line in lines:
            self._on_line(line.decode("utf-8", "replace"))
        return True

    def _write(self, block: bytes) -> None:
        kept, rest = block[: self._room], block[self._room :]
        self._room -= len(kept)
        # A full disk costs the log, never the trial.
        with contextlib.suppress(OSError):
            self._log.write(kept)
        if rest:
            whole = self._tail + rest
            self._tail = whole[max(0, len(whole) - self._tail_bytes) :]
            self._left_out += len(whole) - len(self._tail)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if self._left_out:
                self._log.write(b"\n[... %d bytes left out ...]\n" % self._left_out)
            self._log.write(self._tail)
            self._log.close()
        os.close(self._descriptor)


def _append_reports(request: Request, reader: OutputReader, line: str) -> None:
    reports = reader.read(line)
    if not reports:
        return
    text = ""
    for report in reports:
        step = {} if report.step is None else {"step": report.step}
        text += json.dumps({**step, "metrics": report.metrics, "time": time.time()}) + "\n"
    with contextlib.suppress(OSError), Path(request.folder, "metrics.jsonl").open("ab") as file:
        file.write(text.encode())
    _poke(request)


def _poke(request: Request) -> None:
    """Wake the worker, if one listens."""
    path = request.environment.get("LUTHIER_WAKE")
    if path is None:
        return
    with contextlib.suppress(OSError):
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fifo, b"\n")
        finally:
            os.close(fifo)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _kill_descendants() -> None:
    """Kill what the trial left behind; as subreaper, this process inherits all of it."""
    for _ in range(50):
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        try:
            left = [int(pid) for pid in children.read_text(encoding="ascii").split()]
        except OSError:
            return
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _die_with_launcher() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _load_libc() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None


_LIBC = _load_libc()


def _prctl(option: int, argument: int) -> None:
    if sys.platform == "linux" and _LIBC is not None:
        _LIBC.prctl(option, argument, 0, 0, 0)


def _kernel_oom_kills() -> int:
    """Return the out-of-memory kills of this control group (cgroup v2), 0 where unknown."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="ascii").rpartition("::")[2].strip()
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text(encoding="ascii")
    except (OSError, ValueError):
        return 0
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))


def encode(request: Request) -> bytes:
    """Return a request as the line that `serve` reads."""
    return json.dumps(asdict(request)).encode() + b"\n"


if __name__ == "__main__":
    serve(sys.argv[1:])
