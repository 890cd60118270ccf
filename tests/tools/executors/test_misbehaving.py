"""Trials that do what no trial should: each ends in the right outcome, and harms nobody."""

import json
import math
import os
import signal
from pathlib import Path

import pytest
from luthier.tools.executors.processes import start_ticks
from luthier.tools.outcomes import Outcome, StopReason

NOTE = "from notes import *\n"


def launcher_of(handle):
    return json.loads((handle.folder / "process.json").read_text())["pid"]


def peak_kilobytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


# --- it will not end ------------------------------------------------------------------------


STUBBORN_GRANDCHILD = (
    NOTE + "subprocess.Popen(['sh', '-c', \"trap '' TERM; echo $$ > pid; mv pid grandchild; "
    'while :; do sleep 1; done"])\nwait_for("grandchild")\n'
)


def test_the_time_limit_kills_the_whole_group(lab):
    handle = lab.submit_script(
        STUBBORN_GRANDCHILD + "signal.signal(15, signal.SIG_IGN)\nwait_for_ever()", limit=2.0
    )
    evidence, _, verdict = lab.end(handle)
    assert (verdict.outcome, evidence.signal) == (Outcome.TIMED_OUT, signal.SIGKILL)
    assert 2.0 <= evidence.seconds < 15
    assert lab.is_gone(lab.note("grandchild"))


def test_a_trial_that_stopped_itself_is_woken_to_end_in_order(lab):
    handle = lab.submit_script(
        NOTE + "signal.signal(15, lambda *_: (note('saved'), sys.exit()))\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\nwait_for_ever()",
        limit=1.0,
        executor={"grace_seconds": 20},
    )
    evidence, _, verdict = lab.end(handle)
    assert (verdict.outcome, evidence.exit_code) == (Outcome.TIMED_OUT, 0)
    lab.note("saved")


def test_a_trial_that_reports_nothing_can_be_ended_for_it(lab):
    handle = lab.submit_script(NOTE + "note('ready')\nwait_for_ever()")
    lab.note("ready")
    lab.executor.stop(handle, StopReason.SILENCE)
    verdict = lab.end(handle)[2]
    assert (verdict.outcome, verdict.reason) == (Outcome.TIMED_OUT, "reported nothing for too long")


# --- it leaves something behind -------------------------------------------------------------


def test_nothing_of_a_trial_outlives_its_end(lab):
    assert lab.end(lab.submit_script(STUBBORN_GRANDCHILD))[0].exit_code == 0
    assert lab.is_gone(lab.note("grandchild"))


def test_a_child_that_makes_itself_a_daemon_is_cleaned_up(lab):
    lab.end(
        lab.submit_script(
            NOTE + "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0:\n"
            "        signal.signal(15, signal.SIG_IGN)\n"
            "        note('daemon', os.getpid())\n"
            "        wait_for_ever()\n"
            "    os._exit(0)\n"
            "wait_for('daemon')\n"
        )
    )
    assert lab.is_gone(lab.note("daemon"))


def test_children_that_bring_forth_children_are_all_cleaned_up(lab):
    lab.end(
        lab.submit_script(
            NOTE + "for i in range(5):\n"
            "    if os.fork() == 0:\n"
            "        os.setsid()\n"
            "        note(f'child{os.getpid()}')\n"
            "        if os.fork(): wait_for_ever()\n"
            "while len([n for n in os.listdir() if n.startswith('child') and '.' not in n]) < 5:\n"
            "    time.sleep(0.01)\n"
        )
    )
    pids = [path.name.removeprefix("child") for path in lab.work.glob("child*[0-9]")]
    assert len(pids) >= 5
    assert all(lab.is_gone(pid) for pid in pids)


# --- it prints or reports too much, or nonsense ---------------------------------------------


def test_a_log_keeps_its_head_and_its_tail_within_the_limit(lab):
    handle = lab.submit_script(
        "print('first')\nfor i in range(200_000): print('line', i)\nprint('{\"loss\": 1}')",
        executor={"log_bytes": 10_000},
    )
    _, metrics, _ = lab.end(handle)
    assert metrics == {"loss": 1.0}
    log = (handle.folder / "stdout.log").read_text()
    assert log.startswith("first\nline 0\n")
    assert log.endswith('line 199999\n{"loss": 1}\n')
    assert "bytes left out ...]" in log
    assert len(log) <= 10_000 + 100


@pytest.mark.parametrize("mebibytes", [64, pytest.param(1024, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("line", [80, 1 << 20], ids=["lines", "hardly a line"])
def test_a_flood_of_output_costs_no_memory_and_no_metric(lab, mebibytes, stream, line):
    handle = lab.submit_script(
        NOTE + "note('ready')\nwait_for('go')\n"
        f"block = (('x' * {line - 1}) + chr(10)) * ({1 << 20} // {line})\n"
        f"for _ in range({mebibytes}): sys.{stream}.write(block)\n"
        "print(chr(10) + '{\"loss\": 1}', flush=True)\nnote('done')\nwait_for('end')",
        executor={"log_bytes": 100_000},
    )
    lab.note("ready")
    launcher = launcher_of(handle)
    before = peak_kilobytes(launcher)
    lab.write("go", "")
    lab.until((lab.work / "done").exists, seconds=600)
    assert peak_kilobytes(launcher) - before < 20_000
    lab.write("end", "")
    _, metrics, verdict = lab.end(handle)
    assert (metrics, verdict.outcome) == ({"loss": 1.0}, Outcome.COMPLETE)
    assert (handle.folder / f"{stream}.log").stat().st_size <= 100_100


@pytest.mark.parametrize(
    "report",
    ['print(\'{"step": %d, "loss": 1}\' % step, flush=True)', "luthier.report(step, loss=1)"],
    ids=["printed", "reported"],
)
def test_no_report_of_a_storm_is_lost(lab, report):
    handle = lab.submit_script(
        f"import luthier\nfor step in range(30_000):\n    {report}\nluthier.report(loss=2)"
    )
    steps = []

    def read():
        ended = lab.executor.ended(handle)
        batch = lab.executor.reports(handle)
        assert len(batch) < 30_000  # however many there are, some at a time
        steps.extend(each.step for each in batch)
        return ended and not batch

    lab.until(read)
    assert sorted(step for step in steps if step is not None) == list(range(30_000))
    assert steps.count(None) == 1


def test_reports_come_in_the_order_in_which_they_were_made(lab):
    handle = lab.submit_script(
        "import luthier\nfor step in (5, 2, 9, 2): luthier.report(step, loss=step)"
    )
    lab.until(lambda: lab.executor.ended(handle))
    assert [report.step for report in lab.executor.reports(handle)] == [5, 2, 9, 2]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_value_that_is_no_number_is_told_and_ends_as_diverged(lab, value):
    handle = lab.submit_script(f"import luthier\nluthier.report(1, loss=float('{value}'))")
    _, metrics, verdict = lab.end(handle)
    assert not math.isfinite(metrics["loss"])
    assert verdict.outcome is Outcome.DIVERGED


@pytest.mark.parametrize("where", ["1", "os.open(os.environ['LUTHIER_METRICS'], 2 | 64 | 1024)"])
def test_half_a_line_at_the_end_spoils_nothing(lab, where):
    handle = lab.submit_script(
        f'import luthier, os\nluthier.report(loss=1)\nos.write({where}, b\'{{"metrics": {{"lo\')'
    )
    _, metrics, verdict = lab.end(handle)
    assert (metrics, verdict.outcome) == ({"loss": 1.0}, Outcome.COMPLETE)


def test_who_closes_its_output_is_still_watched_at_no_cost(lab):
    handle = lab.submit_script(
        "import luthier, os, time\n"
        "os.close(1)\nos.close(2)\n"
        "def cpu_of_launcher():\n"
        "    fields = open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()\n"
        "    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')\n"
        "before = cpu_of_launcher()\n"
        "time.sleep(1)\n"  # the training
        "luthier.report(loss=cpu_of_launcher() - before)\n"
    )
    evidence, metrics, verdict = lab.end(handle)
    assert verdict.outcome is Outcome.COMPLETE
    assert evidence.seconds >= 1
    assert metrics["loss"] < 0.1


# --- it takes too much memory ---------------------------------------------------------------


GREEDY_CHILD = NOTE + (
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    signal.signal(15, signal.SIG_IGN)\n"
    "    note('child', os.getpid())\n"
    "    held = []\n"
    "    while len(held) < 2000: held.append(os.urandom(1 << 20))\n"
    "wait_for_ever()\n"
)


def test_all_processes_of_a_trial_together_keep_the_limit_of_memory(lab):
    handle = lab.submit_script(GREEDY_CHILD, executor={"memory_gib": 0.25, "grace_seconds": 600})
    evidence, _, verdict = lab.end(handle)
    assert verdict.outcome is Outcome.OUT_OF_MEMORY
    assert verdict.reason.endswith("GiB of main memory, but only 0.25 GiB are allowed")
    assert evidence.signal == signal.SIGKILL
    assert 0.25 * 2**30 < evidence.peak_bytes < 2**31
    assert lab.is_gone(lab.note("child"))


def test_memory_that_processes_share_counts_once(lab):
    handle = lab.submit_script(
        NOTE + "shared = os.urandom(150 << 20)\n"
        "children = []\n"
        "for _ in range(3):\n"
        "    pid = os.fork()\n"
        "    if pid == 0: time.sleep(1); os._exit(0)\n"
        "    children.append(pid)\n"
        "for pid in children: os.waitpid(pid, 0)\n"
        "print('{\"loss\": 1}')\n",
        executor={"memory_gib": 0.4},
    )
    evidence, _, verdict = lab.end(handle)
    assert verdict.outcome is Outcome.COMPLETE
    assert 150 << 20 < evidence.peak_bytes <= 0.4 * 2**30


@pytest.mark.parametrize("kind", ["script", "callable"])
def test_the_kernel_is_offered_the_trial_before_its_launcher(lab, kind):
    look = (
        NOTE + "def main(c=None):\n"
        "    for who, pid in ('trial', os.getpid()), ('launcher', os.getppid()):\n"
        "        note(who, open(f'/proc/{pid}/oom_score_adj').read())\n"
    )
    if kind == "script":
        lab.end(lab.submit_script(look + "main()"))
    else:
        lab.end(lab.submit_function(look))
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(lab.note("launcher")) == own
    assert int(lab.note("trial")) >= 500


# --- it ends in an odd way ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("os._exit(0)", Outcome.CRASHED, "ended without reporting loss"),
        ("os._exit(5)", Outcome.CRASHED, "exit code 5"),
        ("luthier.report(loss=1); os._exit(0)", Outcome.COMPLETE, "ended by itself"),
        ("luthier.report(loss=1); raise SystemExit", Outcome.COMPLETE, "ended by itself"),
        ("raise SystemExit(3)", Outcome.CRASHED, "exit code 3"),
        ("sys.stdout.close(); sys.stderr.close(); return 1.0", Outcome.COMPLETE, "ended by itself"),
        ("sys.stderr.close(); 1 / 0", Outcome.CRASHED, "raised ZeroDivisionError"),
        ("raise Unspeakable", Outcome.CRASHED, "raised training.Unspeakable"),
        ("os.abort()", Outcome.CRASHED, "ended by SIGABRT"),
    ],
)
def test_a_function_that_ends_oddly_has_one_outcome(lab, code, outcome, reason):
    handle = lab.submit_function(
        "import luthier, os, sys\n"
        "class Unspeakable(Exception):\n    def __str__(self): return 1 / 0\n"
        f"def main(c):\n    {code}"
    )
    verdict = lab.end(handle)[2]
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


# --- it spoils its own folder ---------------------------------------------------------------


SPOILED = {
    "removed": "import shutil; shutil.rmtree(folder)",
    "emptied": "for name in os.listdir(folder): os.remove(os.path.join(folder, name))",
    "locked": "os.chmod(folder, 0o500)",
}


@pytest.mark.parametrize("how", SPOILED)
def test_who_spoils_its_folder_is_read_to_the_end(lab, how):
    handle = lab.submit_script(
        NOTE + "folder = os.path.dirname(os.environ['LUTHIER_CONFIG'])\n"
        f"print('{{\"loss\": 1}}', flush=True)\nwait_for('read')\n{SPOILED[how]}\n"
        "print('{\"loss\": 2}')"
    )
    assert lab.until(lambda: lab.executor.reports(handle))[0].metrics == {"loss": 1.0}
    assert lab.executor.ended(handle) is None
    lab.write("read", "")
    _, metrics, verdict = lab.end(handle)
    assert (metrics, verdict.outcome) == ({"loss": 2.0}, Outcome.COMPLETE)


@pytest.mark.parametrize("how", SPOILED)
def test_who_spoils_its_folder_can_still_be_stopped(lab, how):
    handle = lab.submit_script(
        NOTE + "folder = os.path.dirname(os.environ['LUTHIER_CONFIG'])\n"
        f"note('ready')\nwait_for('go')\n{SPOILED[how]}\nnote('spoiled')\nwait_for_ever()"
    )
    lab.note("ready")
    assert lab.executor.ended(handle) is None
    lab.write("go", "")
    lab.note("spoiled")
    handle.asked_at = -math.inf  # as if it had begun long ago
    assert lab.executor.ended(handle) is None
    lab.executor.stop(handle, StopReason.STOP)
    assert lab.end(handle)[2].outcome is Outcome.KILLED


def test_a_launcher_that_is_killed_is_found_out_though_the_folder_is_gone(lab):
    handle = lab.submit_script(
        NOTE + "note('pid', os.getpid())\nwait_for('go')\n"
        "import shutil; shutil.rmtree(os.path.dirname(os.environ['LUTHIER_CONFIG']))\n"
        "note('removed')\nwait_for_ever()"
    )
    lab.note("pid")
    launcher = launcher_of(handle)
    assert lab.executor.ended(handle) is None
    lab.write("go", "")
    lab.note("removed")
    os.kill(launcher, signal.SIGKILL)
    assert lab.end(handle)[2].outcome is Outcome.INFRASTRUCTURE
    lab.until(lambda: start_ticks(int(lab.note("pid"))) is None)
