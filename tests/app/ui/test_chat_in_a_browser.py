"""The conversation beside the panels, in a real browser, with a language model and without."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from luthier.evals.advisers import planning
from luthier.evals.advisers.server import serve
from luthier.evals.browsing import Served, click, forked, shows, until
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from .conftest import Bench

Open = Callable[..., Served]

TRAIN = """\
import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01)
p.add_argument("--seed", type=int, default=1)
args = p.parse_args()
print(f"val_acc={1 - abs(args.lr - 0.02):.4f}")
"""


@pytest.fixture(params=["with a model", "without"])
def project(
    bench: Bench, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A project with a script; a simulated planner answers in it, or nobody."""
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"LUTHIER_LLM_{name}", raising=False)
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    (bench.project / "train.py").write_text(TRAIN, encoding="utf-8")
    with ExitStack() as stack:
        if request.param == "with a model":
            server = stack.enter_context(serve(planning.planner))
            monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
            monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)
        yield bench
        for study in bench.ledger.studies():
            if (owner := bench.ledger.owner(study)) is not None:
                os.kill(owner.pid, signal.SIGKILL)


def say(browser: Any, text: str) -> None:
    until(shows(browser, "#lu-box textarea"), "the field to write in")
    field = browser.find_element(By.CSS_SELECTOR, "#lu-box textarea")
    field.send_keys(text, Keys.ENTER)


def see(browser: Any, selector: str, text: str = "") -> None:
    until(shows(browser, selector, text), f"{selector} with {text!r}")


def answer(browser: Any, text: str) -> None:
    """Write into the field of the question that waits."""
    see(browser, "#lu-asks .lu-input")
    browser.find_element(By.CSS_SELECTOR, "#lu-asks .lu-input").send_keys(text)


def test_from_a_sentence_over_a_refusal_and_a_change_to_trials_that_outlive_the_page(
    project: Bench, page: Open, browser: Any
) -> None:
    ui = page()
    see(browser, "#lu-said", "Which model shall I tune?")
    say(browser, "tune train.py, maximise val_acc, 12 trials")
    see(browser, "#lu-asks", "1 decision waits for you")
    answer(browser, "not yet")
    click(browser, "#lu-asks button", "Reject")
    until(lambda: not shows(browser, "#lu-asks section")(), "the end of the question")
    say(browser, "tune train.py, maximise val_acc, 12 trials")
    answer(browser, "trials=5")
    click(browser, "#lu-asks button", "Approve with changes")
    see(browser, "#lu-head", "of 5 trials")
    see(browser, "#lu-trials tr", "complete")
    see(browser, "#lu-said details", "start study")
    ui.kill()
    where = browser.current_url.partition("?")[2]
    assert "conversation=" in where
    with forked(project.workspace.folder, project.project) as again:
        browser.get(f"{again.url}?{where}")
        see(browser, "#lu-said", "tune train.py, maximise val_acc, 12 trials")
        see(browser, "#lu-head", "finished")
        browser.get(again.url)  # another browser, which has no link
        see(browser, "#lu-said", "tune train.py, maximise val_acc, 12 trials")
        say(browser, "what is the best result?")
        see(browser, "#lu-said details", "best trials")
        see(browser, "#lu-status", "5 of 5 trials")
    (study,) = project.ledger.studies()
    assert study.spec.budget.trials == 5


def test_an_old_message_is_put_back_into_the_field_and_a_new_talk_is_empty(
    project: Bench, page: Open, browser: Any
) -> None:
    page()
    say(browser, "what can you do?")
    click(browser, "#lu-live button", "Edit and ask")
    field = browser.find_element(By.CSS_SELECTOR, "#lu-box textarea")
    until(lambda: field.get_attribute("value") == "what can you do?", "the message")
    click(browser, "#lu-chat button", "New")
    see(browser, "#lu-said", "Which model shall I tune?")


def test_what_was_said_stays_text(project: Bench, page: Open, browser: Any) -> None:
    page()
    say(browser, "<img src=x onerror=window.hacked=1><b>bold</b>")
    see(browser, "#lu-said .lu-person", "<b>bold</b>")
    see(browser, "#lu-said .lu-luthier")
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.querySelectorAll('#lu-said b').length") == 0


def test_a_script_that_is_dropped_can_be_spoken_of(
    project: Bench, page: Open, browser: Any
) -> None:
    page()
    see(browser, "#lu-box textarea")
    script = project.project / "other.py"
    script.write_text(TRAIN)
    field = browser.find_element(By.CSS_SELECTOR, "#lu-box input[type=file]")
    field.send_keys(str(script))
    see(browser, "#lu-box .thumbnail-item")
    say(browser, "look at this")
    see(browser, "#lu-said .lu-person", "uploads/other.py")
    assert (project.project / "uploads" / "other.py").read_text() == TRAIN
