"""A workspace with real ledgers, real trial processes and real workers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.limits import Policy
from luthier.agent.tuner import Ending, OnTrial, Tuner
from luthier.agent.worker import assemble, open_clock
from luthier.tools.devices import plan_devices
from luthier.tools.executors.processes import start_ticks
from luthier.tools.ledger import open_ledger
from luthier.tools.spec import parse_spec
from luthier.tools.study import Study, open_or_create
from luthier.tools.workspace import Workspace
from luthier.tools.writer import Writer

DEADLINE = 90.0
"""Seconds after which something that ought to happen has not; generous, for a loaded machine."""

QUICK = Policy(poll_seconds=0.05)

PRELUDE = """\
import json, os, signal, sys
values = dict(zip(sys.argv[1::2], sys.argv[2::2]))
x = float(values["--x"])
trial, attempt = (int(os.environ["LUTHIER_" + name]) for name in ("TRIAL", "ATTEMPT"))
def report(step=None, **metrics):
    print(json.dumps({"step": step, **metrics}), flush=True)
def gate(name="gate"):
    os.read(os.open(name, os.O_RDONLY), 1)  # a FIFO: waits until the test opens the gate
"""

GOOD = "report(loss=x)"
"""A trial that takes no time."""


def until(condition: Callable[[], Any], what: Callable[[], str]) -> Any:
    """Look every 10 ms until a condition holds, and return what it returned.

    Args:
        condition: What is waited for.
        what: Says what was waited for, and what there was instead.
    """
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what()}"
        time.sleep(0.01)
    return value


class Running:
    """A run of a study in a thread of its own."""

    def __init__(self, run: Callable[[], Ending]) -> None:
        self._result: Ending | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._keep, args=(run,), daemon=True)
        self._thread.start()

    def _keep(self, run: Callable[[], Ending]) -> None:
        try:
            self._result = run()
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Raise what it raised, if it has failed."""
        if self._error is not None:
            raise self._error

    def ending(self) -> Ending:
        """Wait for its end, and return or raise what it did."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the run does not end"
        self.check()
        assert self._result is not None
        return self._result


class Lab:
    """A folder with a training script, a workspace and its ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace(folder / "home")
        self.ledger = open_ledger(self.workspace.ledger_path)
        self.tuner: Tuner | None = None
        self.processes: list[subprocess.Popen[str]] = []
        self.runs: list[Running] = []
        self.gates: dict[str, int] = {}

    def create(self, train: str = GOOD, name: str = "small", **changes: Any) -> Study:
        """Store a study of a script with this body."""
        script = self.folder / f"{name}.py"
        script.write_text(PRELUDE + train, encoding="utf-8")
        data: dict[str, Any] = {
            "name": name,
            # Without `site` an interpreter starts in half the time.
            "objective": {"kind": "script", "command": ["python", "-I", "-S", script.name]},
            "space": {"x": {"type": "float", "low": 0.5, "high": 2.0}},
            "metrics": {"loss": {"direction": "minimize"}},
            "budget": {"trials": 3},
            "executor": {"device": "cpu", "slots": 1, "grace_seconds": 5},
            "sampler": {"kind": "random"},
            "pruner": {"kind": "none"},
        }
        spec = parse_spec(data | changes)
        record = open_or_create(self.ledger, spec, self.folder)
        return Study(self.ledger, self.workspace, record.name)

    def run(
        self,
        study: Study,
        policy: Policy = QUICK,
        on_trial: OnTrial | None = None,
        writer: Writer | None = None,
        slots: int | None = None,
    ) -> Ending:
        """Run a study in this thread, without the worker around the tuner."""
        writer = writer or self.ledger.acquire(study.record, open_clock(self.ledger, study.record))
        plan = plan_devices(study.spec.executor)
        plan = replace(plan, slots=min(plan.slots, slots or plan.slots))
        with contextlib.ExitStack() as stack:
            stack.callback(writer.release)
            tuner = stack.enter_context(
                assemble(self.ledger, writer, self.workspace, plan, policy, on_trial)
            )
            self.tuner = tuner
            stack.callback(lambda: writer.heartbeat(tuner.wall_seconds()))
            return tuner.run()

    def start(self, study: Study, policy: Policy = QUICK, slots: int | None = None) -> Running:
        """Run a study in another thread."""
        run = Running(lambda: self.run(study, policy, slots=slots))
        self.runs.append(run)
        return run

    def start_worker(self, study: Study) -> subprocess.Popen[str]:
        """Run a study in a process of its own, and wait until it holds the lease."""
        process = subprocess.Popen(
            [sys.executable, "-m", "luthier.agent.worker", study.name],
            env={**os.environ, "LUTHIER_HOME": str(self.workspace.folder)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        until(lambda: study.owner is not None or process.poll() is not None, lambda: "the lease")
        return process

    def gate(self, name: str = "gate") -> None:
        """Make a gate that trials wait at."""
        os.mkfifo(self.folder / name)
        # Opened for reading too, so that it never waits for a trial.
        self.gates[name] = os.open(self.folder / name, os.O_RDWR)

    def open_gate(self, name: str = "gate") -> None:
        """Let one trial pass a gate, now or when it comes there."""
        os.write(self.gates[name], b".")

    def wait_for(self, study: Study, kind: str, count: int = 1, trial: int | None = None) -> None:
        """Wait until so many events of a kind have happened."""

        def happened() -> bool:
            self.check()
            found = [e for e in study.events() if e.kind == kind and trial in (None, e.trial)]
            return len(found) >= count

        until(happened, lambda: f"{count} events {kind!r} in {study.events()}")

    def wait_for_report(self, study: Study, trial: int = 0, step: int = 1) -> None:
        """Wait until a running trial's report is in the ledger."""

        def reported() -> bool:
            self.check()
            latest = self.ledger.latest_reports(study.record).get(trial, {})
            return any(reached >= step for reached, _ in latest.values())

        until(reported, lambda: f"step {step} of trial {trial} of {study.trials()}")

    def check(self) -> None:
        """Raise what any run has raised, rather than wait for what it would have done."""
        for run in self.runs:
            run.check()

    def close(self) -> None:
        """Kill whatever a test has left running."""
        for process in self.processes:
            process.kill()
            process.communicate()
        for path in self.workspace.folder.glob("trials/*/*/*/process.json"):
            process_file = json.loads(path.read_text(encoding="utf-8"))
            pid = process_file.get("pid")
            if pid is not None and start_ticks(pid) == process_file["start"]:
                os.kill(pid, signal.SIGKILL)  # a trial dies with its launcher
        for gate in self.gates.values():
            os.close(gate)
        self.ledger.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An empty workspace."""
    lab = Lab(tmp_path)
    yield lab
    lab.close()
