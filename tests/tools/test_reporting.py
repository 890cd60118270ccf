import json
import math
import os
import shutil
import signal
import subprocess
import sys

import pytest
from luthier.tools import reporting
from luthier.tools.metrics import MetricsFile
from luthier.tools.reporting import CheckpointError, TrialPruned

import luthier


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """Pretend to be in a trial."""
    for name in ("metrics", "stop", "checkpoint", "config"):
        monkeypatch.setenv(f"LUTHIER_{name.upper()}", str(tmp_path / name))
    (tmp_path / "config").write_text("{}")
    return tmp_path


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics").read_text().splitlines()]


def run_alone(folder, code, **environment):
    """Run code beside a copy of the reporter, in a Python that knows nothing of luthier."""
    shutil.copy(reporting.__file__, folder / "luthier_report.py")
    script = folder / "train.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from luthier_report import *\n"
        "import luthier_report as reporter\n" + code
    )
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), str(folder)],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_public_names_are_the_reporters():
    for name in ("report", "save_checkpoint", "load_checkpoint", "TrialPruned"):
        assert getattr(luthier, name) is getattr(reporting, name)


def test_outside_a_trial_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LUTHIER_")]:
        monkeypatch.delenv(name)
    luthier.report(1, acc=0.5)
    luthier.save_checkpoint({"epoch": 1})
    assert luthier.load_checkpoint() is None
    assert reporting.config() == {}
    assert reporting.seed() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_one_json_line(trial):
    luthier.report(step=3, acc=0.5, loss=1)
    luthier.report(acc=1)
    first, last = lines(trial)
    assert first["step"] == 3
    assert first["metrics"] == {"acc": 0.5, "loss": 1.0}
    assert "step" not in last


def test_numbers_of_other_libraries_nan_and_infinity_are_reported(trial):
    import numpy as np
    import torch

    luthier.report(1, a=np.float32(0.5), b=torch.tensor(2.0), c=math.nan, d=-math.inf)
    (report,) = MetricsFile(trial / "metrics").read_new()
    assert (report.metrics["a"], report.metrics["b"]) == (0.5, 2.0)
    assert math.isnan(report.metrics["c"])
    assert report.metrics["d"] == -math.inf


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: luthier.report(1), ValueError, "needs at least one metric"),
        (lambda: luthier.report(-1, a=1), ValueError, "`step >= 0` must hold, but got step=-1"),
        (lambda: luthier.report(1, a="x"), TypeError, "metric 'a' must be a number, but got 'x'"),
        (lambda: luthier.report(1, a=None), TypeError, "metric 'a' must be a number"),
        (lambda: luthier.report(1, a=10**400), TypeError, "metric 'a' must be a number"),
    ],
)
def test_a_wrong_report_is_refused_and_writes_nothing(trial, call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert not (trial / "metrics").exists()


def test_a_stop_file_raises_after_the_report_is_written(trial):
    luthier.report(1, acc=0.1)
    (trial / "stop").touch()
    with pytest.raises(TrialPruned, match="stopped early at step 2"):
        luthier.report(2, acc=0.2)
    assert [line["step"] for line in lines(trial)] == [1, 2]


def test_a_copy_of_the_file_runs_alone_in_any_python(tmp_path):
    (tmp_path / "config").write_text('{"lr": 0.5}')
    process = run_alone(
        tmp_path,
        "import sys\n"
        "assert 'site' not in sys.modules\n"
        "state = reporter.load_checkpoint() or {'epoch': 0}\n"
        "report(state['epoch'], lr=reporter.config()['lr'], seed=reporter.seed())\n"
        "save_checkpoint({'epoch': state['epoch'] + 1})\n"
        "print(reporter.load_checkpoint())\n",
        LUTHIER_METRICS=str(tmp_path / "metrics"),
        LUTHIER_CONFIG=str(tmp_path / "config"),
        LUTHIER_CHECKPOINT=str(tmp_path / "checkpoint"),
        LUTHIER_SEED="7",
        LUTHIER_WAKE=str(tmp_path / "nobody listens"),
    )
    out, error = process.communicate(timeout=30)
    assert (process.returncode, error, out) == (0, "", "{'epoch': 1}\n")
    assert lines(tmp_path)[0]["metrics"] == {"lr": 0.5, "seed": 7.0}


def test_appends_of_two_processes_do_not_mix(tmp_path):
    code = (
        "import sys\n"
        "for step in range(2000):\n"
        "    reporter.report(step, **{f'metric_of_{NAME}': step, 'padding' * 20: 0.5})\n"
    )
    processes = []
    for name in ("left", "right"):
        folder = tmp_path / name
        folder.mkdir()
        processes.append(
            run_alone(
                folder, f"NAME = {name!r}\n" + code, LUTHIER_METRICS=str(tmp_path / "metrics")
            )
        )
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    written = lines(tmp_path)
    for name in ("left", "right"):
        of_one = [line["step"] for line in written if f"metric_of_{name}" in line["metrics"]]
        assert of_one == list(range(2000))


def test_a_report_wakes_whoever_listens(trial, monkeypatch):
    fifo = trial / "wake"
    os.mkfifo(fifo)
    monkeypatch.setenv("LUTHIER_WAKE", str(fifo))
    listener = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    luthier.report(1, a=1)
    assert os.read(listener, 100) == b"\n"
    os.close(listener)
    luthier.report(2, a=1)


# --- checkpoints ----------------------------------------------------------------------------


def files(folder):
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


def test_the_newest_checkpoint_comes_back(trial):
    assert luthier.load_checkpoint() is None
    luthier.save_checkpoint({"epoch": 1})
    luthier.save_checkpoint({"epoch": 2, "weights": [1.0, 2.0]})
    assert luthier.load_checkpoint() == {"epoch": 2, "weights": [1.0, 2.0]}
    assert files(trial) == ["00000002.ckpt"]


def test_a_checkpoint_says_what_it_is_before_its_state(trial):
    (trial / "config").write_text('{"lr": 0.5}')
    luthier.save_checkpoint("state", step=12, value=0.25)
    (path,) = reporting.checkpoint_files(str(trial / "checkpoint"))
    digest = reporting.configuration_digest({"lr": 0.5})
    expected = {"step": 12, "value": 0.25, "configuration": digest}
    assert reporting.checkpoint_header(path) == expected


def save_each(values):
    for step, value in enumerate(values, start=1):
        luthier.save_checkpoint(step, step=step, value=value)


def kept(folder):
    return [int(name[:8]) for name in files(folder)]


@pytest.mark.parametrize(
    ("last", "best", "direction", "expected"),
    [
        (1, 0, "maximize", [6]),
        (3, 0, "maximize", [4, 5, 6]),
        (1, 1, "maximize", [2, 6]),
        (1, 1, "minimize", [1, 6]),
        (2, 2, "maximize", [2, 3, 5, 6]),
        (9, 9, "maximize", [1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_newest_and_the_best_are_kept(trial, monkeypatch, last, best, direction, expected):
    monkeypatch.setenv("LUTHIER_KEEP_LAST", str(last))
    monkeypatch.setenv("LUTHIER_KEEP_BEST", str(best))
    monkeypatch.setenv("LUTHIER_DIRECTION", direction)
    save_each([0.1, 0.9, 0.5, math.nan, None, 0.3])
    assert kept(trial) == expected
    assert luthier.load_checkpoint() == 6
    if best:
        assert luthier.load_checkpoint("best") == (1 if direction == "minimize" else 2)


def test_of_equally_good_checkpoints_the_newest_is_the_best(trial, monkeypatch):
    monkeypatch.setenv("LUTHIER_KEEP_BEST", "1")
    save_each([0.5, 0.5, 0.1])
    assert luthier.load_checkpoint("best") == 2


def test_without_a_value_there_is_no_best_one(trial):
    luthier.save_checkpoint({"epoch": 1})
    assert luthier.load_checkpoint("best") is None
    with pytest.raises(ValueError, match="must be 'latest' or 'best', but got 'last'"):
        luthier.load_checkpoint("last")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"step": -1}, ValueError, "`step >= 0` must hold, but got step=-1"),
        ({"value": "x"}, TypeError, "metric 'value' must be a number, but got 'x'"),
    ],
)
def test_a_wrong_checkpoint_is_refused_and_writes_nothing(trial, arguments, error, message):
    with pytest.raises(error, match=message):
        luthier.save_checkpoint({}, **arguments)
    assert not (trial / "checkpoint").exists()


@pytest.mark.parametrize("instant", ["open", "fsync", "replace", "remove"])
def test_a_kill_in_the_middle_of_a_save_leaves_a_whole_checkpoint(tmp_path, monkeypatch, instant):
    where = {
        "open": "import builtins\nbuiltins.open = lambda *a, **k: die()\n",
        "fsync": "os.fsync = lambda *a: die()\n",
        "replace": "os.replace = lambda *a: die()\n",
        "remove": "os.remove = lambda *a: die()\n",
    }[instant]
    process = run_alone(
        tmp_path,
        "import os, signal\n"
        "def die():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "save_checkpoint({'epoch': 1})\n" + where + "save_checkpoint({'epoch': 2})\n",
        LUTHIER_CHECKPOINT=str(tmp_path / "checkpoint"),
    )
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    monkeypatch.setenv("LUTHIER_CHECKPOINT", str(tmp_path / "checkpoint"))
    assert luthier.load_checkpoint() == {"epoch": 2 if instant == "remove" else 1}
    luthier.save_checkpoint({"epoch": 3})
    assert [name for name in files(tmp_path) if name.endswith(".ckpt")] == [
        "00000003.ckpt" if instant == "remove" else "00000002.ckpt"
    ]


DAMAGES = {
    "torn": lambda c: c[:-1],
    "changed": lambda c: c[:-1] + b"\0",
    "longer": lambda c: c + b"x",
    "empty": lambda c: b"",
    "foreign": lambda c: c[8:],
    "another header": lambda c: c.replace(b'"step": 2', b'"step": 3'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(trial, monkeypatch, capfd, damage):
    monkeypatch.setenv("LUTHIER_KEEP_LAST", "2")
    save_each([None, None])
    path = trial / "checkpoint" / "00000002.ckpt"
    path.write_bytes(damage(path.read_bytes()))
    assert luthier.load_checkpoint() == 1
    assert (
        capfd.readouterr().err == f"luthier: passed over checkpoint {str(path)!r}, it is damaged\n"
    )
    luthier.save_checkpoint(3)
    assert kept(trial) == [1, 3]  # a damaged one is none of the two to keep


def test_when_all_checkpoints_are_damaged_nothing_is_made_of_them(trial, monkeypatch):
    monkeypatch.setenv("LUTHIER_KEEP_LAST", "2")
    save_each([0.1, 0.2])
    for path in (trial / "checkpoint").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    for which in ("latest", "best"):
        with pytest.raises(CheckpointError, match="all 2 checkpoints in .* are damaged; start"):
            luthier.load_checkpoint(which)


def test_a_checkpoint_of_another_configuration_is_refused(trial):
    (trial / "config").write_text('{"lr": 0.5, "n": 1}')
    luthier.save_checkpoint({"epoch": 1})
    (trial / "config").write_text('{"n": 1, "lr": 0.5}')
    assert luthier.load_checkpoint() == {"epoch": 1}
    (trial / "config").write_text('{"lr": 0.25, "n": 1}')
    message = r"belongs to another configuration than \{'lr': 0.25, 'n': 1\}; start the trial over"
    with pytest.raises(CheckpointError, match=message):
        luthier.load_checkpoint()


def test_files_of_the_script_s_own_are_left_alone(trial):
    (trial / "checkpoint").mkdir()
    (trial / "checkpoint" / "model.bin").write_bytes(b"mine")
    assert luthier.load_checkpoint() is None
    save_each([None, None])
    assert files(trial) == ["00000002.ckpt", "model.bin"]


def test_of_several_processes_only_the_first_reports_and_saves(trial, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    luthier.report(1, acc=0.5)
    luthier.save_checkpoint({"epoch": 1})
    monkeypatch.setenv("RANK", "1")
    luthier.report(2, acc=0.6)
    luthier.save_checkpoint({"epoch": 2})
    assert [line["step"] for line in lines(trial)] == [1]
    assert luthier.load_checkpoint() == {"epoch": 1}
    (trial / "stop").touch()
    with pytest.raises(TrialPruned):
        luthier.report(3, acc=0.7)
