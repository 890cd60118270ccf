"""A person's whole way through the page: from nothing to a report, with a model and without."""

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from luthier.evals.advisers import planning
from luthier.evals.advisers.server import serve
from luthier.evals.browsing import Served, chromium, click, resize, served, shows, until
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from .conftest import Bench

Open = Callable[..., Served]

TRAIN = """\
import argparse
import pathlib
import time
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01)
p.add_argument("--seed", type=int, default=1)
args = p.parse_args()
for epoch in range(2):
    print(f"epoch {epoch} val_acc={1 - abs(args.lr - 0.02) + args.seed % 7 / 1000:.4f}", flush=True)
if pathlib.Path("slow").exists():
    time.sleep(600)
"""


@pytest.fixture(params=["with a model", "without"])
def project(
    bench: Bench, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """An empty workspace beside a script; a simulated planner answers, or nobody."""
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"LUTHIER_LLM_{name}", raising=False)
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    (bench.project / "train.py").write_text(TRAIN, encoding="utf-8")
    (bench.project / "slow").touch()
    with ExitStack() as stack:
        if request.param == "with a model":
            server = stack.enter_context(serve(planning.planner))
            monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
            monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        yield bench
        for study in bench.ledger.studies():
            bench.ledger.wish(study, "stop", at_once=True)
            until(lambda study=study: bench.ledger.owner(study) is None, "the worker's end")


def see(browser: Any, selector: str, text: str = "", within: float = 30.0) -> None:
    until(shows(browser, selector, text), f"{selector} with {text!r}", within)


def write(browser: Any, selector: str, *keys: str) -> None:
    see(browser, selector)
    field = browser.find_element(By.CSS_SELECTOR, selector)
    field.clear()
    field.send_keys(*keys)


def next_step(browser: Any) -> None:
    click(browser, "#lu-guide .lu-main")


def test_from_the_first_run_to_a_report(project: Bench, page: Open, browser: Any) -> None:
    ui = page()
    write(browser, "#lu-guide [name=source]", "nothing.py")
    next_step(browser)
    see(browser, "#lu-wrong-source", "there is no file 'nothing.py'")
    write(browser, "#lu-guide [name=source]", "train.py")
    next_step(browser)
    see(browser, "#lu-guide [name=metric]")
    next_step(browser)
    write(browser, "#lu-guide [name='high:lr']", "0.2")
    next_step(browser)
    write(browser, "#lu-guide [name=trials]", "9")
    write(browser, "#lu-guide [name=name]", "first")
    next_step(browser)

    see(browser, "#lu-asks", "1 decision waits for you")
    assert project.ledger.studies() == []
    write(browser, "#lu-asks .lu-input", "trials=5")
    click(browser, "#lu-asks button", "Approve with changes")
    see(browser, "#lu-head", "of 5 trials")

    (study,) = project.ledger.studies()
    assert study.spec.space["lr"].model_dump()["high"] == 0.2
    until(lambda: project.ledger.trials(study), "a trial", 120.0)
    number = project.ledger.trials(study)[0].number
    click(browser, f"#lu-trials a[data-arg='{number}']")
    click(browser, "#lu-trial button", "Stop this trial")
    browser.switch_to.alert.accept()
    see(browser, "#lu-notice", f"to stop trial {number}")
    see(browser, "#lu-trials tr", "killed", 60.0)
    (project.project / "slow").unlink()
    ui.kill()  # with the page open, and trials under way
    for trial in project.ledger.trials(study):
        if trial.state == "running":
            project.ledger.wish(study, "stop_trial", trial=trial.number)
    until(lambda: project.ledger.owner(study) is None, "the end of the study", 180.0)

    with served(project.workspace.folder, project.project) as again, chromium() as other:
        resize(other, 1280, 800)
        other.get(again.url)
        see(other, "#lu-said", "/start first@")
        see(other, "#lu-head", "finished")
        write(other, "#lu-box textarea", "/confirm first", Keys.ENTER)
        see(other, "#lu-asks", "confirm")
        click(other, "#lu-asks button", "Approve")
        see(other, "#lu-trials tr", "confirm", 120.0)
        until(lambda: project.ledger.owner(study) is None, "the end of the repeats", 240.0)
        click(other, "button[role=tab]", "Report")
        click(other, "button", "Write the report")
        see(other, "#lu-report", "first", 60.0)
        files = "a[href*='first.html']"
        found = until(lambda: other.find_elements(By.CSS_SELECTOR, files), "the report to download")
        with urllib.request.urlopen(found[0].get_attribute("href"), timeout=60) as download:
            report = download.read()
    assert report == (project.workspace.reports / "first.html").read_bytes()
    assert b"within noise" in report or b"confirmed better" in report


def test_a_page_that_is_killed_in_the_middle_of_a_study_loses_nothing(
    project: Bench, page: Open, browser: Any
) -> None:
    ui = page()
    write(browser, "#lu-box textarea", "tune train.py, maximise val_acc, 4 trials", Keys.ENTER)
    click(browser, "#lu-asks button", "Approve")
    until(lambda: project.ledger.studies(), "the study", 60.0)
    (study,) = project.ledger.studies()
    until(lambda: project.ledger.trials(study), "a trial", 120.0)
    owner, begun = project.ledger.owner(study), project.ledger.trials(study)
    ui.kill()

    with served(project.workspace.folder, project.project) as again:
        now = project.ledger.owner(study)
        assert owner is not None
        assert now is not None
        assert now.pid == owner.pid
        browser.get(again.url)
        see(browser, "#lu-said", "tune train.py, maximise val_acc, 4 trials")
        see(browser, "#lu-trials tr", "running")
    numbers = [trial.number for trial in project.ledger.trials(study)]
    assert numbers[: len(begun)] == [trial.number for trial in begun]
