import os
import subprocess
import sys
import time

from luthier.tools.executors.processes import (
    descendants,
    proportional_bytes,
    resident_bytes,
    start_ticks,
)


def test_a_process_is_named_by_its_pid_and_its_start():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        started = start_ticks(process.pid)
        assert started == start_ticks(process.pid)
        assert started >= start_ticks(os.getpid())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_ticks(process.pid) is None  # a zombie runs nothing
    assert start_ticks(process.pid) is None


SECONDS = 60.0
FAMILY = """
import os, sys
held = os.urandom(50 << 20)
pids = [os.fork()]
if pids[0] == 0:
    pids = [os.fork()]
print("here", flush=True)
os.read(0, 1)
"""


def test_a_family_is_measured_together():
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        for _ in range(3):
            process.stdout.readline()
        family = [process.pid, *descendants(process.pid)]
        assert len(family) == 3
        assert resident_bytes(family) > 150 << 20
        assert 50 << 20 < proportional_bytes(family) < 100 << 20
        process.stdin.close()
    deadline = time.monotonic() + SECONDS
    while resident_bytes(family):  # the children see its end, and go in their own time
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert proportional_bytes(family) == 0
