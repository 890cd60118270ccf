"""Studies that share devices: real workers in processes of their own, and one register."""

import json
import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from luthier.tools.devices import DevicePlan, plan_devices
from luthier.tools.executor_spec import Executor
from luthier.tools.executors.launcher import start_ticks
from luthier.tools.lease_file import LeaseError, LeaseFile, runtime_folder
from luthier.tools.leases import Lease, Leases, devices_of

FORK = multiprocessing.get_context("fork")


def cuda(visible: str = "0,1", **executor: object) -> DevicePlan:
    return plan_devices(Executor(**executor), {"CUDA_VISIBLE_DEVICES": visible})


def cpu(slots: int) -> DevicePlan:
    return plan_devices(Executor(device="cpu", slots=slots))


class Worker:
    """A worker in a process of its own, which does with its leases as it is told."""

    def __init__(self, folder: Path, study: str, plan: DevicePlan) -> None:
        self.study = study
        self.plan = plan
        self._pipe, theirs = FORK.Pipe()
        self._process = FORK.Process(target=self._serve, args=(theirs, folder), daemon=True)
        self._process.start()
        theirs.close()

    def _serve(self, pipe, folder):
        leases = Leases(self.plan, self.study, folder=folder, ticket_seconds=float("inf"))
        while True:
            method, arguments = pipe.recv()
            pipe.send(getattr(leases, method)(*arguments))

    def do(self, method: str, *arguments: object):
        self._pipe.send((method, arguments))
        return self._pipe.recv()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


class Launcher:
    """Stands for an attempt's launcher, which lives until it is told otherwise."""

    def __init__(self, attempt_folder: Path) -> None:
        attempt_folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        self.pid = self._process.pid
        claim = {"pid": self.pid, "start": start_ticks(self.pid)}
        (attempt_folder / "process.json").write_text(json.dumps(claim), encoding="utf-8")

    def end(self) -> None:
        with self._process:
            self._process.kill()


class House:
    """A register, with the workers and launchers that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.register = folder / "runtime"
        self.now = 1000.0
        self._ends: list[Worker | Launcher] = []

    def worker(self, study: str, plan: DevicePlan) -> Worker:
        self._ends.append(worker := Worker(self.register, study, plan))
        return worker

    def launcher(self, attempt_folder: Path) -> Launcher:
        self._ends.append(launcher := Launcher(attempt_folder))
        return launcher

    def leases(self, study: str, plan: DevicePlan) -> Leases:
        """Return the leases of a study that this process runs."""
        return Leases(plan, study, folder=self.register, clock=lambda: self.now)

    def holders(self) -> list[str]:
        with LeaseFile(self.register).open() as register:
            return [holder.name for holder in register.holders]

    def close(self) -> None:
        for one in self._ends:
            if isinstance(one, Launcher):
                one.end()
            elif one._process.is_alive():
                one.kill()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def take(leases: Leases) -> Lease:
    lease = leases.acquire()
    assert lease is not None, leases.refusal()
    return lease


class TestWhatATrialGets:
    def test_a_device_of_its_own(self, house):
        leases = house.leases("a", cuda("2,5"))
        first, second = take(leases), take(leases)
        assert [first.name, second.name] == ["cuda:2", "cuda:5"]
        assert second.devices == ("cuda:5",)
        assert second.environment["CUDA_VISIBLE_DEVICES"] == "5"

    def test_several_devices(self, house):
        lease = take(house.leases("a", cuda("0,1,2", devices_per_trial=2)))
        assert (lease.name, lease.devices) == ("cuda:0,1", ("cuda:0", "cuda:1"))
        assert lease.environment["CUDA_VISIBLE_DEVICES"] == "0,1"

    def test_a_share_of_the_device_that_is_used_least(self, house):
        leases = house.leases("a", cuda(devices_per_trial=0.5))
        names = [take(leases).name for _ in range(4)]
        assert names == ["cuda:0/0", "cuda:1/0", "cuda:0/1", "cuda:1/1"]

    def test_a_share_of_the_cpu_with_a_number_that_is_used_again(self, house):
        leases = house.leases("a", cpu(slots=3))
        first, *_ = [take(leases) for _ in range(3)]
        leases.release(first)
        assert house.holders() == ["cpu:1", "cpu:2"]
        assert take(leases).name == "cpu:0"

    def test_no_device_that_is_to_be_avoided(self, house):
        leases = house.leases("a", cuda())
        lease = leases.acquire(avoid={"cuda:0"})
        assert lease is not None
        assert lease.name == "cuda:1"
        assert leases.acquire(avoid={"cuda:0"}) is None
        assert leases.refusal().startswith("cuda:0 is to be avoided; cuda:1 is held by study 'a'")

    def test_nothing_when_all_slots_of_its_study_are_taken(self, house):
        leases = house.leases("a", cuda(slots=1))
        take(leases)
        assert leases.acquire() is None
        assert leases.refusal() == "all 1 slots of the study are taken"
        take(house.leases("b", cuda()))  # nothing is kept for who may not have it


def test_a_refusal_names_who_holds_what(house):
    holder, other = house.worker("a", cuda("0")), house.leases("b", cuda("0"))
    holder.do("acquire")
    assert other.acquire() is None
    assert other.refusal() == f"cuda:0 is held by study 'a' (pid {holder.pid})"


def test_a_refusal_is_forgotten_with_the_next_lease(house):
    leases, other = house.leases("a", cuda("0")), house.leases("b", cuda("0"))
    lease = take(other)
    assert leases.acquire() is None
    other.release(lease)
    take(leases)
    assert leases.refusal() is None


def test_studies_with_other_masks_mean_the_same_devices(house):
    take(house.leases("a", cuda("1,0", slots=1)))
    assert take(house.leases("b", cuda("0,1"))).name == "cuda:0"


@pytest.mark.parametrize(
    ("indices", "name"),
    [
        ("0", "cuda:0"),
        ("0,1", "cuda:0,1"),
        ("0,1,2,3,6", "cuda:0-3,6"),
        ("0,1,3,4,6,7,9,10,12,13,15", "cuda:0,1,3,4,6,7,9,10,12,13,15"),
        (",".join(map(str, range(16))), "cuda:0-15"),
    ],
)
def test_a_name_is_short_and_says_which_devices(house, indices, name):
    plan = cuda(indices, devices_per_trial=len(indices.split(",")))
    lease = take(house.leases("a", plan))
    assert lease.name == name
    assert len(name) <= 40
    assert devices_of(name) == lease.devices


@pytest.mark.parametrize(
    ("name", "device"),
    [("cpu:2", "cpu"), ("cuda:1/0", "cuda:1"), ("cuda:MIG-1a2b", "cuda:MIG-1a2b")],
)
def test_a_name_of_a_share_means_its_device(name, device):
    assert devices_of(name) == (device,)


class TestDeath:
    def test_a_killed_workers_lease_is_free_at_once(self, house):
        worker = house.worker("a", cuda("0"))
        worker.do("acquire")
        worker.kill()
        take(house.leases("b", cuda("0")))

    def test_an_attempt_that_outlives_its_worker_keeps_its_device(self, house):
        worker, folder = house.worker("a", cuda("0")), house.folder / "attempt"
        launcher = house.launcher(folder)
        worker.do("acquire", (), folder)
        worker.kill()
        other = house.leases("b", cuda("0"))
        assert other.acquire() is None
        assert other.refusal() == f"cuda:0 is held by study 'a' (pid {launcher.pid})"
        launcher.end()
        take(other)

    def test_an_attempt_that_was_abandoned_keeps_nothing(self, house):
        worker, folder = house.worker("a", cuda("0")), house.folder / "attempt"
        folder.mkdir()
        (folder / "process.json").write_text('{"abandoned": true}', encoding="utf-8")
        worker.do("acquire", (), folder)
        worker.kill()
        take(house.leases("b", cuda("0")))

    def test_a_launcher_that_is_on_its_way_is_waited_for(self, house):
        worker, folder = house.worker("a", cuda("0")), house.folder / "attempt"
        other = house.leases("b", cuda("0"))
        worker.do("acquire", (), folder)
        folder.mkdir()  # it is asked for
        with LeaseFile(house.register).open() as register:
            house.now = register.holders[0].bound_at
        worker.kill()
        assert other.acquire() is None
        house.now += 6.0
        take(other)

    def test_what_is_closed_leaves_to_attempts_what_is_theirs(self, house):
        leases, folder = house.leases("a", cuda()), house.folder / "attempt"
        launcher = house.launcher(folder)
        assert leases.acquire(attempt_folder=folder) is not None
        take(leases)
        leases.close()
        assert house.holders() == ["cuda:0"]
        launcher.end()
        assert house.holders() == []


class TestAdoption:
    def test_a_new_worker_holds_what_the_attempt_held(self, house):
        worker, folder = house.worker("a", cuda("0")), house.folder / "attempt"
        launcher = house.launcher(folder)
        worker.do("acquire", (), folder)
        worker.kill()
        leases = house.leases("a", cuda("0"))
        adopted = leases.adopt("cuda:0", folder)
        assert (adopted.name, adopted.devices, adopted.environment) == ("cuda:0", ("cuda:0",), {})
        launcher.end()
        assert house.holders() == ["cuda:0"]
        leases.release(adopted)
        assert house.holders() == []

    def test_an_attempt_that_nobody_knows_gets_its_place_even_if_there_is_no_room(self, house):
        take(house.leases("b", cuda("0")))
        leases = house.leases("a", cuda("0"))
        adopted = leases.adopt("cuda:0", house.folder / "attempt")
        assert house.holders() == ["cuda:0", "cuda:0"]
        assert leases.acquire() is None
        leases.release(adopted)
        assert house.holders() == ["cuda:0"]

    def test_what_was_adopted_counts_as_a_slot(self, house):
        leases = house.leases("a", cuda(slots=1))
        leases.adopt("cuda:1", house.folder / "attempt")
        assert leases.acquire() is None
        assert leases.refusal() == "all 1 slots of the study are taken"


class TestTurns:
    def test_two_studies_alternate(self, house):
        a, b = house.leases("a", cuda("0")), house.leases("b", cuda("0"))
        lease, holder, order = take(a), a, ""
        assert b.acquire() is None
        for _ in range(4):
            holder.release(lease)
            # Who has just had it asks first, and is told to wait.
            assert holder.acquire() is None
            assert "cuda:0 goes first to study" in holder.refusal()
            holder = b if holder is a else a
            lease = take(holder)
            order += "b" if holder is b else "a"
        assert order == "baba"

    def test_who_asks_no_more_loses_the_place(self, house):
        a, b = house.leases("a", cuda("0")), house.leases("b", cuda("0"))
        lease = take(a)
        assert b.acquire() is None
        a.release(lease)
        assert a.acquire() is None
        house.now += 4.0
        take(a)

    def test_who_asks_again_keeps_the_place(self, house):
        a, b = house.leases("a", cuda("0")), house.leases("b", cuda("0"))
        lease = take(a)
        for _ in range(5):
            assert b.acquire() is None
            house.now += 2.0
        a.release(lease)
        assert a.acquire() is None
        take(b)

    def test_the_place_of_the_dead_is_free(self, house):
        a, b, c = (house.worker(study, cuda("0")) for study in "abc")
        a.do("acquire")
        assert b.do("acquire") is None
        a.kill()
        b.kill()
        assert c.do("acquire") is not None

    def test_small_trials_do_not_starve_one_of_many_devices(self, house):
        small, large = house.leases("a", cuda()), house.leases("b", cuda(devices_per_trial=2))
        first, second = take(small), take(small)
        assert large.acquire() is None
        small.release(first)
        assert small.acquire() is None
        assert large.acquire() is None
        small.release(second)
        assert take(large).name == "cuda:0,1"

    def test_who_waits_keeps_no_more_than_it_needs(self, house):
        one, two = house.leases("a", cuda("0,1,2")), house.leases("b", cuda("0,1"))
        held = [take(one) for _ in range(3)]
        assert two.acquire() is None
        for lease in held:
            one.release(lease)
        assert take(one).name == "cuda:1"
        assert take(two).name == "cuda:0"

    def test_nobody_is_kept_a_device_that_is_out_of_service(self, house):
        a, b, c = (house.leases(study, cuda()) for study in "abc")
        c.take_out("cuda:0", "broken")
        lease = take(c)
        assert a.acquire() is None
        c.release(lease)
        assert b.acquire() is None  # cuda:1 is all that a can get
        assert take(a).name == "cuda:1"

    def test_nothing_is_kept_for_who_cannot_be_served(self, house):
        large, small = house.leases("a", cuda(devices_per_trial=2)), house.leases("b", cuda())
        small.take_out("cuda:0", "broken")
        assert large.acquire() is None
        assert take(small).name == "cuda:1"


def _work(folder: Path, study: str, turns: int) -> None:
    """Take a device so often, each time checking that no more is given away than there is."""
    leases = Leases(cuda("0", devices_per_trial=0.5), study, folder=folder)
    for _ in range(turns):
        while (lease := leases.acquire()) is None:
            pass
        with LeaseFile(folder).open() as register:
            assert register.taken("cuda:0") <= 1.0
        marker = folder / lease.name.replace("/", "-")
        marker.touch(exist_ok=False)  # nobody else has the same share
        marker.unlink()
        leases.release(lease)


def test_many_processes_get_their_turns_and_never_more_than_there_is(tmp_path):
    rivals = [FORK.Process(target=_work, args=(tmp_path, f"s{i}", 15)) for i in range(5)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join(60)
    assert [rival.exitcode for rival in rivals] == [0] * 5


class TestService:
    def test_what_is_out_of_service_is_given_to_nobody(self, house):
        a, b = house.leases("a", cuda()), house.leases("b", cuda())
        a.take_out("cuda:0", "three trials crashed")
        assert take(b).name == "cuda:1"
        assert b.acquire() is None
        assert b.refusal().startswith("cuda:0 is out of service: three trials crashed; cuda:1 is")
        (broken,) = b.standing().out_of_service.values()
        assert (broken.reason, broken.since) == ("three trials crashed", 1000.0)

    def test_the_first_reason_stands(self, house):
        leases = house.leases("a", cuda())
        leases.take_out("cuda:0", "first")
        leases.take_out("cuda:0", "second")
        assert leases.standing().out_of_service["cuda:0"].reason == "first"

    def test_a_reset_puts_it_back(self, house):
        leases = house.leases("a", cuda("0"))
        assert leases.standing().reset_at.get("cuda:0") is None
        leases.take_out("cuda:0", "broken")
        house.now = 2000.0
        assert leases.reset("cuda:0")
        assert leases.standing().out_of_service == {}
        assert leases.standing().reset_at["cuda:0"] == 2000.0
        take(leases)

    def test_what_is_in_service_cannot_be_reset(self, house):
        leases = house.leases("a", cuda())
        assert not leases.reset("cuda:0")
        assert leases.standing().reset_at.get("cuda:0") is None

    def test_nothing_is_kept_for_who_waits_for_what_is_out_of_service(self, house):
        a, b = house.leases("a", cuda("0")), house.leases("b", cuda("0"))
        a.take_out("cuda:0", "broken")
        assert a.acquire() is None
        a.reset("cuda:0")
        assert b.acquire() is None
        take(a)


class TestTheFile:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b'{"format": 1, "holders": [',
            b"\xff\x00 not text",
            b'{"format": 2, "leases": []}',
            b'{"format": 1, "holders": [{"name": "cuda:0"}]}',
            b"[]",
        ],
    )
    def test_what_is_no_register_is_set_aside(self, house, content):
        a, b = house.leases("a", cuda("0")), house.leases("b", cuda("0"))
        take(a)
        (house.register / "leases.json").write_bytes(content)
        a.standing()  # a's next look restores what is its own
        assert b.acquire() is None
        assert house.holders() == ["cuda:0"]
        (aside,) = house.register.glob("*.damaged")
        assert aside.read_bytes() == content

    def test_what_is_no_file_is_set_aside(self, house):
        leases = house.leases("a", cuda("0"))
        (house.register / "leases.json").mkdir()
        take(leases)
        assert house.holders() == ["cuda:0"]

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
    def test_a_file_of_another_user_is_set_aside(self, house):
        leases = house.leases("a", cuda("0"))
        take(leases)
        os.chown(house.register / "leases.json", 12345, -1)
        assert house.leases("b", cuda("0")).standing().out_of_service == {}
        assert len(list(house.register.glob("*.damaged"))) == 1

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
    def test_a_folder_of_another_user_is_refused(self, house):
        house.register.mkdir()
        os.chown(house.register, 12345, -1)
        with pytest.raises(LeaseError, match="is not a folder of yours, .* set XDG_RUNTIME_DIR"):
            house.leases("a", cuda())

    def test_a_link_to_a_folder_is_refused(self, house):
        house.register.symlink_to(house.folder)
        with pytest.raises(LeaseError, match="is not a folder of yours"):
            house.leases("a", cuda())

    def test_nobody_else_can_look_into_it(self, house):
        house.register.mkdir(mode=0o755)
        house.leases("a", cuda())
        assert house.register.stat().st_mode & 0o777 == 0o700

    def test_by_default_it_is_in_the_users_runtime_folder(self, runtime_folder):
        take(Leases(cpu(slots=1), "a"))
        assert (runtime_folder / "luthier" / "leases.json").exists()

    @pytest.mark.parametrize("environment", [{}, {"XDG_RUNTIME_DIR": "/not/there"}])
    def test_without_a_runtime_folder_it_is_in_one_of_the_user(self, environment):
        assert runtime_folder(environment) == Path(f"/tmp/luthier-{os.getuid()}")


class Sharing(RuleBasedStateMachine):
    """Workers that take, launch, give back, die and are followed by others, in any order."""

    PLANS = (cuda("0,1"), cuda("0,1", devices_per_trial=2), cuda("1,0", devices_per_trial=0.5))

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.house = House(Path(self.temporary.name))
        self.workers: dict[int, Worker] = {}
        self.held: dict[str, tuple[int, Lease]] = {}
        self.launchers: dict[str, tuple[Launcher, Path]] = {}
        self.waiting: set[int] = set()
        self.folders: dict[str, Path] = {}
        self.attempts = 0

    @initialize()
    def begin(self) -> None:
        for index in range(len(self.PLANS)):
            self.start(index)

    def start(self, index: int) -> None:
        self.workers[index] = self.house.worker(f"s{index}", self.PLANS[index])

    def lives(self, key: str) -> bool:
        return self.held[key][0] in self.workers or key in self.launchers

    def taken(self, device: str) -> float:
        return sum(
            self.PLANS[index].share
            for index, lease in self.held.values()
            if device in lease.devices
        )

    @rule(index=st.integers(0, 2))
    def acquire(self, index: int) -> None:
        if index not in self.workers:
            return
        plan = self.PLANS[index]
        room = [d for d in plan.devices if self.taken(d.name) + plan.share <= 1.0 + 1e-9]
        owned = sum(owner == index for owner, _ in self.held.values())
        self.attempts += 1
        folder = self.house.folder / str(self.attempts)
        folder.mkdir()
        # Nobody need wait whether a launcher still comes.
        (folder / "process.json").write_text('{"abandoned": true}', encoding="utf-8")
        lease = self.workers[index].do("acquire", (), folder)
        if lease is not None:
            self.folders[lease.key] = folder
            assert len(room) >= plan.per_trial
            self.held[lease.key] = (index, lease)
            self.waiting.discard(index)
        else:
            may_have = len(room) >= plan.per_trial and owned < plan.slots
            assert not may_have or self.waiting - {index}
            self.waiting.discard(index)
            if owned < plan.slots:
                self.waiting.add(index)

    def _pick(self, data: st.DataObject, keys: list[str]) -> str:
        return data.draw(st.sampled_from(keys))  # in their order, for a key is another each time

    @property
    def owned(self) -> list[str]:
        return [key for key, (index, _) in self.held.items() if index in self.workers]

    @property
    def bare(self) -> list[str]:
        return [key for key in self.owned if key not in self.launchers]

    @precondition(lambda self: self.bare)
    @rule(data=st.data())
    def launch(self, data: st.DataObject) -> None:
        key = self._pick(data, self.bare)
        folder = self.folders[key]
        self.launchers[key] = (self.house.launcher(folder), folder)

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = self._pick(data, self.owned)
        index, lease = self.held.pop(key)
        self.launchers.pop(key, None)
        self.workers[index].do("release", lease)

    @precondition(lambda self: self.launchers)
    @rule(data=st.data())
    def launcher_ends(self, data: st.DataObject) -> None:
        key = self._pick(data, list(self.launchers))
        self.launchers.pop(key)[0].end()
        self._bury()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.workers)))
        self.workers.pop(index).kill()
        self.waiting.discard(index)
        self._bury()

    def _bury(self) -> None:
        self.held = {key: value for key, value in self.held.items() if self.lives(key)}

    @precondition(lambda self: len(self.workers) < len(self.PLANS))
    @rule(data=st.data())
    def worker_follows(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(set(range(3)) - set(self.workers))))
        self.start(index)
        for key, (owner, lease) in self.held.items():
            if owner == index:
                adopted = self.workers[index].do("adopt", lease.name, self.launchers[key][1])
                assert (adopted.name, adopted.key) == (lease.name, key)

    @invariant()
    def no_device_is_given_away_twice(self) -> None:
        with LeaseFile(self.house.register, ticket_seconds=float("inf")).open() as register:
            assert {h.key for h in register.holders} == set(self.held)
            assert all(register.taken(device) <= 1.0 + 1e-9 for device in ("cuda:0", "cuda:1"))
            names = [holder.name for holder in register.holders]
            assert len(names) == len(set(names))

    def teardown(self) -> None:
        self.house.close()
        self.temporary.cleanup()


def test_whatever_happens_the_register_says_who_holds_what():
    run_state_machine_as_test(
        Sharing,
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
