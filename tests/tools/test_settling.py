"""A device is leased again once the memory of its last trial has come back."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from luthier.tools.device_memory import NvmlMemory, belongs_to, open_memory
from luthier.tools.devices import Device, DeviceError, driver_uuids, plan_devices
from luthier.tools.executor_spec import Executor
from luthier.tools.leases import Leases

GIB = 1 << 30
CUDA_0 = Device("cuda:0", 1.0, "0")


class Card:
    """The memory of one device, as the test wants it."""

    def __init__(self) -> None:
        self.foreign = 1 * GIB
        """What programs use that are none of ours."""
        self.by_process: dict[int, int] = {}
        self.lost = False

    def used_bytes(self, device: str) -> int:
        if self.lost:
            raise DeviceError(f"{device} does not answer (GPU is lost)")
        return self.foreign + sum(self.by_process.values())

    def total_bytes(self, device: str) -> int:
        return 16 * GIB

    def processes(self, device: str) -> dict[int, int]:
        return dict(self.by_process)


class Bench:
    """Studies on one device, whose memory and clock the test holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card = Card()
        self.now = 100.0
        self.processes: list[subprocess.Popen[bytes]] = []

    def leases(self, study: str, share: float = 1.0) -> Leases:
        executor = Executor(devices_per_trial=share)
        plan = plan_devices(executor, {"CUDA_VISIBLE_DEVICES": "0"})
        folder, clock = self.folder / "runtime", lambda: self.now
        return Leases(plan, study, folder=folder, memory=self.card, clock=clock)

    def trial(self, name: str, used: int) -> tuple[Path, int]:
        """Start a process of a trial that uses so much; return the attempt's folder and its pid."""
        folder = self.folder / name
        folder.mkdir()
        environment = {"LUTHIER_CONFIG": str(folder / "config.json")}
        process = subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, env=os.environ | environment, start_new_session=True
        )
        self.processes.append(process)
        self.card.by_process[process.pid] = used
        while not belongs_to(process.pid, folder):
            os.sched_yield()  # it has become the program a moment before it has its environment
        return folder, process.pid


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for process in bench.processes:
        with process:
            process.kill()


def run_a_trial(bench: Bench, leases: Leases, name: str = "attempt", used: int = 4 * GIB) -> int:
    """Let a trial take and give back the device, but not its memory; return its process."""
    lease = leases.acquire(attempt_folder=bench.folder / name)
    assert lease is not None
    _, pid = bench.trial(name, used)
    leases.release(lease)
    return pid


def test_a_device_waits_for_the_memory_of_its_last_trial(bench):
    a, b = bench.leases("a"), bench.leases("b")
    pid = run_a_trial(bench, a)
    assert b.acquire() is None
    assert b.refusal() == "cuda:0 still has 4096 MiB in use after a trial of study 'a'"
    assert b.stuck() == {}
    del bench.card.by_process[pid]
    assert b.acquire() is not None


def test_memory_that_somebody_else_used_before_is_not_waited_for(bench):
    bench.card.foreign = 9 * GIB
    a = bench.leases("a")
    del bench.card.by_process[run_a_trial(bench, a)]
    assert a.acquire() is not None


def test_a_little_more_than_before_counts_as_given_back(bench):
    a = bench.leases("a")
    del bench.card.by_process[run_a_trial(bench, a)]
    bench.card.foreign += 100 << 20
    assert a.acquire() is not None


def test_what_is_not_ours_is_waited_for_only_so_long(bench):
    a = bench.leases("a")
    del bench.card.by_process[run_a_trial(bench, a)]
    bench.card.foreign += 4 * GIB
    assert a.acquire() is None
    bench.now += 31.0
    assert a.acquire() is not None


def test_a_process_of_ours_that_holds_on_makes_the_device_stuck(bench):
    a = bench.leases("a")
    pid = run_a_trial(bench, a)
    bench.now += 31.0
    assert a.acquire() is None
    reason = f"process {pid} of a trial of study 'a' still holds 4096 MiB"
    assert a.stuck() == {"cuda:0": reason}
    assert a.refusal() == f"cuda:0 is not free: {reason}"
    del bench.card.by_process[pid]
    assert a.acquire() is not None
    assert a.stuck() == {}


def test_what_was_taken_out_of_service_is_stuck_no_more(bench):
    a = bench.leases("a")
    run_a_trial(bench, a)
    bench.now += 31.0
    assert a.acquire() is None
    for device, reason in a.stuck().items():
        a.take_out(device, reason)
    assert a.acquire() is None
    assert a.stuck() == {}


def test_a_trial_that_died_with_its_worker_is_waited_for_too(bench):
    folder, pid = bench.trial("attempt", 4 * GIB)
    (folder / "process.json").write_text('{"abandoned": true}', encoding="utf-8")
    child = os.fork()
    if child == 0:
        leases = bench.leases("a")
        bench.card.by_process = {}
        assert leases.acquire(attempt_folder=folder) is not None
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    b = bench.leases("b")
    assert b.acquire() is None
    assert "still has 4096 MiB in use after a trial of study 'a'" in b.refusal()


class TestAmongTrialsThatShareADevice:
    def test_what_the_others_use_is_theirs(self, bench):
        a, b = bench.leases("a", share=0.5), bench.leases("b", share=0.5)
        assert a.acquire(attempt_folder=bench.folder / "a") is not None
        bench.trial("a", 5 * GIB)
        pid = run_a_trial(bench, b, "b", used=3 * GIB)
        assert b.acquire() is None
        assert b.refusal() == "cuda:0 still has 3072 MiB in use after a trial of study 'b'"
        del bench.card.by_process[pid]
        assert b.acquire() is not None

    def test_one_whose_processes_cannot_be_told_may_use_its_share(self, bench):
        a, b = bench.leases("a", share=0.5), bench.leases("b", share=0.5)
        assert a.acquire(attempt_folder=bench.folder / "elsewhere") is not None
        del bench.card.by_process[run_a_trial(bench, b, "b")]
        bench.card.foreign += 7 * GIB
        assert b.acquire() is not None


def test_a_device_that_does_not_answer_is_stuck(bench):
    a = bench.leases("a")
    bench.card.lost = True
    assert a.acquire() is None
    assert a.stuck() == {"cuda:0": "cuda:0 does not answer (GPU is lost)"}
    assert a.refusal() == "cuda:0 does not answer (GPU is lost)"
    bench.card.lost = False
    assert a.acquire() is not None


def test_a_process_is_its_trials_in_whichever_session_it_is(bench):
    folder, pid = bench.trial("attempt", 0)
    other, _ = bench.trial("other", 0)
    assert belongs_to(pid, folder)
    assert not belongs_to(pid, other)


def test_a_process_without_an_environment_is_known_by_its_session(tmp_path):
    command = ["env", "-i", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert not belongs_to(process.pid, tmp_path)
        launcher = {"pid": 1, "start": 0, "trial": {"pid": process.pid, "start": 0}}
        (tmp_path / "process.json").write_text(json.dumps(launcher), encoding="utf-8")
        assert belongs_to(process.pid, tmp_path)
        process.kill()


def test_a_process_that_is_gone_belongs_to_nobody(bench):
    folder, pid = bench.trial("attempt", 0)
    with bench.processes[-1] as process:
        process.kill()
    assert not belongs_to(pid, folder)


def test_the_cpu_has_no_memory_of_its_own_to_watch():
    assert open_memory(plan_devices(Executor(device="cpu")).devices) is None


@pytest.mark.skipif(driver_uuids() is not None, reason="this machine has a driver")
def test_without_a_driver_memory_is_not_watched():
    assert open_memory([CUDA_0]) is None


@pytest.mark.gpu
@pytest.mark.skipif(not driver_uuids(), reason="needs a CUDA device")
def test_the_driver_tells_what_a_process_uses():
    import torch

    memory = open_memory([CUDA_0])
    assert isinstance(memory, NvmlMemory)
    before = memory.used_bytes("cuda:0")
    held = torch.zeros(GIB, dtype=torch.uint8, device="cuda:0")
    torch.cuda.synchronize()
    assert memory.used_bytes("cuda:0") - before >= held.nbytes
    assert memory.total_bytes("cuda:0") > memory.used_bytes("cuda:0")
    assert memory.processes("cuda:0")


Fake = Callable[..., object]


class TestTheDriver:
    """What NVML answers, and how it is read."""

    @pytest.fixture
    def driver(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Fake], None]:
        import pynvml

        def answer(name: str, function: Fake) -> None:
            monkeypatch.setattr(pynvml, name, function)

        answer("nvmlInit", lambda: None)
        answer("nvmlDeviceGetHandleByIndex", lambda index: f"index {index}")
        answer("nvmlDeviceGetHandleByUUID", lambda uuid: f"uuid {uuid}")
        return answer

    def test_a_device_without_an_index_is_found_by_its_uuid(self, driver):
        asked = []

        def info(handle):
            asked.append(handle)
            return type("Info", (), {"used": 5, "total": 7})

        driver("nvmlDeviceGetMemoryInfo", info)
        memory = NvmlMemory({"cuda:0": "0", "cuda:MIG-1a2b": "MIG-1a2b-3c4d"})
        assert memory.used_bytes("cuda:0") == 5
        assert memory.total_bytes("cuda:MIG-1a2b") == 7
        assert asked == ["index 0", "uuid MIG-1a2b-3c4d"]

    def test_a_process_whose_memory_is_not_told_is_listed_all_the_same(self, driver):
        found = [
            type("Process", (), {"pid": 7, "usedGpuMemory": 3}),
            type("Process", (), {"pid": 8, "usedGpuMemory": None}),
        ]
        driver("nvmlDeviceGetComputeRunningProcesses", lambda handle: found)
        assert NvmlMemory({"cuda:0": "0"}).processes("cuda:0") == {7: 3, 8: 0}

    def test_a_lost_device_is_an_error_with_the_way_out(self, driver):
        import pynvml

        def lost(handle):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

        memory = NvmlMemory({"cuda:0": "0"})
        driver("nvmlDeviceGetMemoryInfo", lost)
        with pytest.raises(DeviceError, match=r"cuda:0 does not answer \(.*[Ll]ost.*nvidia-smi"):
            memory.used_bytes("cuda:0")

    @pytest.mark.parametrize(
        ("error", "is_watched"), [("NOT_SUPPORTED", False), ("GPU_IS_LOST", True)]
    )
    def test_only_a_device_without_memory_of_its_own_is_not_watched(
        self, driver, error, is_watched
    ):
        import pynvml

        def fail(handle):
            raise pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{error}"))

        driver("nvmlDeviceGetMemoryInfo", fail)
        assert (open_memory([CUDA_0]) is not None) == is_watched
