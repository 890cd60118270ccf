"""`luthier retry`: running ended trials again."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Luthier, wait_for

Write = Callable[..., Path]

SPACE = {
    "x": {"type": "float", "low": 0.5, "high": 2.0, "default": 1.0},
    "batch_size": {"type": "int", "low": 16, "high": 512, "default": 128},
}
TRAIN = """
import sys
values = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if int(values["--batch_size"]) == 128:
    raise MemoryError
print(f"step 1 loss={float(values['--x'])}")
"""
"""The first trial, of the defaults, runs out of memory."""


@pytest.fixture
def small(luthier: Luthier, write: Write) -> Luthier:
    """The command line beside a study whose first trial ran out of memory."""
    budget, executor = {"trials": 2}, {"device": "cpu", "slots": 1}
    luthier("tune", write(train=TRAIN, space=SPACE, budget=budget, executor=executor))
    return luthier


def trials(luthier: Luthier) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(luthier("trials", "small", "--json").out)
    return found


def test_a_failed_trial_completes_with_a_changed_parameter(small: Luthier) -> None:
    before = trials(small)
    assert [trial["state"] for trial in before] == ["out_of_memory", "complete"]
    run = small("retry", "small", "--outcome", "out_of_memory", "--set", "batch_size=64")
    assert run.code == 0
    assert "Study small finished: all 2 trials are used" in run.out
    assert run.err.startswith("trial 0 complete")
    after = trials(small)
    assert [trial["state"] for trial in after] == ["complete", "complete"]
    assert after[1] == before[1]
    ran = [(a["outcome"], a["configuration"]["batch_size"]) for a in after[0]["attempts"]]
    assert ran == [("out_of_memory", 128), ("complete", 64)]


def test_what_looks_at_the_study_knows_each_attempts_configuration(
    small: Luthier, tmp_path: Path
) -> None:
    small("retry", "small", "--trial", 0, "--set", "batch_size=64", "--set", "x=0.5")
    shown = small("show", "small", 0).out
    assert "batch_size = 64" in shown
    assert shown.count("with batch_size=128 x=1") == 1
    assert "in trial 0: batch_size=64 x=0.5" in small("best", "small").out
    assert small("report", "small").code == 0
    for name in ("out.csv", "out.json"):
        assert small("export", "study", "small", tmp_path / name).code == 0
    exported = json.loads((tmp_path / "out.json").read_text())["trials"][0]
    assert exported["attempts"][0]["configuration"] == {"x": 1.0, "batch_size": 128}
    assert exported["configuration"] == {"x": 0.5, "batch_size": 64}


def test_a_complete_trial_that_gets_worse_is_the_best_no_more(small: Luthier) -> None:
    small("retry", "small", "--trial", 0, "--set", "batch_size=64", "--set", "x=0.5")
    run = small("retry", "small", "--trial", 0, "--set", "x=2")
    assert run.err.startswith("trial 0 complete: loss=2 (best ")
    assert "trial 1)" in run.err
    assert "in trial 1" in small("best", "small").out


def test_a_retry_in_the_background_is_a_wish_to_whoever_runs_the_study(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    train = """
import os, pathlib, sys, time
if os.environ["LUTHIER_TRIAL"] + os.environ["LUTHIER_ATTEMPT"] == "01":
    sys.exit(3)
pathlib.Path("begun").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.01)
print("step 1 loss=1.0")
"""
    budget, executor = {"trials": 2}, {"device": "cpu", "slots": 1}
    luthier("tune", write(train=train, budget=budget, executor=executor), "--detach")
    wait_for(tmp_path / "begun")
    run = luthier("retry", "small", "--outcome", "crashed")
    assert run.code == 0
    assert "to run again: trial 0." in run.out
    (tmp_path / "go").touch()
    luthier("watch", "small")
    assert [trial["state"] for trial in trials(luthier)] == ["complete", "complete"]

    assert "runs in the background" in luthier("retry", "small", "--trial", 1, "--detach").out
    luthier("watch", "small")
    assert [len(trial["attempts"]) for trial in trials(luthier)] == [2, 2]


BAD = {
    "no filter": ([], "say which trials to run again, by --outcome or --trial"),
    "unknown outcome": (["--outcome", "pruend"], "as 'pruend'; did you mean 'pruned'?"),
    "no match": (["--outcome", "pruned"], "there are 1 complete, 1 out_of_memory"),
    "unknown trial": (["--trial", "7"], "there is no trial 7; the last one is 1"),
    "unknown parameter": (
        ["--trial", "0", "--set", "batch=64"],
        "unknown parameter 'batch'; did you mean 'batch_size'?",
    ),
    "out of range": (
        ["--trial", "0", "--set", "batch_size=1024"],
        "parameter 'batch_size' `16 <= value <= 512` must hold, but got 1024",
    ),
    "no value": (["--trial", "0", "--set", "x"], "--set must read NAME=VALUE, but got 'x'"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_changes_nothing(
    small: Luthier, tmp_path: Path, arguments: list[str], message: str
) -> None:
    refused(small, tmp_path, arguments, message)


def test_a_checkpoint_of_another_configuration_is_refused(small: Luthier, tmp_path: Path) -> None:
    (tmp_path / "home" / "trials" / "small" / "0" / "checkpoint" / "model.bin").touch()
    arguments = ["--trial", "0", "--set", "batch_size=64"]
    refused(small, tmp_path, arguments, "trial 0 has a checkpoint of another configuration")
    assert small("retry", "small", *arguments, "--fresh").code == 0


def test_a_budget_that_is_used_is_refused_before_anything_is_reopened(
    small: Luthier, tmp_path: Path
) -> None:
    small("resume", "small", "--wall", "0.001")
    message = "the wall time of 0.001 s is used; raise the cap with `luthier resume small --wall"
    refused(small, tmp_path, ["--trial", "0"], message)


def test_a_script_that_is_gone_is_refused(small: Luthier, tmp_path: Path) -> None:
    (tmp_path / "train.py").unlink()
    refused(small, tmp_path, ["--trial", "0"], "objective.command: there is no script")


def refused(luthier: Luthier, folder: Path, arguments: list[str], message: str) -> None:
    before = everything(folder)
    run = luthier("retry", "small", *arguments)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("error: ")
    assert message in " ".join(run.err.split())
    assert "Traceback" not in run.err
    assert everything(folder) == before


def everything(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "home" / "ledger.db") as connection:
        dump = list(connection.iterdump())
    connection.close()
    return dump


def test_a_configuration_of_ones_own_is_tried_when_the_study_goes_on(small: Luthier) -> None:
    refused = small("enqueue", "small", "batch_size=64")
    assert (refused.code, "all 2 trials are used" in refused.err) == (2, True)
    small("resume", "small", "--trials", 3, "--detach")
    asked = small("enqueue", "small", "x=0.75", "--like", 1)
    assert asked.code in (0, 2)
    assert small("enqueue", "small", "batch_sise=64").err.count("did you mean 'batch_size'") == 1
