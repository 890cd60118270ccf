import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from luthier.app.lab_demo import TRIALS, lab_spec, story
from luthier.tools.ledger import open_ledger
from luthier.tools.outcomes import Outcome, Verdict
from luthier.tools.records import Decision
from luthier.tools.study import Study, open_or_create, open_study
from luthier.tools.workspace import Workspace
from rich.console import Console


def text_of(study: Study) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(story(study))
    return console.export_text()


def test_the_story_tells_what_went_wrong_when_and_what_came_of_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ledger = open_ledger(workspace.ledger_path)
    record = open_or_create(ledger, lab_spec(), tmp_path)
    writer = ledger.acquire(record)
    decision = Decision(source="sobol", reason="evenly")
    for number, (outcome, reason) in enumerate(
        [(Outcome.COMPLETE, "ended by itself"), (Outcome.OUT_OF_MEMORY, "raised \x1b[2J")]
    ):
        trial = writer.add_trial(number, {"lr": 0.1}, decision, "lab:0", 0.0)
        writer.finish_attempt(
            trial,
            Verdict(outcome, reason),
            metrics={},
            seconds=1.0,
            peak_bytes=0,
            error_tail="",
            again=False,
        )
    writer.note("out_of_service", device="lab:1", reason="it is dead")
    told = text_of(Study(ledger, workspace, "lab"))
    assert "trial 1: out_of_memory, raised �[2J" in told
    assert "lab:1 is taken out of service: it is dead" in told
    assert "trial 0" not in told
    assert "2 trials, 0 run again, 0 lost to the machine." in told
    ledger.close()


@pytest.mark.slow
def test_the_demo_shows_each_kind_of_trouble_and_loses_no_trial(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "luthier.app", "demo", "--lab"],
        env={**os.environ, "LUTHIER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    for what in (
        "out_of_memory",
        "has been silent for too long",
        "lab:1 is taken out of service",
        "is taken over by the new worker",
    ):
        assert what in done.stdout
    assert re.search(rf"{TRIALS} trials, \d+ run again, 0 lost to the machine\.", done.stdout)
    study = open_study("lab", tmp_path)
    assert (study.state, len(study.trials())) == ("finished", TRIALS)
    assert all(trial.is_finished for trial in study.trials())
    study.ledger.close()
