import os
import subprocess
import sys

import pytest
from luthier.tools.devices import DeviceError, cuda_devices, plan_slots, thread_limits
from luthier.tools.spec import Executor

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("inherited", "devices"),
    [
        ("", []),
        ("-1", []),
        ("0", ["0"]),
        ("3, 1", ["3", "1"]),
        ("GPU-8f2e,MIG-17", ["GPU-8f2e", "MIG-17"]),
        ("0,-1,1", ["0"]),  # CUDA sees only what stands before the first that is not there
    ],
)
def test_an_inherited_cuda_visible_devices_is_respected(inherited, devices):
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": inherited}) == devices


def test_asking_for_devices_does_not_initialise_cuda():
    code = (
        "import sys; from luthier.tools.devices import cuda_devices; cuda_devices({});"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_cuda_without_a_device_is_an_error_with_the_way_out():
    with pytest.raises(DeviceError, match="no CUDA device is visible; use `device: auto` or"):
        plan_slots(Executor(device="cuda"), {"CUDA_VISIBLE_DEVICES": ""})


def test_more_slots_than_devices_are_refused():
    with pytest.raises(DeviceError, match="executor.slots is 3, but only 2 CUDA devices are"):
        plan_slots(Executor(slots=3), {"CUDA_VISIBLE_DEVICES": "0,1"})


def test_each_cuda_slot_sees_its_own_device():
    slots = plan_slots(Executor(), {"CUDA_VISIBLE_DEVICES": "2,5"})
    assert [slot.name for slot in slots] == ["cuda:2", "cuda:5"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["2", "5"]


def test_fewer_slots_than_devices_take_the_first():
    slots = plan_slots(Executor(slots=1), {"CUDA_VISIBLE_DEVICES": "2,5"})
    assert [slot.name for slot in slots] == ["cuda:2"]


def test_the_cpu_is_used_where_asked_for_and_its_trials_see_no_device():
    slots = plan_slots(Executor(device="cpu", slots=3), {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert [slot.name for slot in slots] == ["cpu:0", "cpu:1", "cpu:2"]
    assert {slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots} == {""}


def test_without_a_device_auto_is_the_cpu_with_a_slot_a_core():
    slots = plan_slots(Executor(), {"CUDA_VISIBLE_DEVICES": ""})
    assert len(slots) == min(CORES, 8)
    assert all(slot.name.startswith("cpu:") for slot in slots)


@pytest.mark.parametrize(
    ("executor", "threads"),
    [
        (Executor(device="cpu", slots=1), CORES),
        (Executor(device="cpu", slots=CORES), 1),
        (Executor(device="cpu", slots=CORES * 4), 1),
        (Executor(device="cpu", slots=2, threads=5), 5),
    ],
)
def test_cores_are_shared_among_the_slots(executor, threads):
    for slot in plan_slots(executor):
        assert slot.environment.items() >= thread_limits(threads).items()


def test_thread_limits_are_known_to_the_numeric_libraries():
    limits = thread_limits(3)
    assert limits["OMP_NUM_THREADS"] == limits["MKL_NUM_THREADS"] == "3"
    assert limits["OPENBLAS_NUM_THREADS"] == "3"
