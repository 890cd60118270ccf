"""Pictures of every panel of the web UI, light and dark, of a study that runs in a pretend lab.

python -m luthier.evals.screenshots [FOLDER, by default docs/ui]
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from ..agent.worker import start_detached
from ..agent.workflow import Settings, optimise
from ..agent.workflow.propose import LLMProposer
from ..tools.database import open_database
from ..tools.edits import EditLedger
from ..tools.ledger import open_ledger
from ..tools.study import Study, open_or_create
from ..tools.workspace import Workspace
from .browsing import chromium, click, missing, resize, served, shows, until
from .lab_runs import lab_spec
from .workflow.ablation import adviser
from .workflow.pipelines import pipelines

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_SCRIPT = Path(__file__).parent.parent / "examples" / "digits_cnn" / "train.py"
_ENDED = 14
"""Trials that have ended when the first picture is taken."""
_COLORS = 96
_DEVICES: list[dict[str, Any]] = [
    {"memory_gib": 24},
    {"memory_gib": 24, "dies_at": "9m"},
    {"memory_gib": 4},
    {"memory_gib": 24, "preempted_at": ["14m"]},
]


class Picture(NamedTuple):
    """What is looked at."""

    name: str
    query: str
    shown: str
    """What must be there."""
    then: Callable[[Chrome], None] | None = None
    """What is done first."""
    phone: bool = False


def _choose_script(browser: Chrome) -> None:
    from selenium.webdriver.common.keys import Keys

    click(browser, "#lu-by-hand button")
    until(shows(browser, "#lu-script input"), "the field of the script")
    field = browser.find_element("css selector", "#lu-script input")
    field.send_keys("train.py", Keys.ENTER)
    until(shows(browser, "#lu-review", "valid"), "the review")


def _go_through_the_guide(browser: Chrome) -> None:
    until(shows(browser, "#lu-guide [name=source]"), "the guide")
    browser.find_element("css selector", "#lu-guide [name=source]").send_keys("train.py")
    for field in ("metric", "of", "trials"):
        click(browser, "#lu-guide .lu-main")
        _wait_for_field(browser, field)


def _wait_for_field(browser: Chrome, name: str) -> None:
    find = f"return !!document.querySelector('#lu-guide [name={name}]')"
    until(lambda: bool(browser.execute_script(find)), f"the guide's field {name}")


def _write_report(browser: Chrome) -> None:
    click(browser, "button", "Write the report")
    until(shows(browser, "#lu-report"), "the report")


def _show_parameters(browser: Chrome) -> None:
    until(shows(browser, "#lu-analysis svg .trace"), "the first figure")
    click(browser, "label", "Parameters together")


def _ask(browser: Chrome) -> None:
    from selenium.webdriver.common.keys import Keys

    click(browser, "#lu-chat button", "New")
    until(shows(browser, "#lu-said", "Which model"), "an empty conversation")
    for words, answer in (("how is it going?", "/status"), ("what is the best result?", "/best")):
        field = browser.find_element("css selector", "#lu-box textarea")
        field.send_keys(words, Keys.ENTER)
        until(shows(browser, "#lu-said", answer), f"the answer to {words!r}")
    click(browser, "#lu-said details summary")


def _let_something_wait(browser: Chrome) -> None:
    from selenium.webdriver.common.keys import Keys

    click(browser, "#lu-chat button", "New")
    until(shows(browser, "#lu-said", "Which model"), "an empty conversation")
    browser.find_element("css selector", "#lu-box textarea").send_keys("/confirm lab", Keys.ENTER)
    until(shows(browser, "#lu-asks section"), "the question")


PICTURES = [
    Picture("chat", "", "#lu-live button", _ask),
    Picture("trials", "", "#lu-trials tbody tr"),
    Picture("trial", "trial=9", "#lu-trial-curves svg .trace"),
    Picture("compare", "compare=0,3,5,9&sort=metric:val_acc", "#lu-comparison table"),
    Picture("curves", "panel=curves", "#lu-curves svg .trace"),
    Picture("analysis", "panel=analysis", "#lu-analysis svg .trace"),
    Picture("parameters", "panel=analysis", "#lu-analysis svg .colorbar", _show_parameters),
    Picture("budget", "panel=budget", "#lu-budget table"),
    Picture("report", "panel=report", "#lu-report", _write_report),
    Picture("start", "panel=start", "#lu-guide [name=trials]", _go_through_the_guide),
    Picture("spec", "panel=start", "#lu-review", _choose_script),
    Picture("workflows", "panel=workflows", "#lu-workflows h2"),
    Picture("approvals", "panel=approvals", "#lu-approvals section", _let_something_wait),
    Picture("settings", "panel=settings", "h3"),
    Picture("phone", "trial=9", "#lu-trial h2", phone=True),
]


def take(folder: Path) -> list[Path]:
    """Run a study in a pretend lab and take the pictures; return their files."""
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        project = Path(place) / "project"
        project.mkdir()
        shutil.copy(_SCRIPT, project)
        workspace = Workspace(project / ".luthier")
        study = _begin(workspace, project)
        _improve(workspace)
        ended = "the trials of the lab"
        until(lambda: sum(t.is_finished for t in study.trials(curves=False)) >= _ENDED, ended, 300)
        folder.mkdir(parents=True, exist_ok=True)
        with served(workspace.folder, project) as ui:
            taken = [
                _take(browser, f"{ui.url}?study=lab&{picture.query}", picture, theme, folder)
                for theme in ("light", "dark")
                for picture in PICTURES
            ]
        if study.owner is not None:
            study.ledger.wish(study.record, "stop", at_once=True)
            until(lambda: study.owner is None, "the worker's end")
        study.ledger.close()
        return taken


def _improve(workspace: Workspace) -> None:
    """Have a simulated model mend the recipe of the tables; it needs the sandbox."""
    problem = pipelines(0)
    database = open_database(workspace.ledger_path)
    try:
        with adviser(problem, "fixer", 0) as llm:
            optimise(
                problem.workflow,
                problem.params,
                problem.suite,
                LLMProposer(llm),
                objective=problem.objective,
                settings=Settings(steps=3),
                ledger=EditLedger(database),
                name=problem.name,
            )
    finally:
        database.close()


def _begin(workspace: Workspace, project: Path) -> Study:
    spec = lab_spec(40, _DEVICES, hanging=[6], sampler={"kind": "tpe"})
    data = spec.to_dict()
    data["executor"]["lab"] |= {"rate": 30, "jumps": False}
    data["budget"] = {"trials": 40, "silence_seconds": "4m"}
    ledger = open_ledger(workspace.ledger_path)
    record = open_or_create(ledger, type(spec).model_validate(data), project)
    start_detached(ledger, record, workspace)
    return Study(ledger, workspace, record.name)


def _take(browser: Chrome, url: str, picture: Picture, theme: str, folder: Path) -> Path:
    if picture.phone:
        resize(browser, 390, 844, phone=True)
    else:
        resize(browser, 1280, 800)
    browser.get(f"{url}&__theme={theme}")
    until(shows(browser, "button[role=tab]"), "the tabs")
    if picture.then is not None:
        picture.then(browser)
    until(shows(browser, picture.shown), f"{picture.shown} of {picture.name}")
    browser.execute_script(
        "document.querySelector(arguments[0]).scrollIntoView({block: 'end'})", picture.shown
    )
    if picture.name != "compare":
        browser.execute_script("window.scrollTo(0, 0)")
    _settle(browser)
    # Few colors make small files, and nobody sees the difference.
    image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    path = folder / f"{picture.name}-{theme}.png"
    image.quantize(_COLORS).save(path, optimize=True)
    return path


def _settle(browser: Chrome) -> None:
    """Wait until the page looks the same twice, or has had time enough to."""
    seen: list[bytes] = []

    def settled() -> bool:
        seen.append(browser.get_screenshot_as_png())
        return len(seen) > 6 or (len(seen) > 1 and seen[-1] == seen[-2])

    until(settled, "a still page")


def main(arguments: list[str]) -> int:
    """Take the pictures and list them; the exit code is 2 without a browser."""
    if (why := missing()) is not None:
        print(why, file=sys.stderr)
        return 2
    # The endpoint of whoever takes the pictures is nobody else's business.
    for name in [n for n in os.environ if n.startswith(("LUTHIER_LLM_", "OPENAI_"))]:
        del os.environ[name]
    for path in take(Path(arguments[0] if arguments else "docs/ui")):
        print(path, f"{path.stat().st_size / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
