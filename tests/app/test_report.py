import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from luthier.app.report import write_report
from luthier.tools.outcomes import Outcome
from luthier.tools.records import (
    AttemptRecord,
    Decision,
    EventRecord,
    StudyRecord,
    TrialRecord,
)
from luthier.tools.spec import parse_spec
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

HOSTILE = '</script></pre><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


def study(name="digits", objectives=None, choices=("adam", "sgd"), environment=None, **fields):
    spec = parse_spec(
        {
            "name": name,
            "objective": {
                "kind": "script",
                "command": ["python", "train.py"],
                "environment": environment or {},
            },
            "space": {
                "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
                "optimizer": {"type": "categorical", "choices": list(choices)},
                "momentum": {
                    "type": "float",
                    "low": 0,
                    "high": 1,
                    "when": {"optimizer": choices[-1]},
                },
            },
            "metrics": objectives or {"acc": {"direction": "maximize"}},
            "budget": {"trials": 20},
        }
    )
    values = {
        "id": 1,
        "name": name,
        "spec": spec,
        "working_directory": Path("/project"),
        "parent": None,
        "state": "finished",
        "reason": "all 20 trials are used",
        "version": 1,
        "wall_seconds": 125.0,
        "created_at": 1.79e9,
    }
    return StudyRecord(**(values | fields))


def trial(number, state=Outcome.COMPLETE, choices=("adam", "sgd"), error="", **fields):
    start = 1.79e9 + 10 * number
    optimizer = choices[number % len(choices)]
    configuration = {"lr": 10 ** -(1 + number % 40 / 10), "optimizer": optimizer}
    if optimizer == choices[-1]:
        configuration["momentum"] = 0.9
    accuracy = 0.5 + (number * 7 % 20) / 50
    attempt = AttemptRecord(number, 1, "cpu:0", start, start + 8, state, "", 8.0, None, error)
    values = {
        "id": number,
        "number": number,
        "state": state,
        "reason": "ended by itself" if state is Outcome.COMPLETE else "exit code 1",
        "configuration": configuration,
        "metrics": {"acc": accuracy} if state is Outcome.COMPLETE else {},
        "source": "random",
        "created_at": start,
        "finished_at": start + 8,
        "attempts": (attempt,),
        "curves": {"acc": {step: accuracy * step / 5 for step in range(1, 6)}},
    }
    return TrialRecord(**(values | fields))


def trials(**fields):
    return [
        trial(number, Outcome.CRASHED if number % 6 == 5 else Outcome.COMPLETE, **fields)
        for number in range(20)
    ]


class Written:
    """A report's two texts."""

    def __init__(self, paths):
        self.paths = paths
        self.page = paths.html.read_text(encoding="utf-8")
        self.markdown = paths.markdown.read_text(encoding="utf-8")
        # What a reader sees, without scripts and styles.
        self.body = re.sub(r"<(script|style).*?</\1>", "", self.page, flags=re.S)
        self.text = " ".join(re.sub(r"<[^>]*>", " ", self.body).split())


@pytest.fixture
def report(tmp_path):
    def write(study, trials, decisions=None, events=()):
        return Written(write_report(study, trials, decisions or {}, events, tmp_path / "reports"))

    return write


class TestFiles:
    def test_names_and_nothing_else(self, report, tmp_path):
        paths = report(study(), trials()).paths
        assert (paths.html.name, paths.markdown.name) == ("digits.html", "digits.md")
        assert set((tmp_path / "reports").iterdir()) == {paths.html, paths.markdown}

    def test_written_again_it_is_the_same(self, report):
        assert report(study(), trials()).page == report(study(), trials()).page

    def test_a_failure_leaves_the_last_report(self, report):
        before = report(study(), trials())
        broken = [replace(trial(0), metrics={})]
        with pytest.raises(KeyError):
            report(study(), broken)
        assert before.paths.html.read_text(encoding="utf-8") == before.page

    def test_plotly_is_inlined_once(self, report):
        assert report(study(), trials()).page.count("* plotly.js v") == 1

    def test_the_page_may_not_use_the_network(self, report):
        page = report(study(), trials()).page
        assert "default-src &#39;none&#39;" in page
        assert not re.search(r'<(script|link|img|iframe)[^>]*(src|href)="(?!data:)', page)


class TestHeadline:
    default = {3: Decision("default", "the defaults")}

    def test_best_against_the_default_configuration(self, report):
        written = report(study(), trials(), self.default)
        sentence = (
            "The default configuration (trial 3) reached 0.52, a difference of +0.34 (+65.4%)."
        )
        for text in (written.text.replace(" .", "."), written.markdown):
            assert sentence in text
            assert "A single run; no statistical claim is made." in text

    def test_best_is_the_default_configuration(self, report):
        written = report(study(), [trial(0)], {0: Decision("default", "")})
        assert "It is the default configuration." in written.text
        assert "It is the default configuration." in written.markdown

    def test_the_default_configuration_failed(self, report):
        some = [trial(0), trial(1, Outcome.OUT_OF_MEMORY)]
        written = report(study(), some, {1: Decision("default", "")})
        assert "The default configuration (trial 1) has no result: out of memory." in written.text

    def test_the_default_configuration_was_not_tried(self, report):
        assert "The default configuration was not tried." in report(study(), trials()).text

    def test_nothing_is_complete(self, report):
        written = report(study(), [])
        assert "No result yet" in written.text
        assert "No trial is complete yet." in written.markdown

    def test_a_pareto_front(self, report):
        objectives = {"acc": {"direction": "maximize"}, "ms": {"direction": "minimize"}}
        some = [trial(i, metrics={"acc": i / 10, "ms": float(i)}) for i in range(3)]
        written = report(study(objectives=objectives), some)
        assert "Pareto front 3 trials" in written.text
        assert "Pareto front of `acc`, `ms`: 3 trials" in written.markdown


class TestContent:
    def test_spec_hash_and_resolved_spec(self, report):
        record = study()
        written = report(record, trials())
        assert record.spec.content_hash() in written.text
        assert "grace_seconds: 10.0" in written.text

    def test_values_of_environment_variables_are_left_out(self, report):
        written = report(study(environment={"TOKEN": "sesame"}), trials())
        assert "TOKEN: (not shown)" in written.text
        assert "sesame" not in written.page + written.markdown

    def test_budget_counts_own_trials_only(self, report):
        written = report(study(), [trial(0, imported=True), trial(1)])
        assert "- Trials: 1 of 20" in written.markdown
        assert "- Wall time: 2 min" in written.markdown

    def test_imported_trials_and_the_parent_are_named(self, report):
        written = report(study(parent="first"), [trial(0, imported=True), trial(1)])
        assert "Branched from first" in written.text
        assert "1 of 2 trials was imported from first" in written.text
        assert '<span class="flag">imported</span>' in written.body
        assert "1 of 2 trials imported" in written.markdown

    def test_counts_by_outcome(self, report):
        written = report(study(), trials())
        assert "complete 17 crashed 3" in written.text
        assert "- crashed: 3" in written.markdown

    def test_the_table_has_a_row_for_each_trial(self, report):
        table = report(study(), trials()).body.partition('id="trials"')[2].partition("</table>")[0]
        assert table.count("<tr") == 1 + 20

    def test_markdown_lists_the_ten_best(self, report):
        rows = re.findall(r"^\| \d+ \| ([\d.]+) ", report(study(), trials()).markdown, re.M)
        assert len(rows) == 10
        assert rows == sorted(rows, reverse=True)

    def test_why_a_configuration_was_chosen(self, report):
        decisions = {0: Decision("gp", "expected improvement 0.01")}
        assert "expected improvement 0.01" in report(study(), trials(), decisions).text

    def test_events_but_not_starts_and_ends(self, report):
        events = [
            EventRecord(1, 1.79e9, "budget_changed", None, {"before": 10, "after": 20}),
            EventRecord(2, 1.79e9, "started", 0, {"slot": "a slot of its own"}),
        ]
        text = report(study(), trials(), events=events).text
        assert "budget changed before = 10, after = 20" in text
        assert "a slot of its own" not in text

    def test_what_pruning_saved_and_cost(self, report):
        events = [EventRecord(1, 1.79e9, "audited", 0, {"step": 1})]
        written = report(study(), trials(), events=events)
        assert "of the steps saved in" in written.markdown
        assert "audited trial" in written.text
        assert "step = 1" not in written.text


class TestFailures:
    def test_the_last_lines_of_errors(self, report):
        error = "\n".join(f"line {i}" for i in range(100))
        body = report(study(), [trial(0, Outcome.CRASHED, error=error)]).body
        assert "<pre>line 80\n" in body
        assert "line 99</pre>" in body

    def test_a_long_line_is_cut(self, report):
        body = report(study(), [trial(0, Outcome.CRASHED, error="x" * 100_000)]).body
        assert len(body) < 60_000

    def test_only_the_latest_are_shown(self, report):
        text = report(study(), [trial(i, Outcome.CRASHED) for i in range(60)]).text
        assert "The latest 50 of 60." in text

    def test_terminal_colors_and_broken_characters_do_no_harm(self, report):
        body = report(study(), [trial(0, Outcome.CRASHED, error="\x1b[31mred\x1b[0m \udcff")]).body
        assert "<pre>red \\udcff</pre>" in body


class TestHostileText:
    @pytest.fixture
    def written(self, report):
        return report(*hostile_study())

    def test_no_tag_of_it_stands_in_the_page(self, written):
        assert "<img" not in written.page
        assert "<script>window" not in written.page

    def test_markdown_keeps_it_in_code_spans(self, written):
        assert "<" not in re.sub(r"`[^`\n]*`", "", written.markdown)

    def test_a_bar_ends_no_cell_of_the_markdown_table(self, report):
        written = report(study(choices=("a|b", "c")), [trial(0, choices=("a|b", "c"))])
        assert r"optimizer = a\|b" in written.markdown

    def test_figures_are_json(self, written):
        figures = re.search(
            r'<script type="application/json"[^>]*>(.*?)</script>', written.page, re.S
        )
        assert len(json.loads(figures[1])) == 8


def hostile_study():
    choices = ("adam", HOSTILE)
    record = study(choices=choices, reason=HOSTILE, parent=HOSTILE)
    some = trials(choices=choices, error=HOSTILE, source=HOSTILE, reason=HOSTILE)
    events = [EventRecord(1, 1.79e9, HOSTILE, None, {HOSTILE: HOSTILE})]
    return record, some, {0: Decision(HOSTILE, HOSTILE)}, events


CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture(scope="module", params=["friendly", "hostile"])
def page(request, chromium, tmp_path_factory):
    """Open a report and wait for its figures."""
    content = hostile_study() if request.param == "hostile" else (study(), trials(), {}, [])
    folder = tmp_path_factory.mktemp("reports")
    chromium.get(write_report(*content, folder).html.as_uri())
    drawn = (
        "const figures = [...document.querySelectorAll('[data-figure]')];"
        "return document.readyState === 'complete' && figures.length === 8"
        " && figures.every((figure) => figure.querySelector('svg .trace'))"
    )
    WebDriverWait(chromium, 30).until(lambda browser: browser.execute_script(drawn))
    return chromium


class TestInABrowser:
    def test_no_errors_and_nothing_of_the_trials_was_run(self, page):
        assert page.get_log("browser") == []
        assert page.execute_script("return typeof window.hacked") == "undefined"
        assert page.find_elements(By.CSS_SELECTOR, "main img") == []

    def test_every_figure_is_drawn(self, page):
        figures = page.find_elements(By.CSS_SELECTOR, "[data-figure].js-plotly-plot")
        assert len(figures) == 8
        assert all(figure.find_elements(By.CSS_SELECTOR, "svg .trace") for figure in figures)

    def test_nothing_was_fetched(self, page):
        entries = page.execute_script(
            "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        )
        assert [name for name in entries if not name.startswith(("data:", "blob:"))] == []

    def test_it_is_no_wider_than_a_phone(self, page):
        size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        width = page.execute_script("return document.documentElement.scrollWidth")
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        assert width <= 400

    def test_a_click_on_a_heading_sorts_and_another_reverses(self, page):
        heading = page.find_element(By.XPATH, "//table[@id='trials']//button[text()='acc']")

        def column():
            return page.execute_script(
                "return [...document.querySelectorAll('#trials tbody tr')]"
                ".map((row) => row.cells[2].dataset.value)"
            )

        def click():
            page.execute_script("arguments[0].click()", heading)
            values = column()
            numbers = [float(value) for value in values if value]
            assert values[len(numbers) :] == [""] * 3, "gaps stand last"
            return numbers

        rising, falling = click(), click()
        assert rising == sorted(rising)
        assert falling == rising[::-1]
