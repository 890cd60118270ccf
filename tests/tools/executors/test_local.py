"""Real trials: real processes under real launchers."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from luthier.tools.executors.local import tail
from luthier.tools.objective import pickle_callable
from luthier.tools.outcomes import Outcome, StopReason

SECONDS = 30.0

NOTE = "from notes import *\n"


# --- what runs ------------------------------------------------------------------------------


def test_a_script_runs_as_it_is_and_its_output_is_read(lab):
    handle = lab.submit_script(
        "import sys\nprint(sys.argv[1:])\n"
        "for epoch in (1, 2):\n    print(f'epoch {epoch}: loss = {1 / epoch}')\n"
        "print('a word', file=sys.stderr)\n",
        configuration={"lr": 1e-05},
        metrics={"loss": {"direction": "minimize", "pattern": "epoch {step}: loss = {value}"}},
    )
    evidence = lab.until(lambda: lab.executor.ended(handle))
    assert [(r.step, r.metrics) for r in lab.executor.reports(handle)] == [
        (1, {"loss": 1.0}),
        (2, {"loss": 0.5}),
    ]
    assert (evidence.exit_code, evidence.signal, evidence.stop_reason) == (0, None, None)
    assert evidence.seconds > 0
    assert evidence.peak_bytes > 1_000_000
    assert tail(handle.folder, "stdout.log").startswith("['--lr', '1e-05']\n")
    assert evidence.error_tail == "a word\n"


def test_a_script_may_report_and_read_its_configuration(lab):
    handle = lab.submit_script(
        "import json, os, luthier\n"
        "config = json.load(open(os.environ['LUTHIER_CONFIG']))\n"
        "luthier.report(1, loss=config['lr'])\n",
        configuration={"lr": 0.25},
    )
    _, metrics, verdict = lab.end(handle)
    assert (metrics, verdict.outcome) == ({"loss": 0.25}, Outcome.COMPLETE)


@pytest.mark.parametrize(
    ("code", "metrics"),
    [
        ("def main(c): return c['lr']", {"loss": 0.5}),
        ("import numpy\ndef main(c): return numpy.float32(c['lr'])", {"loss": 0.5}),
        ("def main(c): return {'loss': 1, 'acc': 2}", {"loss": 1.0, "acc": 2.0}),
        ("import luthier\ndef main(c): luthier.report(3, loss=c['lr'])", {"loss": 0.5}),
        ("import sys\ndef main(c): print('{\"loss\": 1}'); sys.exit()", {"loss": 1.0}),
    ],
    ids=["number", "numpy", "dict", "reported", "printed"],
)
def test_a_function_returns_or_reports_its_metrics(lab, code, metrics):
    _, reported, verdict = lab.end(lab.submit_function(code))
    assert (reported, verdict.outcome) == (metrics, Outcome.COMPLETE)


def test_a_function_of_main_runs_by_value(lab):
    factor = 4
    (lab.study / "objective.pkl").write_bytes(pickle_callable(lambda c: factor * c["lr"]))
    request = lab.request({"kind": "callable", "reference": "__main__:<lambda>"})
    assert lab.end(lab.executor.submit(request))[1] == {"loss": 2.0}


def test_a_configuration_goes_in_as_json(lab):
    lab.write(
        "train.py",
        "import json, sys\nprint(json.dumps({'loss': json.load(open(sys.argv[2]))['lr']}))\n",
    )
    objective = {
        "kind": "script",
        "command": ["python", "train.py"],
        "pass_by": "json",
        "arguments": {"config": "--config"},
    }
    assert lab.end(lab.executor.submit(lab.request(objective)))[1] == {"loss": 0.5}


def test_a_configuration_goes_in_by_the_environment(lab):
    lab.write(
        "train.py",
        "import os\nassert os.environ['SEED'] == '0' and os.environ['FIXED'] == 'a'\n"
        "print('{\"loss\": %s}' % os.environ['LR'])\n",
    )
    objective = {
        "kind": "script",
        "command": ["python", "train.py"],
        "pass_by": "environment",
        "arguments": {"lr": "LR"},
        "seed_argument": "SEED",
        "environment": {"FIXED": "a"},
    }
    assert lab.end(lab.executor.submit(lab.request(objective)))[1] == {"loss": 0.5}


def test_a_configuration_goes_in_as_constants(lab):
    lab.write("train.py", "LR = 0.1\nprint('{\"loss\": %s}' % LR)\n")
    objective = {
        "kind": "script",
        "command": ["python", "train.py"],
        "pass_by": "constants",
        "arguments": {"lr": "LR"},
    }
    assert lab.end(lab.executor.submit(lab.request(objective)))[1] == {"loss": 0.5}


def test_a_slot_pins_its_trial_to_a_device(lab):
    code = NOTE + "note(sys.argv[1], os.environ['CUDA_VISIBLE_DEVICES'])"
    for device in ("2", "5"):
        handle = lab.submit_script(code, device, slot={"CUDA_VISIBLE_DEVICES": device})
        lab.end(handle)
        assert lab.note(device) == device


SECRETS = {"OPENAI_API_KEY": "sk-secret-1", "LUTHIER_LLM_KEY": "sk-secret-2"}


@pytest.mark.parametrize("kind", ["script", "callable"])
def test_no_trial_sees_the_keys_of_the_language_model(lab_with, monkeypatch, kind):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    lab = lab_with("cloudpickle")
    look = (
        NOTE + "def main(config):\n"
        "    seen = open('/proc/self/environ', 'rb').read().decode() + str(dict(os.environ))\n"
        "    note('seen', seen)\n"
    )
    if kind == "script":
        lab.end(lab.submit_script(look + "main(None)"))
    else:
        lab.end(lab.submit_function(look))
    seen = lab.note("seen")
    assert "PATH" in seen
    assert "sk-secret" not in seen


# --- how it ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("import sys; sys.exit(3)", Outcome.CRASHED, "exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", Outcome.CRASHED, "ended by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", Outcome.KILLED, "ended from outside by SIGKILL"),
        ("1 / 0", Outcome.CRASHED, "raised ZeroDivisionError"),
        ("pass", Outcome.CRASHED, "ended without reporting loss"),
        ("print('{\"loss\": NaN}')", Outcome.DIVERGED, "a metric was NaN or infinite"),
        (
            "import argparse; argparse.ArgumentParser().parse_args(['--lr', '1'])",
            Outcome.INVALID,
            "the script refused its arguments",
        ),
        (
            "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
            "bytearray(1 << 30)",
            Outcome.OUT_OF_MEMORY,
            "raised MemoryError",
        ),
    ],
)
def test_a_script_ends_in_one_outcome(lab, code, outcome, reason):
    _, _, verdict = lab.end(lab.submit_script(code))
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


@pytest.mark.parametrize(
    ("code", "outcome", "reason", "words"),
    [
        ("raise KeyError('lr')", Outcome.CRASHED, "raised KeyError", "KeyError: 'lr'"),
        ("raise MemoryError", Outcome.OUT_OF_MEMORY, "raised MemoryError", "MemoryError"),
        ("raise luthier.TrialPruned", Outcome.PRUNED, "the trial stopped itself early", ""),
        ("sys.exit('no data')", Outcome.CRASHED, "exit code 1", "no data"),
        ("sys.exit(4)", Outcome.CRASHED, "exit code 4", ""),
        ("return 'x'", Outcome.CRASHED, "raised TypeError", "must return None, a number or a dict"),
        ("os.kill(os.getpid(), 11)", Outcome.CRASHED, "ended by SIGSEGV", ""),
    ],
)
def test_a_function_ends_in_one_outcome(lab, code, outcome, reason, words):
    handle = lab.submit_function(f"import luthier, os, sys\ndef main(c):\n    {code}")
    evidence, _, verdict = lab.end(handle)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert words in evidence.error_tail


def test_a_program_that_cannot_start_says_why(lab):
    request = lab.request({"kind": "script", "command": ["./nothing-here"]}, {})
    evidence, _, verdict = lab.end(lab.executor.submit(request))
    assert verdict.outcome is Outcome.CRASHED
    assert "No such file or directory" in evidence.error_tail


def test_a_trial_that_is_stopped_has_time_to_end_well(lab):
    handle = lab.submit_script(
        NOTE + "def end(*_):\n    note('saved', 'yes'); sys.exit(0)\n"
        "signal.signal(15, end)\nnote('ready', '')\nwhile True: signal.pause()",
        executor={"grace_seconds": 20},
    )
    lab.note("ready")
    lab.executor.stop(handle, StopReason.STOP)
    evidence, _, verdict = lab.end(handle)
    assert verdict.outcome is Outcome.KILLED
    assert verdict.reason == "stopped on request"
    assert evidence.exit_code == 0
    assert lab.note("saved") == "yes"


STUBBORN = NOTE + "signal.signal(15, signal.SIG_IGN)\nnote('ready', '')\nwhile True: signal.pause()"


@pytest.mark.parametrize(
    ("at_once", "grace"), [(False, 0.2), (True, 600)], ids=["after grace", "at once"]
)
def test_a_trial_that_does_not_end_is_killed(lab, at_once, grace):
    handle = lab.submit_script(STUBBORN, executor={"grace_seconds": grace})
    lab.note("ready")
    lab.executor.stop(handle, StopReason.STOP, at_once=at_once)
    evidence, _, verdict = lab.end(handle)
    assert (evidence.signal, verdict.outcome) == (signal.SIGKILL, Outcome.KILLED)


def test_a_trial_that_was_asked_to_stop_can_be_killed_later(lab):
    handle = lab.submit_script(STUBBORN, executor={"grace_seconds": 600})
    lab.note("ready")
    lab.executor.stop(handle, StopReason.STOP)
    assert lab.executor.ended(handle) is None
    lab.executor.stop(handle, StopReason.STOP, at_once=True)
    assert lab.end(handle)[0].signal == signal.SIGKILL


def test_a_pruned_trial_that_reports_ends_by_its_own_exception(lab):
    handle = lab.submit_function(
        NOTE + "import luthier\n"
        "def main(config):\n"
        "    try:\n"
        "        for step in range(10**6):\n"
        "            luthier.report(step, loss=1)\n"
        "            time.sleep(0.01)\n"
        "    finally:\n"
        "        note('cleaned', 'up')\n",
        executor={"grace_seconds": 60},
    )
    lab.until(lambda: lab.executor.reports(handle))
    lab.executor.stop(handle, StopReason.PRUNE)
    evidence, _, verdict = lab.end(handle)
    assert verdict.outcome is Outcome.PRUNED
    assert evidence.exit_code == 0
    assert lab.note("cleaned") == "up"


def test_a_pruned_script_that_prints_is_ended_without_waiting(lab):
    handle = lab.submit_script(
        "import signal\nprint('loss 1', flush=True)\nsignal.pause()",
        metrics={"loss": {"direction": "minimize", "pattern": "loss {value}"}},
        executor={"grace_seconds": 600},
    )
    lab.until(lambda: lab.executor.reports(handle))
    lab.executor.stop(handle, StopReason.PRUNE)
    evidence, _, verdict = lab.end(handle)
    assert (evidence.signal, verdict.outcome) == (signal.SIGTERM, Outcome.PRUNED)


# --- whatever dies --------------------------------------------------------------------------


def process_of(handle):
    return json.loads((handle.folder / "process.json").read_text())


@pytest.mark.parametrize("objective", ["script", "callable", "shell"])
def test_a_launcher_that_is_killed_takes_its_trial_with_it(lab, objective):
    loop = (
        NOTE + "def main(c=None):\n    note('pid', os.getpid())\n    while True: signal.pause()\n"
    )
    if objective == "callable":
        handle = lab.submit_function(loop)
    elif objective == "script":
        handle = lab.submit_script(loop + "main()")
    else:  # the trial's process only waits for the one that trains
        lab.write("train.py", loop + "main()")
        command = ["sh", "-c", f"{sys.executable} train.py; true"]
        handle = lab.executor.submit(lab.request({"kind": "script", "command": command}, {}))
    pid = lab.note("pid")
    os.kill(process_of(handle)["pid"], signal.SIGKILL)
    evidence, _, verdict = lab.end(handle)
    assert verdict.outcome is Outcome.INFRASTRUCTURE
    assert verdict.reason == "its launcher was lost"
    assert evidence.exit_code is None
    lab.until(lambda: lab.is_gone(pid))


WORKER = """
import os, pickle, sys
from pathlib import Path
from luthier.tools.executors.local import LocalExecutor
executor = LocalExecutor(Path(sys.argv[1]), [])
executor.submit(pickle.load(sys.stdin.buffer))
print('submitted', flush=True)
sys.stdin.buffer.read()
import signal; signal.pause()
"""


def test_a_trial_outlives_its_worker_and_is_adopted(lab):
    lab.write(
        "train.py",
        NOTE + "note('pid', os.getpid())\n"
        "while not os.path.exists('go on'): time.sleep(0.01)\n"
        "print('{\"loss\": 1}')",
    )
    request = lab.request({"kind": "script", "command": ["python", "train.py"]}, {})
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(lab.study)], stdin=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None
        worker.stdin.write(pickle.dumps(request))
        worker.stdin.flush()
        pid = lab.note("pid")
        worker.kill()
    assert not lab.is_gone(pid)
    handle = lab.executor.adopt(Path(request.folder))
    assert lab.executor.ended(handle) is None
    lab.write("go on", "")
    _, metrics, verdict = lab.end(handle)
    assert (metrics, verdict.outcome) == ({"loss": 1.0}, Outcome.COMPLETE)
    assert lab.end(lab.executor.adopt(Path(request.folder)))[2] == verdict


def test_an_adopted_trial_can_be_stopped(lab):
    first = lab.submit_script(STUBBORN)
    lab.note("ready")
    adopted = lab.executor.adopt(first.folder)
    lab.executor.stop(adopted, StopReason.STOP)
    assert lab.end(adopted)[2].outcome is Outcome.KILLED


def test_a_stop_is_remembered_by_whoever_adopts(lab):
    first = lab.submit_script(STUBBORN, executor={"grace_seconds": 600})
    lab.note("ready")
    lab.executor.stop(first, StopReason.PRUNE)
    os.kill(process_of(first)["pid"], signal.SIGKILL)
    assert lab.end(lab.executor.adopt(first.folder))[2].outcome is Outcome.PRUNED


def test_a_launcher_that_comes_late_runs_nothing(lab):
    lab.write("train.py", NOTE + "note('ran', '')")
    request = lab.request({"kind": "script", "command": ["python", "train.py"]}, {})
    handle = lab.executor.adopt(Path(request.folder))
    evidence, _, verdict = lab.end(handle)
    assert not evidence.started
    assert verdict.outcome is Outcome.INFRASTRUCTURE
    lab.executor.submit(request)
    lab.end(lab.submit_script("pass"))  # the server has come to the requests before this one
    assert not (lab.work / "ran").exists()
    assert not (handle.folder / "outcome.json").exists()


def test_a_trial_that_is_stopped_before_it_began_never_runs(lab):
    os.kill(lab.executor._server.pid, signal.SIGSTOP)
    handle = lab.submit_script(NOTE + "note('ran', '')")
    lab.executor.stop(handle, StopReason.STOP)
    os.kill(lab.executor._server.pid, signal.SIGCONT)
    assert lab.end(handle)[2].outcome is Outcome.KILLED
    lab.end(lab.submit_script("pass"))
    assert not (lab.work / "ran").exists()


def test_a_server_that_died_is_replaced(lab):
    lab.executor._server.kill()
    lab.executor._server.wait()
    _, metrics, _ = lab.end(lab.submit_script("print('{\"loss\": 1}')"))
    assert metrics == {"loss": 1.0}


def test_a_request_that_its_server_took_to_the_grave_is_told_as_lost(lab):
    os.kill(lab.executor._server.pid, signal.SIGSTOP)
    handle = lab.submit_script("pass")
    lab.executor._server.kill()
    evidence, _, verdict = lab.end(handle)
    assert (evidence.started, verdict.outcome) == (False, Outcome.INFRASTRUCTURE)


def test_wake_ends_a_wait(lab):
    lab.executor.wake()
    begun = time.monotonic()
    lab.executor.wait(SECONDS)
    assert time.monotonic() - begun < SECONDS / 2


def test_trials_run_side_by_side(lab):
    meet = (
        NOTE + "note(sys.argv[1], '')\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
        "print('{\"loss\": 1}')"
    )
    first = lab.submit_script(meet, "one", "two", limit=SECONDS)
    second = lab.submit_script(meet, "two", "one", limit=SECONDS)
    assert [lab.end(h)[2].outcome for h in (first, second)] == [Outcome.COMPLETE] * 2
