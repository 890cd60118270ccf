"""Runs a study of a pretend lab in child processes that die where they are told to.

python crashing.py      reads a line of JSON for each child, and writes one about its end

To start Python with torch takes seconds; here it is done once, and each child is forked from it.
"""

import contextlib
import json
import math
import os
import signal
import sys
from pathlib import Path

import optuna  # noqa: F401  imported once, for all children
import scipy.stats  # noqa: F401  likewise
import torch  # noqa: F401  likewise
from luthier.agent.tuner import Policy
from luthier.agent.worker import assemble, open_clock
from luthier.evals import lab  # noqa: F401  likewise
from luthier.tools.database import open_database
from luthier.tools.devices import plan_devices
from luthier.tools.ledger import Ledger
from luthier.tools.workspace import Workspace

EXACT = Policy(patience_share=math.inf, patience_seconds=math.inf)


def run(home: Path, name: str, die_at: int | None) -> int:
    """Run a study to its end, or to its write point `die_at`; return how many it passed."""
    passed = 0

    def count(_: object) -> None:
        nonlocal passed
        if passed == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    workspace = Workspace(home)
    database = open_database(workspace.ledger_path)
    database.fault_hook = count
    with contextlib.closing(Ledger(database)) as ledger:
        study = ledger.study(name)
        writer = ledger.acquire(study, open_clock(ledger, study))
        plan = plan_devices(study.spec.executor)
        with assemble(ledger, writer, workspace, plan, EXACT) as tuner:
            tuner.run()
        writer.release()
    return passed


def main() -> None:
    """Fork a child for each line."""
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            passed = run(Path(order["home"]), order["name"], order["die_at"])
            print(json.dumps({"passed": passed}), flush=True)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status != 0:  # else the child has said so itself
            print(json.dumps({"signal": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
