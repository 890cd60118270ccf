"""`luthier confirm`: what is chance, and what may be quoted."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Luthier, wait_for

Write = Callable[..., Path]

TRAIN = """
import random, sys
values = dict(zip(sys.argv[1::2], sys.argv[2::2]))
noise = random.Random(values["--x"] + values["--seed"]).random()
print(f"step 1 loss={float(values['--x']) + 1e-3 * noise}")
"""
OBJECTIVE = {"kind": "script", "command": ["python", "train.py"], "seed_argument": "--seed"}


@pytest.fixture
def small(luthier: Luthier, write: Write) -> Luthier:
    """The command line beside a finished study of four trials."""
    luthier("tune", write(train=TRAIN, objective=OBJECTIVE))
    return luthier


def flat(text: str) -> str:
    return " ".join(text.split())


def trials(luthier: Luthier) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(luthier("trials", "small", "--json").out)
    return found


def test_before_it_everything_says_single_run(small: Luthier) -> None:
    best = flat(small("best", "small").out)
    assert "A single run; no statistical claim is made." in best
    assert best.endswith("fresh seeds with: luthier confirm small")
    (document,) = json.loads(small("best", "small", "--json").out)
    assert document["claim"]["status"] == "single run"
    assert ", single run" in small("status").out


def test_after_it_everything_quotes_the_claim(small: Luthier, tmp_path: Path) -> None:
    run = small("confirm", "small", "--repeats", 3)
    assert run.code == 0
    assert "Study small finished: all 4 trials are used" in run.out
    assert run.err.count("a repeat of") == 6
    (document,) = json.loads(small("best", "small", "--json").out)
    claim = document["claim"]
    assert (claim["status"], claim["runs"], claim["seeds"]) == ("confirmed", 3, "fresh")
    quote = claim["sentence"].split(" (")[0]
    challenger = claim["difference"]["trial"]
    number = claim["trial"]
    for command in (["best", "small"], ["show", "small", number]):
        shown = flat(small(*command).out)
        assert f"(95%, 3 runs on fresh seeds), confirmed better than trial {challenger}." in shown
        assert quote in shown
    assert f"{quote} (95%, 3 runs)" in small("status").out
    assert f"loss {quote} (95%, 3 runs)" in small("status", "small").out
    small("report", "small")
    for path in (tmp_path / "home" / "reports").iterdir():
        assert claim["sentence"].split(". ")[0] in path.read_text(encoding="utf-8")


def test_repeats_are_told_apart(small: Luthier, tmp_path: Path) -> None:
    small("confirm", "small", "--repeats", 3, "--trials", "2, 1")
    assert [(t["repeat_of"], t["seed"]) for t in trials(small)[4:]] == [
        (1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (2, 3),
    ]  # fmt: skip
    assert small("trials", "small").out.count("confirm 2") == 3
    assert "repeats trial 1, with seed 1" in small("show", "small", 4).out
    assert "4 of 4 trials" in small("status", "small").out
    small("export", "study", "small", tmp_path / "out.csv")
    header, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert ",repeat_of,seed,reason" in header
    assert len(rows) == 10


def test_a_complete_repeat_stands_as_evidence(small: Luthier) -> None:
    small("confirm", "small", "--repeats", 1)
    run = small("retry", "small", "--trial", 4)
    assert run.code == 2
    assert "and complete, so it stands as evidence; add others with `luthier confirm`" in flat(
        run.err
    )


def test_a_failed_repeat_runs_again_but_not_with_another_value(
    luthier: Luthier, write: Write
) -> None:
    failing = "import os, sys\nif os.environ['LUTHIER_TRIAL'] == '4': sys.exit(3)\n" + TRAIN
    luthier("tune", write(train=failing, objective=OBJECTIVE))
    luthier("confirm", "small", "--repeats", 1)
    assert trials(luthier)[4]["state"] == "crashed"
    run = luthier("retry", "small", "--trial", 4, "--set", "x=1")
    assert "whose configuration it must have; leave out --set" in flat(run.err)
    write(train=TRAIN, objective=OBJECTIVE)
    assert luthier("retry", "small", "--trial", 4).code == 0
    assert trials(luthier)[4]["state"] == "complete"


def test_whoever_runs_the_study_is_asked(luthier: Luthier, write: Write, tmp_path: Path) -> None:
    gate = """
import os, pathlib, time
if os.environ["LUTHIER_TRIAL"] == "2":
    pathlib.Path("begun").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
"""
    executor = {"device": "cpu", "slots": 1}
    spec = write(train=gate + TRAIN, objective=OBJECTIVE, budget={"trials": 3}, executor=executor)
    luthier("tune", spec, "--detach")
    wait_for(tmp_path / "begun")
    run = luthier("confirm", "small", "--repeats", 1)
    assert run.code == 0
    assert "to repeat trial 0 and 1." in run.out
    (tmp_path / "go").touch()
    luthier("watch", "small")
    assert [t["repeat_of"] for t in trials(luthier)] == [None, None, None, 0, 1]


BAD = {
    "no number": (["--trials", "a,1"], "--trials must be numbers of trials such as 25,12"),
    "unknown trial": (["--trials", "9"], "there is no trial 9; the last one is 3"),
    "no repeats": (["--repeats", "0"], "--repeats must be at least 1, but got 0"),
    "unknown study": (["--repeats", "3"], "did you mean 'small'?"),
    "too long": (["--wall", "0.001"], "for 10 repeats about "),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_changes_nothing(
    small: Luthier, tmp_path: Path, arguments: list[str], message: str
) -> None:
    before = everything(tmp_path)
    run = small("confirm", "smal" if "did you mean" in message else "small", *arguments)
    assert (run.code, run.out) == (2, "")
    assert message in flat(run.err)
    assert "Traceback" not in run.err
    assert everything(tmp_path) == before


def test_a_repeat_or_a_failed_trial_is_not_repeated(luthier: Luthier, write: Write) -> None:
    train = TRAIN + "if sys.argv[0] and float(values['--x']) == 1.0: sys.exit(3)\n"
    luthier("tune", write(train=train, objective=OBJECTIVE))
    run = luthier("confirm", "small", "--trials", "0")
    assert "trial 0 is crashed; only a complete one within the limits is repeated" in flat(run.err)
    luthier("confirm", "small", "--repeats", 1)
    run = luthier("confirm", "small", "--trials", "4")
    assert "trial 4 is itself a repeat of trial" in flat(run.err)


def test_of_several_objectives_nothing_is_claimed(luthier: Luthier, write: Write) -> None:
    two = {
        "loss": {"direction": "minimize", "pattern": "loss={value}"},
        "cost": {"direction": "maximize", "pattern": "loss={value}"},
    }
    luthier("tune", write(train=TRAIN, objective=OBJECTIVE, metrics=two))
    assert "no statistical claim is made of a front" in flat(luthier("best", "small").out)
    assert "several objectives" in luthier("confirm", "small").err


def test_a_spec_that_asks_for_repeats_later_is_told_the_way(small: Luthier, write: Write) -> None:
    run = small("tune", write(train=TRAIN, objective=OBJECTIVE, confirm={"repeats": 3}))
    assert "`luthier confirm small --repeats N` to repeat its best trials" in flat(run.err)


def everything(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "home" / "ledger.db") as connection:
        dump = list(connection.iterdump())
    connection.close()
    return dump
