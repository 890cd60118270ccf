import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

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


def test_a_checkpoint_comes_back(trial):
    luthier.save_checkpoint({"epoch": 1})
    luthier.save_checkpoint({"epoch": 2, "weights": [1.0, 2.0]})
    assert luthier.load_checkpoint() == {"epoch": 2, "weights": [1.0, 2.0]}
    assert [path.name for path in trial.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("instant", ["open", "fsync", "replace"])
def test_a_kill_in_the_middle_of_a_save_leaves_the_checkpoint_before(
    tmp_path, monkeypatch, instant
):
    where = {
        "open": "import builtins\nbuiltins.open = lambda *a, **k: die()\n",
        "fsync": "os.fsync = lambda *a: die()\n",
        "replace": "os.replace = lambda *a: die()\n",
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
    assert luthier.load_checkpoint() == {"epoch": 1}


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[:-1],
        lambda c: c[:-1] + b"\0",
        lambda c: c + b"x",
        lambda c: b"",
        lambda c: c[8:],
    ],
    ids=["torn", "changed", "longer", "empty", "foreign"],
)
def test_a_damaged_checkpoint_is_refused(trial, damage):
    luthier.save_checkpoint({"epoch": 1})
    path = Path(trial / "checkpoint")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="is damaged; delete it to start afresh"):
        luthier.load_checkpoint()
