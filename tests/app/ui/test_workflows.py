"""Edits of workflows as a person meets them: looked over, applied in part, taken back."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.workflow import Settings, optimise
from luthier.agent.workflow.files import load_pipeline
from luthier.agent.workflow.propose import Edit, Proposal, Proposed
from luthier.agent.workflow.represent import Problem
from luthier.app.ui.start import Starting
from luthier.app.ui.watching import Watch
from luthier.app.ui.workflows import Patches
from luthier.evals.browsing import Served, click, shows, until
from luthier.tools.database import open_database
from luthier.tools.edits import EditLedger, WorkflowError
from luthier.tools.spec import SpecError
from selenium.webdriver.common.by import By

from .conftest import Bench

TAGS = "<img src=x onerror=window.hacked=1>"
PIPELINE = """\
from luthier.agent.workflow import Case, Feedback, Param, Suite, op, param

params = [Param.number("by", 1, 0, 9), Param.text("greeting", "hello")]


@op
def workflow(x):
    return x * param("by") * (1 if "please" in param("greeting") else 0.9)


def score(case, output):
    return Feedback(1 - abs(output - 3 * case.inputs) / (3 * case.inputs), "")


suite = Suite([Case(f"case{i:02}", i + 1) for i in range(20)], score, max_drop=0.1)
"""


class Scripted:
    """Proposes one edit after the other."""

    name = "scripted"

    def __init__(self, *edits: tuple[str, Any, str]) -> None:
        self.left = list(edits)

    def propose(self, problem: Problem, count: int, seed: int, refused: str = "") -> list[Proposed]:
        if refused:
            return []
        name, value, why = self.left.pop(0)
        edit = Edit(param=name, new_value_json=json.dumps(value), why=why)
        return [Proposed(Proposal(diagnosis=why, edits=[edit]))]


def searched(bench: Bench, name: str = "triple", **settings: Any) -> Path:
    """Have a pipeline improved: two edits accepted, one refused, one that makes it worse."""
    path = bench.project / "triple.py"
    path.write_text(PIPELINE)
    found = load_pipeline(path)
    proposer = Scripted(
        ("by", 3, "thrice is wanted"),
        ("greeting", f"please {TAGS}", f"nobody asked politely {TAGS}"),
        ("scorer", 1, "give it all the points"),
        ("by", 5, "more may be better"),
    )
    with closing(open_database(bench.workspace.ledger_path)) as database:
        optimise(
            found.workflow,
            found.params,
            found.suite,
            proposer,
            settings=Settings(steps=4),
            ledger=EditLedger(database),
            name=name,
        )
    return path


@pytest.fixture
def patches(bench: Bench) -> Iterator[Patches]:
    return Patches(bench.workspace, Starting(Watch(bench.workspace), bench.project))


def test_every_edit_is_shown_with_its_evidence(bench: Bench, patches: Patches) -> None:
    searched(bench)
    page = patches.page("triple")
    for part in (
        "2 of 4 edits lead to the best of triple",
        "thrice is wanted",
        '<span class="lu-removed">-1</span>',
        '<span class="lu-added">+3</span>',
        '<th scope="row">case01</th>',
        "Mean gain <b>+0.6</b>, at least +0.6",
        "On the sealed cases: <b>+",
        "<b>refused</b>: scorer: there is no such parameter",
        "<b>mini-batch</b>",
        "by scripted",
    ):
        assert part in page
    assert "<img" not in page


def test_a_workspace_without_workflows_says_how_to_begin(bench: Bench, patches: Patches) -> None:
    assert patches.names() == []
    assert "luthier optimise pipeline.py" in patches.page(None)
    assert not bench.workspace.ledger_path.exists()


def test_workflows_are_listed_the_newest_first(bench: Bench, patches: Patches) -> None:
    searched(bench, "older")
    searched(bench, "newer")
    assert patches.names() == ["newer", "older"]
    with pytest.raises(WorkflowError, match="did you mean 'older'"):
        patches.page("oldr")


def test_edits_are_applied_and_taken_back_in_a_process_of_its_own(
    bench: Bench, patches: Patches
) -> None:
    path = searched(bench)
    applied = patches.apply("triple", "triple.py", [1, 2], anyway=False)
    assert applied.ok, applied.text
    assert applied.text.startswith("Applied: by, greeting, in ")
    assert load_pipeline(path).params["by"] == 3
    again = patches.apply("triple", "triple.py", [1, 2], anyway=False)
    assert (again.ok, "is applied already" in again.text) == (False, True)
    reverted = patches.revert("triple", "triple.py")
    assert (reverted.ok, reverted.text) == (True, "Reverted triple.")
    assert load_pipeline(path).params["by"] == 1
    assert path.read_text() == PIPELINE


def test_what_is_not_ticked_is_left_out_and_the_rest_measured(
    bench: Bench, patches: Patches
) -> None:
    path = searched(bench)
    done = patches.apply("triple", "triple.py", [1], anyway=False)
    assert done.ok, done.text
    assert "Without them: a mean gain of" in done.text
    assert dict(load_pipeline(path).params) == {"by": 3, "greeting": "hello"}
    patches.revert("triple", "triple.py")
    nothing = patches.apply("triple", "triple.py", [], anyway=True)
    assert (nothing.ok, "no edit of 'triple' is left to apply" in nothing.text) == (False, True)


@pytest.mark.parametrize("file", ["../triple.py", "/etc/passwd", "nothing.py", "--help"])
def test_only_a_file_of_the_project_is_run(bench: Bench, patches: Patches, file: str) -> None:
    searched(bench)
    with pytest.raises(SpecError):
        patches.apply("triple", file, [1, 2], anyway=False)


def test_the_page_applies_a_part_and_takes_it_back(
    bench: Bench, page: Callable[..., Served], browser: Any
) -> None:
    path = searched(bench)
    page("?panel=workflows")

    def see(selector: str, text: str) -> None:
        until(shows(browser, selector, text), f"{selector} with {text!r}")

    see("#lu-workflows", "2 of 4 edits lead to the best of triple")
    see("#lu-kept", "2: nobody asked politely")
    assert browser.find_element(By.CSS_SELECTOR, "#lu-pipeline input").get_attribute("value") == (
        "triple.py"
    )
    browser.find_elements(By.CSS_SELECTOR, "#lu-kept input")[1].click()
    click(browser, "#lu-apply")
    see("#lu-patched", "Applied: by, in ")
    assert load_pipeline(path).params["by"] == 3
    click(browser, "#lu-revert")
    see("#lu-patched", "Reverted triple.")
    assert load_pipeline(path).params["by"] == 1
    assert browser.execute_script("return window.hacked") is None
    assert browser.get_log("browser") == []
