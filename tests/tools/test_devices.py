import os
import subprocess
import sys

import pytest
from luthier.tools import devices
from luthier.tools.devices import (
    Device,
    DeviceError,
    cuda_devices,
    plan_devices,
    thread_limits,
)
from luthier.tools.executor_spec import Executor

CORES = len(os.sched_getaffinity(0))
UUIDS = ["GPU-8f2e11", "GPU-77aa22", "GPU-c0ffee", "GPU-dddd44"]


@pytest.fixture(autouse=True)
def no_driver(monkeypatch):
    """Whatever this machine has, there is no driver, so that a mask is taken at its word."""
    monkeypatch.setattr(devices, "driver_uuids", lambda: None)


@pytest.fixture
def driver(monkeypatch):
    """A driver with four devices."""
    monkeypatch.setattr(devices, "driver_uuids", lambda: UUIDS)


def plan(visible="0,1,2,3", **executor):
    return plan_devices(Executor(**executor), {"CUDA_VISIBLE_DEVICES": visible})


def names(planned):
    return [device.name for device in planned.devices]


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


@pytest.mark.parametrize(
    ("inherited", "devices"),
    [
        (None, ["0", "1", "2", "3"]),
        ("GPU-77aa22,GPU-c0", ["1", "2"]),
        ("3,GPU-8f", ["3", "0"]),
        ("0,7,1", ["0"]),  # there is no device 7
        ("GPU-none,0", []),
        ("MIG-17,0", ["MIG-17", "0"]),
        ("1,1", ["1"]),
    ],
)
def test_a_mask_is_mapped_to_the_indices_of_the_driver(driver, inherited, devices):
    environment = {} if inherited is None else {"CUDA_VISIBLE_DEVICES": inherited}
    assert cuda_devices(environment) == devices


def test_asking_for_devices_does_not_initialise_cuda():
    code = (
        "import sys; from luthier.tools.devices import cuda_devices; cuda_devices({});"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_cuda_without_a_device_is_an_error_with_the_way_out():
    with pytest.raises(DeviceError, match="no CUDA device is visible; use `device: auto` or"):
        plan_devices(Executor(device="cuda"), {"CUDA_VISIBLE_DEVICES": ""})


@pytest.mark.parametrize(
    ("executor", "asked"),
    [
        ({"devices": ["1"]}, "devices is ['1']"),
        ({"devices_per_trial": 2}, "devices_per_trial is 2"),
        ({"devices_per_trial": 0.5}, "devices_per_trial is 0.5"),
    ],
)
def test_what_is_about_cuda_devices_is_refused_where_there_are_none(executor, asked):
    with pytest.raises(DeviceError) as error:
        plan("", **executor)
    assert str(error.value).startswith(f"executor.{asked}, but no CUDA device is visible; use ")


class TestShares:
    def test_by_default_each_trial_has_a_device(self):
        planned = plan("2,5")
        assert planned.devices == (Device("cuda:2", 1.0, "2"), Device("cuda:5", 1.0, "5"))
        assert (planned.per_trial, planned.share, planned.slots) == (1, 1.0, 2)

    @pytest.mark.parametrize(("each", "slots"), [(1, 4), (2, 2), (3, 1), (4, 1)])
    def test_a_trial_may_have_several(self, each, slots):
        planned = plan(devices_per_trial=each)
        assert (planned.per_trial, planned.share, planned.slots) == (each, 1.0, slots)

    @pytest.mark.parametrize(
        ("each", "slots"), [(0.5, 8), (0.1, 40), (0.3, 12), (0.34, 8), (0.75, 4), (1e-9, 1024)]
    )
    def test_several_trials_may_share_one(self, each, slots):
        planned = plan(devices_per_trial=each)
        assert (planned.per_trial, planned.share, planned.slots) == (1, each, slots)

    def test_the_cpu_is_one_device_whose_cores_are_shared(self):
        planned = plan("0", device="cpu", slots=4)
        assert planned.devices == (Device("cpu", float(CORES)),)
        assert (planned.per_trial, planned.share, planned.slots) == (1, CORES / 4, 4)

    def test_more_devices_a_trial_than_there_are_are_refused(self):
        with pytest.raises(DeviceError, match="devices_per_trial is 5, but only 4 CUDA devices"):
            plan(devices_per_trial=5)

    @pytest.mark.parametrize(("each", "most"), [(2, 2), (0.5, 8)])
    def test_more_slots_than_the_devices_hold_are_refused(self, each, most):
        with pytest.raises(DeviceError) as error:
            plan(devices_per_trial=each, slots=9)
        assert f"hold {most} trials with `devices_per_trial: {each}`" in str(error.value)

    def test_instances_of_a_device_cannot_be_joined(self):
        with pytest.raises(DeviceError, match="CUDA gives a process only one .* 'MIG-2'; use"):
            plan("MIG-2,MIG-3", devices_per_trial=2)

    @pytest.mark.parametrize(("each", "slots"), [(2, None), (2, 1), (0.25, None)])
    def test_cores_are_shared_among_the_processes(self, each, slots):
        planned = plan(devices_per_trial=each, slots=slots)
        assert planned.threads == max(1, CORES // (planned.slots * planned.per_trial))


class TestChoice:
    def test_an_index_is_the_one_that_cuda_gives(self):
        assert names(plan("2,5,7", devices=["2", "0"])) == ["cuda:7", "cuda:2"]

    def test_a_uuid_is_that_of_the_driver(self, driver):
        assert names(plan("3,1", devices=["GPU-77aa22"])) == ["cuda:1"]

    def test_an_instance_has_a_short_name_and_keeps_its_whole_uuid(self):
        (device,) = plan("MIG-11112222-3333", devices=["MIG-11112222-3333"]).devices
        assert device == Device("cuda:MIG-11112222", 1.0, "MIG-11112222-3333")

    @pytest.mark.parametrize("name", ["4", "cuda:0", "GPU-beef"])
    def test_a_device_that_is_not_there_is_refused_with_those_that_are(self, driver, name):
        with pytest.raises(DeviceError) as error:
            plan("1,2", devices=[name])
        there = "0, 1, GPU-77aa22, GPU-c0ffee"
        expected = f"executor.devices names {name!r}, which is not there; use some of {there}"
        assert str(error.value) == expected

    def test_a_device_that_is_named_in_two_ways_is_refused(self, driver):
        with pytest.raises(DeviceError, match="the same device twice, as 'GPU-8f2e11'"):
            plan(devices=["0", "GPU-8f2e11"])


class TestEnvironment:
    def test_a_trial_sees_its_devices_in_the_drivers_order(self):
        pinned = plan("2,5,7", devices_per_trial=2).environment(["cuda:2", "cuda:7"])
        assert pinned["CUDA_VISIBLE_DEVICES"] == "2,7"
        assert pinned["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"

    def test_a_trial_on_the_cpu_sees_none(self):
        pinned = plan("0", device="cpu").environment(["cpu"])
        assert pinned.keys() == {"CUDA_VISIBLE_DEVICES", *thread_limits(1)}
        assert pinned["CUDA_VISIBLE_DEVICES"] == ""

    def test_the_command_line_of_torchrun_goes_before_it(self, monkeypatch):
        from torch.distributed.run import parse_args

        for name, value in plan(devices_per_trial=2).environment(["cuda:0", "cuda:1"]).items():
            monkeypatch.setenv(name, value)
        ours, own = parse_args(["train.py"]), parse_args(["--nproc-per-node=3", "train.py"])
        assert (ours.nproc_per_node, ours.rdzv_endpoint) == ("2", "localhost:0")
        assert own.nproc_per_node == "3"

    @pytest.mark.slow
    def test_torchrun_starts_a_process_a_device_and_two_trials_do_not_meet(self, tmp_path):
        train = tmp_path / "train.py"
        train.write_text(
            "import torch, torch.distributed as dist\n"
            "dist.init_process_group('gloo')\n"
            "total = torch.tensor(dist.get_rank() + 1)\n"
            "dist.all_reduce(total)\n"
            "if dist.get_rank() == 0:\n"
            "    print(dist.get_world_size(), total.item())\n"
            "dist.destroy_process_group()\n",
            encoding="utf-8",
        )
        inherited = os.environ | {"CUDA_VISIBLE_DEVICES": "0,1"}
        planned = plan_devices(Executor(devices_per_trial=2), inherited)
        environment = inherited | planned.environment(names(planned))
        command = [sys.executable, "-m", "torch.distributed.run", str(train)]
        trials = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        assert [trial.communicate()[0].split() for trial in trials] == [["2", "3"]] * 2


def test_more_slots_than_devices_are_refused():
    with pytest.raises(DeviceError, match="executor.slots is 3, but only 2 CUDA devices are"):
        plan_devices(Executor(slots=3), {"CUDA_VISIBLE_DEVICES": "0,1"})


def test_a_trial_sees_its_own_devices_alone():
    made = plan_devices(Executor(), {"CUDA_VISIBLE_DEVICES": "2,5"})
    assert [device.name for device in made.devices] == ["cuda:2", "cuda:5"]
    seen = [made.environment([d.name])["CUDA_VISIBLE_DEVICES"] for d in made.devices]
    assert seen == ["2", "5"]


def test_the_cpu_is_used_where_asked_for_and_its_trials_see_no_device():
    made = plan_devices(Executor(device="cpu", slots=3), {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert (made.devices, made.slots) == ((Device("cpu", float(CORES)),), 3)
    assert made.environment(["cpu"])["CUDA_VISIBLE_DEVICES"] == ""


def test_without_a_device_auto_is_the_cpu_with_a_slot_a_core():
    made = plan_devices(Executor(), {"CUDA_VISIBLE_DEVICES": ""})
    assert made.slots == min(CORES, 8)
    assert [device.name for device in made.devices] == ["cpu"]


def test_a_pretend_lab_has_the_devices_that_it_lists():
    lab = {"kind": "simulated", "lab": {"devices": [{}, {}]}}
    made = plan_devices(Executor.model_validate(lab | {"devices_per_trial": 0.5}))
    assert [device.name for device in made.devices] == ["lab:0", "lab:1"]
    assert (made.slots, made.share, made.is_cuda) == (4, 0.5, False)
    with pytest.raises(DeviceError, match="devices_per_trial is 3, but only 2 pretend devices"):
        plan_devices(Executor.model_validate(lab | {"devices_per_trial": 3}))


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
    given = plan_devices(executor).environment(["cpu"])
    assert given.items() >= thread_limits(threads).items()


def test_thread_limits_are_known_to_the_numeric_libraries():
    limits = thread_limits(3)
    assert limits["OMP_NUM_THREADS"] == limits["MKL_NUM_THREADS"] == "3"
    assert limits["OPENBLAS_NUM_THREADS"] == "3"
