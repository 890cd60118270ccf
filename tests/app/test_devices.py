"""`luthier devices`, and what `luthier doctor` says of them."""

import json
import os
from collections.abc import Iterator

import pytest
from luthier.tools import devices
from luthier.tools.devices import plan_devices
from luthier.tools.executor_spec import Executor
from luthier.tools.leases import Leases

from .conftest import Luthier


@pytest.fixture(autouse=True)
def two_cuda_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "driver_uuids", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


@pytest.fixture
def leases() -> Iterator[Leases]:
    leases = Leases(plan_devices(Executor()), "digits", clock=lambda: 86400.0 * 365)
    yield leases
    leases.close()


def test_devices_are_listed_with_who_holds_them(luthier: Luthier, leases: Leases) -> None:
    leases.acquire()
    head, first, second, cpu = luthier("devices").out.splitlines()

    assert head.split() == ["device", "capacity", "held", "by", "memory", "state"]
    assert first.split() == f"cuda:0 1 digits (pid {os.getpid()}): cuda:0 in service".split()
    assert second.split() == "cuda:1 1 in service".split()
    assert cpu.split()[:3] == ["cpu", str(len(os.sched_getaffinity(0))), "cores"]


def test_devices_are_listed_as_json(luthier: Luthier, leases: Leases) -> None:
    leases.acquire()
    leases.take_out("cuda:1", "it is broken")
    first, second, _ = json.loads(luthier("devices", "--json").out)

    assert first["holders"] == [
        {
            "lease": "cuda:0",
            "share": 1.0,
            "study": "digits",
            "pid": os.getpid(),
            "attempt": None,
        }
    ]
    assert (first["capacity"], first["bytes"], first["out_of_service"]) == (1.0, None, None)
    assert second["out_of_service"] == {"reason": "it is broken", "since": 86400.0 * 365}


def test_a_device_out_of_service_says_why_and_how_to_put_it_back(
    luthier: Luthier, leases: Leases
) -> None:
    leases.take_out("cuda:1", "three trials\n\x1b[31mcrashed")
    shown = luthier("devices").out

    assert "out of service since 1971-01-0" in shown
    assert "three trials �[31mcrashed" in shown
    assert "Put it back in service with: luthier devices --reset cuda:1" in shown


def test_a_reset_puts_a_device_back_in_service(luthier: Luthier, leases: Leases) -> None:
    leases.take_out("cuda:1", "it is broken")
    run = luthier("devices", "--reset", "cuda:1")

    assert (run.code, run.err) == (0, "")
    assert "out of service" not in run.out
    assert leases.standing().out_of_service == {}


def test_a_device_that_nobody_sees_can_be_reset(
    luthier: Luthier, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases.take_out("cuda:1", "it is broken")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    assert "cuda:1" in luthier("devices").out
    assert luthier("devices", "--reset", "cuda:1").code == 0


def test_what_cannot_be_reset_is_one_sentence(luthier: Luthier) -> None:
    in_service, unknown = (
        luthier("devices", "--reset", "cuda:1"),
        luthier("devices", "--reset", "x"),
    )

    assert in_service.code == unknown.code == 2
    assert "device 'cuda:1' is in service, so there is nothing to reset" in in_service.err
    assert "there is no device 'x'; the devices here are cuda:0, cuda:1, cpu" in unknown.err


def test_doctor_tells_of_devices_out_of_service(luthier: Luthier, leases: Leases) -> None:
    assert luthier("doctor").code == 0
    leases.take_out("cuda:1", "it is broken")
    run = luthier("doctor")

    assert run.code == 1
    assert "!! devices: out of service: cuda:1 (it is broken); what is mended is put" in run.out


def test_doctor_makes_no_register(luthier: Luthier, runtime_folder) -> None:
    assert "CUDA devices cuda:0, cuda:1" in luthier("doctor").out
    assert list(runtime_folder.iterdir()) == []
