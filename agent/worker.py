"""The process that runs one study: its lease, its heartbeat, its mirror, its signals.

python -m luthier.agent.worker NAME     runs a stored study, detached from any front end
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..tools.clock import Clock, VirtualClock
from ..tools.database import DiskFullError, LedgerError
from ..tools.device_memory import open_memory
from ..tools.devices import DevicePlan, plan_devices
from ..tools.errors import LuthierError
from ..tools.executors.local import LocalExecutor, tail
from ..tools.executors.simulated import SimulatedExecutor
from ..tools.feasibility import MemoryEstimator, memory_limit
from ..tools.lease_file import LeaseError
from ..tools.leases import Lease, Leases
from ..tools.ledger import Ledger, open_ledger
from ..tools.objective import build_request, check_objective, preloads
from ..tools.optuna_bridge import Mirror
from ..tools.records import StudyRecord
from ..tools.spec import RecipeObjective, StudySpec
from ..tools.workspace import Workspace, find_workspace
from ..tools.writer import LeaseLostError, Writer
from .classical import propose, propose_at_random
from .limits import Policy
from .llm.settings import load_settings
from .proposals import ProposalQueue, Propose
from .tuner import Ending, OnTrial, Tuner
from .vetoing import Vetoing

if TYPE_CHECKING:
    from .proposer import Hybrid

_BEAT_SECONDS = 1.0
_MIRROR_SECONDS = 2.0
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class WorkerError(LuthierError, RuntimeError):
    """The worker had to leave its study; running trials go on and the next worker adopts them."""


def check_study(spec: StudySpec, working_directory: Path) -> DevicePlan:
    """Check that a study can be run here, and return how its trials share the devices.

    Raises:
        SpecError: If its objective cannot be run.
        DeviceError: If the devices that it asks for are not there.
    """
    check_objective(spec, working_directory)
    return plan_devices(spec.executor)


def run_study(
    ledger: Ledger,
    study: StudyRecord,
    workspace: Workspace,
    *,
    pickled: bytes | None = None,
    policy: Policy | None = None,
    on_trial: OnTrial | None = None,
) -> Ending:
    """Run a study in this process until it ends, and return how.

    A first Ctrl-C or SIGTERM stops it and lets its trials save their state; a second one kills
    them.

    Args:
        ledger: The workspace's ledger.
        study: A study of it.
        workspace: Where files go.
        pickled: The objective, pickled by value, if it cannot be imported.
        policy: The limits of the loop, if not the usual ones.
        on_trial: Called with every trial that ends.

    Raises:
        SpecError: If its objective cannot be run.
        DeviceError: If the devices that it asks for are not there.
        SettingsError: If a language model is half set up.
        LeaseHeldError: If another worker runs it.
        WorkerError: If the disk is full or cannot be written, or the lease went to another worker.
    """
    plan = check_study(study.spec, study.working_directory)
    load_settings(workspace)
    folder = workspace.study_folder(study.name)
    try:
        with _lease(ledger, study) as writer:
            folder.mkdir(parents=True, exist_ok=True)
            if pickled is not None:
                # Replaced whole: a trial of an earlier run may be reading it just now.
                temporary = folder / "objective.pkl.tmp"
                temporary.write_bytes(pickled)
                temporary.replace(folder / "objective.pkl")
            return _run(ledger, writer, workspace, plan, policy, on_trial)
    except LeaseLostError as error:
        raise WorkerError(str(error)) from None
    except LeaseError as error:
        raise _left(study, str(error), "mend that") from None
    except (DiskFullError, OSError) as error:
        if isinstance(error, DiskFullError) or error.errno in _FULL:
            full = f"there is no space left on the disk of {str(workspace.folder)!r}"
            raise _left(study, full, "free some") from None
        if error.errno in _UNWRITABLE:
            refused = f"{str(error.filename)!r} cannot be written ({error.strerror})"
            raise _left(study, refused, "mend that") from None
        raise


def _left(study: StudyRecord, why: str, remedy: str) -> WorkerError:
    return WorkerError(
        f"{why}; running trials go on and nothing is lost: {remedy}, then "
        f"`luthier resume {study.name}`"
    )


@contextlib.contextmanager
def _lease(ledger: Ledger, study: StudyRecord) -> Iterator[Writer]:
    """Hold a study's lease, and give it back however the run ends, so that nobody waits for it."""
    writer = ledger.acquire(study, open_clock(ledger, study))
    try:
        yield writer
    finally:
        with contextlib.suppress(LedgerError):
            writer.release()


def open_clock(ledger: Ledger, study: StudyRecord) -> Clock:
    """Return the clock that a study runs on; a pretend one goes on from the newest event."""
    lab = study.spec.executor.lab
    return time if lab is None else VirtualClock(ledger.last_event_time(study), lab.rate)


def open_executor(workspace: Workspace, writer: Writer) -> LocalExecutor | SimulatedExecutor:
    """Return what runs a study's trials; its folder exists."""
    study = writer.study
    if isinstance(writer.clock, VirtualClock):
        return SimulatedExecutor(study.spec.executor, writer.clock, study.created_at)
    return LocalExecutor(workspace.study_folder(study.name), preloads(study.spec))


def open_leases(workspace: Workspace, writer: Writer, plan: DevicePlan) -> Leases:
    """Return a study's leases: of this machine's devices, or of its pretend ones."""
    study = writer.study
    if study.spec.executor.lab is None:
        return Leases(plan, study.name, memory=open_memory(plan.devices))
    folder = workspace.lab_folder(study.name)
    # Nobody else asks for its devices, and its clock jumps.
    return Leases(plan, study.name, folder=folder, clock=writer.clock.time, ticket_seconds=math.inf)


def _hybrid(
    ledger: Ledger,
    study: StudyRecord,
    workspace: Workspace,
    stack: contextlib.ExitStack,
    *,
    ahead: bool,
) -> Hybrid | None:
    """Return what proposes with a language model, None if none is set up or wanted."""
    spec = study.spec
    settings = None if spec.adviser.mode == "off" else load_settings(workspace)
    if settings is None or len(spec.objectives) > 1:
        return None
    from .proposer import open_hybrid  # who has no language model does not wait for its imports

    return open_hybrid(ledger, study, workspace, settings, stack, ahead=ahead)


def _vetoing(
    ledger: Ledger,
    study: StudyRecord,
    workspace: Workspace,
    plan: DevicePlan,
    executor: LocalExecutor | SimulatedExecutor,
    stack: contextlib.ExitStack,
    proposing: Propose,
) -> Propose:
    """Return what proposes only what fits into memory, where that can be told before it runs."""
    spec = study.spec
    if not isinstance(spec.objective, RecipeObjective) or isinstance(executor, SimulatedExecutor):
        return proposing
    limit = memory_limit(spec, plan, open_memory(plan.devices))
    if limit is None:
        return proposing
    folder = workspace.study_folder(study.name)
    for old in folder.glob("estimator-*"):  # what a worker that was killed had may end only now
        shutil.rmtree(old, ignore_errors=True)
    request = build_request(
        spec,
        study_folder=folder,
        attempt_folder=folder / f"estimator-{os.getpid()}-{time.monotonic_ns()}",
        working_directory=study.working_directory,
        configuration={},
        trial=0,
        attempt=0,
        lease=Lease("", (), plan.environment(())),
        limit_seconds=None,
    )
    estimate = MemoryEstimator(executor, request, limit, cuda=plan.is_cuda)
    stack.callback(estimate.close)
    return Vetoing(proposing, estimate, ledger.decisions(study).values())


@contextlib.contextmanager
def assemble(
    ledger: Ledger,
    writer: Writer,
    workspace: Workspace,
    plan: DevicePlan,
    policy: Policy | None = None,
    on_trial: OnTrial | None = None,
) -> Iterator[Tuner]:
    """Put a study's tuner together with what it needs, and let go of that in the end."""
    workspace.study_folder(writer.study.name).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(contextlib.closing(open_executor(workspace, writer)))
        policy = policy or Policy()
        ahead = plan.slots > 1 or math.isfinite(policy.patience_share)
        hybrid = _hybrid(ledger, writer.study, workspace, stack, ahead=ahead)
        classical: Propose = lambda trials: propose(writer.study.spec, trials)  # noqa: E731
        feasible = _vetoing(
            ledger, writer.study, workspace, plan, executor, stack, hybrid or classical
        )
        proposals = ProposalQueue(
            feasible,
            lambda trials: propose_at_random(writer.study.spec, trials),
            depth=plan.slots,
            on_ready=executor.wake,
        )
        stack.enter_context(contextlib.closing(proposals))
        if hybrid is not None:
            hybrid.adviser.on_news = proposals.renew
        leases = stack.enter_context(contextlib.closing(open_leases(workspace, writer, plan)))
        yield Tuner(
            ledger,
            writer,
            executor,
            leases,
            proposals,
            workspace,
            policy,
            on_trial,
            None if hybrid is None else hybrid.adviser.accounts,
            None if hybrid is None else hybrid.reviewer,
        )


def _run(
    ledger: Ledger,
    writer: Writer,
    workspace: Workspace,
    plan: DevicePlan,
    policy: Policy | None,
    on_trial: OnTrial | None,
) -> Ending:
    mirroring = _Mirroring(ledger, writer.study, workspace)
    with (
        assemble(ledger, writer, workspace, plan, policy, on_trial) as tuner,
        _signals(tuner),
        _background("heartbeat", _BEAT_SECONDS, partial(_beat, writer, tuner)),
        _background("mirror", _MIRROR_SECONDS, mirroring),
    ):
        return tuner.run()


def _beat(writer: Writer, tuner: Tuner) -> None:
    # A lease that is lost shows when the loop looks for wishes.
    with contextlib.suppress(LedgerError):
        writer.heartbeat(tuner.wall_seconds())


class _Mirroring:
    """Keeps the mirror up to date; it is a copy, so its failures cost the study nothing."""

    def __init__(self, ledger: Ledger, study: StudyRecord, workspace: Workspace) -> None:
        self._ledger = ledger
        self._study = study
        self._path = workspace.mirror_path
        self._log = workspace.study_folder(study.name) / "worker.log"
        self._mirror: Mirror | None = None
        self._seen = -1

    def __call__(self) -> None:
        try:
            version = self._ledger.version(self._study)
            if version == self._seen:
                return
            if self._mirror is None:
                self._mirror = Mirror(self._path, self._study.spec)
            self._mirror.sync(self._ledger.trials(self._study, curves=True))
            self._seen = version
        except Exception as error:  # whatever Optuna's storage raises
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
                log.write(f"{time.ctime()} the Optuna mirror was not updated: {error}\n")


@contextlib.contextmanager
def _background(name: str, period: float, work: partial[None] | _Mirroring) -> Iterator[None]:
    """Call `work` every `period` seconds in a thread of its own, and once more at the end."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(period):
            work()
        work()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _signals(tuner: Tuner) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the study, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda *_: tuner.interrupt())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_detached(ledger: Ledger, study: StudyRecord, workspace: Workspace) -> None:
    """Start a worker for a study in a process of its own, and wait until it holds the lease.

    Raises:
        WorkerError: If it ended at once; with what it said.
    """
    folder = workspace.study_folder(study.name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "luthier.agent.worker", study.name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=study.working_directory,
            env={**os.environ, "LUTHIER_HOME": str(workspace.folder)},
            start_new_session=True,
        )
    while process.poll() is None:
        owner = ledger.owner(study)
        if owner is not None and owner.pid == process.pid:
            process.returncode = 0  # it outlives this process; nobody waits for it
            return
        time.sleep(0.05)
    if process.returncode < 0:
        raise WorkerError(f"the worker was ended by signal {-process.returncode} as it started")
    if process.returncode > 0:
        raise WorkerError(tail(folder, "worker.log", lines=1))


def main(arguments: list[str]) -> int:
    """Run the study that the first argument names."""
    name = arguments[0]
    workspace = find_workspace()
    try:
        ledger = open_ledger(workspace.ledger_path)
        print(run_study(ledger, ledger.study(name), workspace).reason)
    except LuthierError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
