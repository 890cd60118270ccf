from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.tools import clock as module
from luthier.tools.clock import VirtualClock


@pytest.fixture
def machine(monkeypatch):
    """The machine's own clock, which the test sets."""
    machine = SimpleNamespace(now=50.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: machine.now))
    return machine


def test_a_clock_of_rate_0_stands_until_it_is_moved(machine):
    clock = VirtualClock(1000.0, 0.0)
    machine.now += 3600.0
    assert (clock.time(), clock.monotonic()) == (1000.0, 1000.0)
    clock.advance(1060.0)
    machine.now += 3600.0
    assert (clock.time(), clock.monotonic()) == (1060.0, 1060.0)


def test_a_clock_runs_as_many_times_as_fast_as_its_rate(machine):
    clock = VirtualClock(1000.0, 60.0)
    machine.now += 2.0
    assert clock.time() == clock.monotonic() == 1120.0


def test_a_clock_runs_on_from_where_it_was_moved(machine):
    clock = VirtualClock(1000.0, 2.0)
    machine.now += 1.0
    clock.advance(1500.0)
    assert clock.time() == 1500.0
    machine.now += 1.0
    assert clock.time() == 1502.0


def test_to_move_a_clock_to_what_has_passed_changes_nothing(machine):
    clock = VirtualClock(1000.0, 2.0)
    machine.now += 10.0
    clock.advance(1010.0)
    assert clock.time() == 1020.0


@given(st.floats(0, 100), st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), max_size=9))
def test_a_clock_never_goes_back(rate, moves):
    with pytest.MonkeyPatch.context() as patch:
        machine = SimpleNamespace(now=0.0)
        patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: machine.now))
        clock = VirtualClock(0.0, rate)
        before = clock.time()
        for passed, to in moves:
            machine.now += passed
            clock.advance(to)
            assert clock.time() >= max(before, to)
            before = clock.time()
