"""The UI as a person meets it: a real process, a real ledger, a real browser."""

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from luthier.evals.browsing import Served, click, forked, resize, shows, until
from luthier.tools.outcomes import Outcome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from .conftest import Bench

Open = Callable[..., Served]

TAGS = "</script><img src=x onerror=window.hacked=1><b>bold</b>${window.hacked=1}{{hacked}}"
LONG = "x" * 10_000


def see(browser: Any, selector: str, text: str = "") -> None:
    try:
        until(shows(browser, selector, text), f"{selector} with {text!r}")
    except AssertionError as error:
        raise AssertionError(f"{error} in {seen(browser)}") from None


def seen(browser: Any) -> str:
    return str(browser.execute_script("return document.body.innerText.slice(0, 2000)"))


def place(browser: Any) -> str:
    return str(browser.current_url).partition("?")[2]


def width(browser: Any) -> int:
    return int(browser.execute_script("return document.documentElement.scrollWidth"))


def test_the_first_look_tells_how_the_study_is(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    bench.run(study, 0, 0.75)
    bench.run(study, 1, 0.875)
    bench.begin(study, 2)
    page()

    see(browser, "#lu-head", "running")
    see(browser, "#lu-head", "3 of 20 trials")
    see(browser, "#lu-head", "best acc 0.875 in trial 1")
    see(browser, "#lu-trials tr", "complete")
    assert browser.get_log("browser") == []
    assert (
        browser.execute_script(
            "return performance.getEntriesByType('resource').map((e) => new URL(e.name).hostname)"
            ".filter((host) => host !== '127.0.0.1')"
        )
        == []
    )


def test_what_happens_is_seen_without_a_reload(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    page()
    see(browser, "#lu-trials", "no trials yet")

    trial = bench.begin(study, 0)
    see(browser, "#lu-trials tr", "running")
    bench.report(study, trial, [0.25])
    see(browser, "#lu-trials tr", "0.25")
    bench.end(study, trial, 0.5)
    see(browser, "#lu-trials tr", "complete")
    see(browser, "#lu-head", "best acc 0.5")


def test_a_trial_is_stopped_by_a_wish(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    bench.begin(study, 0)
    page("?trial=0")
    click(browser, "#lu-trial button", "Stop this trial")
    browser.switch_to.alert.accept()
    see(browser, "#lu-notice", "to stop trial 0")

    (wish,) = bench.writers["digits"].wishes()
    assert (wish.kind, wish.data) == ("stop_trial", {"trial": 0})


def test_a_decision_that_comes_too_late_is_explained(
    bench: Bench, page: Open, browser: Any
) -> None:
    study = bench.study()
    trial = bench.begin(study, 0)
    page("?trial=0")
    click(browser, "#lu-trial button", "Stop this trial")
    bench.end(study, trial, 0.5)  # while the question is open
    browser.switch_to.alert.accept()

    see(browser, "#lu-notice", "trial 0 of study 'digits' does not run")
    assert bench.writers["digits"].wishes() == []


def test_a_study_is_paused_from_the_keyboard(bench: Bench, page: Open, browser: Any) -> None:
    bench.study()
    page()
    see(browser, "#lu-head button", "Pause")
    browser.execute_script("document.querySelector('#lu-head [data-act=pause]').focus()")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    see(browser, "#lu-notice", "to start no new trial")

    assert [wish.kind for wish in bench.writers["digits"].wishes()] == ["pause"]


def test_a_reload_comes_back_to_the_same_place(bench: Bench, page: Open, browser: Any) -> None:
    for name in ("first", "second"):
        study = bench.study(name)
        bench.run(study, 0, 0.5)
        bench.run(study, 1, 0.75)
    page("?study=first")
    click(browser, "#lu-trials a[data-arg='0']")
    see(browser, "#lu-trial h2", "Trial 0")
    until(lambda: place(browser) == "study=first&trial=0", "the place in the URL")
    browser.refresh()
    see(browser, "#lu-trial h2", "Trial 0")
    see(browser, "#lu-head h1", "first")

    click(browser, "button[role=tab]", "Budget")
    see(browser, "#lu-budget", "wall time")
    until(lambda: "panel=budget" in place(browser), "the panel in the URL")
    browser.refresh()
    see(browser, "#lu-budget", "wall time")
    assert "panel=budget" in place(browser)


def test_trials_are_compared_sorted_and_filtered(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    for number, value in enumerate([0.5, 0.875, 0.625]):
        bench.run(study, number, value)
    page()
    click(browser, "#lu-trials th button", "acc")
    numbers = (
        "return [...document.querySelectorAll('#lu-trials tbody a')].map((a) => a.dataset.arg)"
    )
    until(lambda: browser.execute_script(numbers) == ["1", "2", "0"], "the best first")
    until(lambda: "sort=metric%3Aacc" in place(browser), "the order in the URL")

    for number in ("0", "1"):
        click(browser, f"#lu-trials [data-act=compare][data-arg='{number}']")
        see(browser, f"#lu-trials [data-arg='{number}'][aria-checked=true]")
    see(browser, "#lu-comparison", "2 trials compared")

    box = browser.find_element(By.XPATH, "//*[@placeholder[contains(., 'lr < 0.01')]]")
    box.send_keys("acc > 0.6")
    until(lambda: browser.execute_script(numbers) == ["1", "2"], "those that match")


def test_filters_are_in_the_address(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    for number, value in enumerate([0.5, 0.875, 0.625]):
        bench.run(study, number, value)
    page()
    see(browser, "#lu-trials tr", "complete")
    field = browser.find_element(By.CSS_SELECTOR, "#lu-filter input, #lu-filter textarea")
    field.send_keys("acc > 0.6")
    see(browser, "#lu-trials", "of 2 that match, of 3")
    until(lambda: "text=acc+%3E+0.6" in place(browser), "the filter in the URL")
    browser.refresh()
    see(browser, "#lu-trials", "of 2 that match, of 3")
    field = browser.find_element(By.CSS_SELECTOR, "#lu-filter input, #lu-filter textarea")
    until(lambda: field.get_attribute("value") == "acc > 0.6", "the filter in its field")


def test_curves_and_analysis_are_drawn(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    for number in range(12):
        bench.run(study, number, 0.5 + number / 40)
    page("?panel=curves")
    see(browser, "#lu-curves svg .trace")
    click(browser, "button[role=tab]", "Analysis")
    see(browser, "#lu-analysis svg .trace")
    click(browser, "label", "Timeline")
    see(browser, "#lu-analysis svg .bars")
    assert browser.get_log("browser") == []


def test_the_page_is_killed_and_comes_back_while_the_study_goes_on(
    bench: Bench, page: Open, browser: Any
) -> None:
    study = bench.study()
    bench.run(study, 0, 0.5)
    ui = page("?study=digits&trial=0")
    see(browser, "#lu-trial h2", "Trial 0")
    ui.kill()
    bench.run(study, 1, 0.75)
    with forked(bench.workspace.folder, bench.project, int(ui.url.rpartition(":")[2])):
        browser.get(f"{ui.url}?study=digits&trial=0")
        see(browser, "#lu-head", "best acc 0.75 in trial 1")
        see(browser, "#lu-trial h2", "Trial 0")


@pytest.mark.parametrize("text", [TAGS, LONG], ids=["tags", "long"])
def test_what_stands_in_the_ledger_is_text(
    bench: Bench, page: Open, browser: Any, text: str
) -> None:
    study = bench.study(
        metric=text,
        space={
            text: {"type": "categorical", "choices": [text, "sgd"]},
            "y": {"type": "float", "low": 0, "high": 1},
        },
    )
    for number in range(12):
        configuration = {text: (text, "sgd")[number % 2], "y": number / 12}
        trial = bench.begin(study, number, configuration, why=text)
        bench.report(study, trial, [0.5, 0.25])
        outcome = Outcome.CRASHED if number == 11 else Outcome.COMPLETE
        bench.end(study, trial, number / 12, outcome, reason=text, error=text)
    bench.writers["digits"].note("out_of_service", device=text, reason=text)
    page("?trial=11&compare=0,1")

    see(browser, "#lu-trial h2", "Trial 11")
    see(browser, "#lu-comparison", "2 trials compared")
    for tab, shown in (
        ("Curves", "#lu-curves svg .trace"),
        ("Analysis", "#lu-analysis svg .trace"),
        ("Budget", "#lu-budget h3"),
    ):
        click(browser, "button[role=tab]", tab)
        see(browser, shown)
        assert width(browser) <= 1280, tab
    click(browser, "button[role=tab]", "Report")
    click(browser, "button", "Write the report")
    see(browser, "#lu-report")

    assert browser.execute_script("return typeof window.hacked") == "undefined"
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert "<b>bold" not in browser.execute_script("return document.body.innerHTML")


def test_it_is_no_wider_than_a_phone(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    for number in range(12):
        bench.run(study, number, 0.5 + number / 40)
    page("?trial=3")
    resize(browser, 390, 844, phone=True)
    for panel, shown in (
        ("trials", "#lu-trial h2"),
        ("curves", "#lu-curves svg"),
        ("analysis", "#lu-analysis svg"),
        ("budget", "#lu-budget h3"),
        ("start", "#lu-guide section"),
        ("workflows", "#lu-workflow"),
        ("approvals", "#lu-approvals p"),
        ("settings", "h3"),
    ):
        browser.get(browser.current_url.partition("?")[0] + f"?trial=3&panel={panel}")
        see(browser, shown)
        assert width(browser) <= 390, panel


def test_an_empty_workspace_shows_how_to_begin(bench: Bench, page: Open, browser: Any) -> None:
    page()

    see(browser, "#lu-head", "There is no study in this workspace yet")
    see(browser, "button", "Run the demo")
    assert not bench.workspace.ledger_path.exists()


def test_a_study_that_is_gone_is_explained(bench: Bench, page: Open, browser: Any) -> None:
    bench.study()
    page("?study=digit")
    see(browser, "#lu-head", "there is no study 'digit'; did you mean 'digits'?")


def test_a_ledger_that_vanishes_is_explained(bench: Bench, page: Open, browser: Any) -> None:
    bench.study()
    page("?study=digits")
    see(browser, "#lu-head h1", "digits")
    for path in bench.workspace.folder.glob("ledger.db*"):
        path.rename(path.with_name(f"away-{path.name}"))

    see(browser, "#lu-head", "there is no study 'digits'")


def test_a_dead_worker_is_shown(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    page()
    see(browser, "#lu-head button", "Pause")
    bench.abandon(study)

    see(browser, "#lu-head", "interrupted")
    see(browser, "#lu-head", "Its worker died")
    see(browser, "#lu-head button", "Go on")


TRAIN = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.01)
args = parser.parse_args()
for epoch in range(1, 4):
    print(f"epoch {epoch} val_acc={args.lr * epoch}")
"""


def test_a_script_becomes_a_running_study(bench: Bench, page: Open, browser: Any) -> None:
    (bench.project / "train.py").write_text(TRAIN, encoding="utf-8")
    page()
    click(browser, "#lu-by-hand button", "write the spec yourself")
    see(browser, "#lu-script input")
    field = browser.find_element(By.CSS_SELECTOR, "#lu-script input")
    field.send_keys("train.py", Keys.ENTER)
    see(browser, "#lu-review", "This spec is valid")
    see(browser, "#lu-review", "maximize val_acc")
    name = browser.find_element(By.CSS_SELECTOR, "#lu-start").text.removeprefix("Start study ")
    click(browser, "#lu-start")
    see(browser, "#lu-notice", f"Study {name} runs in a process of its own")
    see(browser, "#lu-head h1", name)
    study = bench.ledger.study(name)
    until(lambda: bench.ledger.trials(study)[1:], "a second trial", 180.0)
    browser.refresh()
    see(browser, "#lu-trials tr", "complete")

    owner = bench.ledger.owner(bench.ledger.study(name))
    if owner is not None:  # it may be through already
        os.kill(owner.pid, signal.SIGKILL)


def test_a_spec_that_is_wrong_says_so_and_cannot_be_started(
    bench: Bench, page: Open, browser: Any
) -> None:
    page()
    click(browser, "#lu-by-hand button", "write the spec yourself")
    see(browser, "#lu-spec .cm-content")
    browser.find_element(By.CSS_SELECTOR, "#lu-spec .cm-content").send_keys("name: {a: b: c")
    see(browser, "#lu-review [role=alert]", "not valid YAML")
    assert not browser.find_element(By.CSS_SELECTOR, "#lu-start").is_enabled()


def test_only_reports_can_be_fetched(bench: Bench, page: Open) -> None:
    bench.study()
    secret = bench.workspace.folder / "secrets.toml"
    secret.write_text('[llm]\napi_key = "sk-secret"\n', encoding="utf-8")
    ui = page()

    for path in (secret, bench.workspace.ledger_path, "/etc/passwd", bench.project / "train.py"):
        with pytest.raises(urllib.error.HTTPError, match=r"40[34]"):
            urllib.request.urlopen(f"{ui.url.rstrip('/')}/gradio_api/file={path}")


def test_the_budget_is_changed_while_the_study_runs(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    bench.run(study, 0, 0.5)
    page("?panel=budget")
    see(browser, "#lu-budget", "20")
    browser.execute_script("window.confirm = () => true")
    field = browser.find_element(By.CSS_SELECTOR, "#lu-caps")
    field.send_keys("trials=many")
    click(browser, "#lu-caps-form button", "Change the caps")
    see(browser, "#lu-notice", "trials")
    field = browser.find_element(By.CSS_SELECTOR, "#lu-caps")
    field.clear()
    field.send_keys("trials=60")
    click(browser, "#lu-caps-form button", "Change the caps")
    until(lambda: bench.writers["digits"].wishes(), "the wish")
    (wish,) = bench.writers["digits"].wishes()
    assert (wish.kind, wish.data) == ("resume", {"budget": {"trials": 60}})


def test_a_trial_is_cloned_with_a_change(bench: Bench, page: Open, browser: Any) -> None:
    study = bench.study()
    bench.run(study, 0, 0.5)
    page("?trial=0")
    see(browser, "#lu-trial", "Trial 0")
    browser.find_element(By.CSS_SELECTOR, "#lu-values").send_keys("lr=9")
    click(browser, "#lu-try button", "Try this next")
    see(browser, "#lu-notice", "lr")
    field = browser.find_element(By.CSS_SELECTOR, "#lu-values")
    field.clear()
    field.send_keys("lr=0.003")
    click(browser, "#lu-try button", "Try this next")
    until(lambda: bench.writers["digits"].wishes(), "the wish")
    (wish,) = bench.writers["digits"].wishes()
    assert (wish.kind, wish.data) == ("enqueue", {"configuration": {"lr": 0.003}})


def type_into_cell(browser: Any, cell: str, text: str) -> bool:
    """Type over a cell of a grid, as in a spreadsheet; tell whether it has taken it."""
    for found in browser.find_elements(By.XPATH, cell):
        keys = (*[Keys.BACKSPACE] * 9, text, Keys.ENTER)
        ActionChains(browser).double_click(found).pause(1.0).send_keys(Keys.END, *keys).perform()
    return not browser.find_elements(By.XPATH, cell)


def test_a_changed_space_is_shown_as_a_diff_and_started_as_a_branch(
    bench: Bench, page: Open, browser: Any
) -> None:
    (bench.project / "train.py").write_text(TRAIN, encoding="utf-8")
    study = bench.study()
    bench.run(study, 0, 0.5)
    page("?panel=space")
    see(browser, "#lu-space-grid", "0.1")
    cell = "//*[@id='lu-space-grid']//span[normalize-space(text())='0.1']"
    until(lambda: type_into_cell(browser, cell, "0.5"), "the changed cell")
    see(browser, "#lu-branch-review", "space.lr.high: 0.1 -> 0.5")
    see(browser, "#lu-branch-review", "begins with 1 of 1 trials")
    until(
        lambda: browser.find_element(By.CSS_SELECTOR, "#lu-branch").is_enabled(), "an open button"
    )
    click(browser, "#lu-branch")
    see(browser, "#lu-head h1", "digits-2")
    branched = bench.ledger.study("digits-2")
    assert branched.spec.space["lr"].high == 0.5
    assert branched.parent == "digits"
    owner = bench.ledger.owner(branched)
    if owner is not None:  # it may be through already
        os.kill(owner.pid, signal.SIGKILL)
