"""What a trial finds when it begins, and what is written down when it ends."""

import json
from pathlib import Path

import pytest

HEAVY = ("luthier.tools.executors.entry", "torch", "pandas", "sklearn.datasets", "scipy.linalg")

LOOK = """
from notes import *
import json
def main(config):
    import torch, threadpoolctl
    tasks = len(os.listdir("/proc/self/task"))
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    note("seen", json.dumps({
        "torch": torch.get_num_threads(), "pools": pools, "tasks": tasks,
        "cuda": torch.cuda.is_initialized(),
    }))
"""


def threads(number):
    return {f"{name}_NUM_THREADS": str(number) for name in ("OMP", "MKL", "OPENBLAS")}


def test_libraries_that_the_server_holds_get_the_threads_of_the_slot(lab_with):
    lab = lab_with(*HEAVY)
    for number in (3, 1):
        lab.end(lab.submit_function(LOOK, slot=threads(number)))
        seen = json.loads(lab.note("seen"))
        assert seen["torch"] == number
        assert len(seen["pools"]) >= 3
        assert set(seen["pools"]) == {number}
        assert not seen["cuda"]
    # A fork would lose the threads of the server, so it has none.
    assert len(list(Path(f"/proc/{lab.executor._server.pid}/task").iterdir())) == 1


def test_nothing_is_imported_only_to_limit_its_threads(lab):
    handle = lab.submit_function(
        "import sys\ndef main(c): return len({'torch', 'threadpoolctl', 'numpy'} & {*sys.modules})",
        slot=threads(2),
    )
    assert lab.end(handle)[1] == {"loss": 0.0}


def test_a_trial_reads_nothing_from_its_standard_input(lab):
    handle = lab.submit_function("import sys\ndef main(c): return len(sys.stdin.read())")
    assert lab.end(handle)[1] == {"loss": 0.0}


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("raise KeyError('lr')", "KeyError", "'lr'"),
        ("raise training.Own('a: b')", "training.Own", "a: b"),
        ("raise training.Mute", "training.Mute", "<exception str() failed>"),
    ],
)
def test_an_exception_is_told_by_its_type_and_its_message(lab, code, kind, message):
    handle = lab.submit_function(
        "import training\n"
        "class Own(Exception): pass\n"
        "class Mute(Exception):\n    def __str__(self): return 1 / 0\n"
        f"def main(c): {code}"
    )
    evidence = lab.end(handle)[0]
    assert (evidence.exception, evidence.exception_message) == (kind, message)
