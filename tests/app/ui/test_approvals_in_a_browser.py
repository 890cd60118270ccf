"""All that waits for a person's word, in one panel of the page."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from luthier.agent.dialogue import Dialogue
from luthier.agent.toolbox.desk import Desk
from luthier.evals.browsing import Served, click, shows, until
from selenium.webdriver.common.by import By

from .conftest import Bench

Open = Callable[..., Served]
TRAIN = """\
import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01)
args = p.parse_args()
print(f"val_acc={args.lr:.4f}")
"""


@pytest.fixture
def desk(bench: Bench) -> Iterator[Desk]:
    (bench.project / "train.py").write_text(TRAIN, encoding="utf-8")
    desk = Desk(bench.workspace, bench.project)
    yield desk
    for study in bench.ledger.studies():
        if bench.ledger.owner(study) is not None and study.name not in bench.writers:
            bench.ledger.wish(study, "stop", at_once=True)
            until(lambda study=study: bench.ledger.owner(study) is None, "the worker's end")


def ask(desk: Desk, text: str) -> None:
    """Say something in a conversation of its own, of which no page knows."""
    dialogue = Dialogue(desk)
    list(dialogue.send(text))
    dialogue.close()


def see(browser: Any, selector: str, text: str = "") -> None:
    until(shows(browser, selector, text), f"{selector} with {text!r}")


def write(browser: Any, selector: str, text: str) -> None:
    see(browser, selector)
    browser.find_element(By.CSS_SELECTOR, selector).send_keys(text)


def test_what_waits_in_any_conversation_is_counted_shown_and_decided(
    bench: Bench, desk: Desk, page: Open, browser: Any
) -> None:
    study = bench.study()
    bench.run(study, 0, 0.75)
    ask(desk, "/try lr=0.002 digits")
    ask(desk, "/tune train.py val_acc maximize 40 trials")
    page()
    see(browser, "#lu-waiting button", "2 to decide")
    click(browser, "#lu-waiting button")
    see(browser, "#lu-approval-1", "Enqueue trial?")
    see(browser, "#lu-approval-1", "Best so far in digits: acc 0.75 in trial 0.")
    see(browser, "#lu-approval-1", "0.002 here")
    see(browser, "#lu-approval-2", "runs the study's code with your rights")
    see(browser, "#lu-approval-2", "There is no earlier result")
    see(browser, "#lu-approval-2 .lu-table", "40")

    write(browser, "#lu-reject-1", "too near")
    click(browser, "#lu-approval-1 button", "Reject")
    see(browser, "#lu-waiting button", "1 to decide")
    assert bench.writers["digits"].wishes() == []

    write(browser, "#lu-caps-2 [name=trials]", "2")
    click(browser, "#lu-approval-2 button", "Approve with these caps")
    see(browser, "#lu-approvals", "Nothing waits for your decision")
    until(lambda: len(bench.ledger.studies()) == 2, "the study")
    assert bench.ledger.studies()[-1].spec.budget.trials == 2


def test_a_cap_that_makes_no_sense_leaves_the_question_open(
    bench: Bench, desk: Desk, page: Open, browser: Any
) -> None:
    ask(desk, "/tune train.py val_acc maximize 40 trials")
    page("?panel=approvals")
    click(browser, "#lu-approval-1 button", "Approve with these caps")
    see(browser, "#lu-decided", "write how many trials")
    write(browser, "#lu-caps-1 [name=trials]", "many")
    click(browser, "#lu-approval-1 button", "Approve with these caps")
    see(browser, "#lu-approval-1", "Start study?")
    assert bench.ledger.studies() == []
