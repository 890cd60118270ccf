"""How fast the web UI is on a large study that grows, each figure beside its limit in the same run.

python -m luthier.evals.ui_speed [--minutes 5]
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil

from ..tools.ledger import Ledger, open_ledger
from ..tools.metrics import Report
from ..tools.outcomes import Outcome, Verdict
from ..tools.records import Decision, StudyRecord
from ..tools.space import Configuration
from ..tools.spec import parse_spec
from ..tools.workspace import Workspace
from ..tools.writer import Writer
from .browsing import chromium, click, missing, resize, served, shows, until
from .measured import Row, import_seconds, print_rows

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

TRIALS, STEPS = 2000, 100
_EVENTS_A_SECOND = 20
_STEPS_LIVE = 18
"""Reports of a trial while it is watched; with its start and its end they make 20 events."""
_REPEATS = 5
_IDLE_SECONDS = 20.0
_TABS = 3
_LOOKING_SECONDS = 2.0
"""How long a person looks at a page before they click: the browser reads ahead meanwhile."""
_BARE = """
import gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    gr.Chatbot([{"role": "assistant", "content": "hello"}])
page.launch(quiet=True, ssr_mode=False, prevent_thread_lock=True, theme=gr.themes.Default(font=[]))
print(page.local_url, flush=True)
page.block_thread()
"""
_SWITCHES = (
    ("Curves", "#lu-curves svg .trace"),
    ("Analysis", "#lu-analysis svg .trace"),
    ("Budget", "#lu-budget table"),
    ("Trials", "#lu-trials tbody tr"),
)


class Study:
    """A large study, which goes on as if a worker ran it."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder / "home")
        self.ledger: Ledger = open_ledger(self.workspace.ledger_path)
        spec = parse_spec(
            {
                "name": "large",
                "objective": {"kind": "script", "command": ["python", "train.py"]},
                "space": {
                    "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
                    "width": {"type": "int", "low": 16, "high": 512, "log": True},
                    "optimizer": {"type": "categorical", "choices": ["adam", "sgd", "lion"]},
                },
                "metrics": {"acc": {"direction": "maximize"}},
                "budget": {"trials": 100_000},
            }
        )
        self.record: StudyRecord = self.ledger.create_study(spec, folder)
        self.writer: Writer = self.ledger.acquire(self.record)
        self.writer.set_state("running")
        self.number = 0
        for _ in range(TRIALS):
            for event in self.trial(STEPS, at_once=True):
                event()

    def trial(self, steps: int, *, at_once: bool = False) -> Iterator[Callable[[], Any]]:
        """Yield what a trial writes, event by event."""
        number = self.number
        self.number += 1
        limit = 0.5 + (number * 7919 % 1000) / 2200
        curve = [limit * step / (step + 8) for step in range(1, steps + 1)]
        configuration: Configuration = {
            "lr": 10 ** -(1 + number % 397 / 100),
            "width": 16 + number % 496,
            "optimizer": ("adam", "sgd", "lion")[number % 3],
        }
        decision = Decision("gp", "expected improvement", number, 1)
        begun: list[Any] = []
        yield lambda: begun.append(
            self.writer.add_trial(number, configuration, decision, f"cpu:{number % 2}", 60.0)
        )
        reports = [Report(step, {"acc": value}) for step, value in enumerate(curve, start=1)]
        for some in [reports] if at_once else [[report] for report in reports]:
            yield partial(self._report, begun, some)
        outcome = Outcome.PRUNED if number % 4 == 3 else Outcome.COMPLETE
        yield lambda: self.writer.finish_attempt(
            begun[0],
            Verdict(outcome, "ended by itself"),
            metrics={"acc": curve[-1]},
            seconds=60.0,
            peak_bytes=2**30,
            error_tail="",
            again=False,
        )

    def _report(self, begun: list[Any], reports: list[Report]) -> None:
        self.writer.record_reports(begun[0], reports)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Write events at their pace, meanwhile."""
        over = threading.Event()

        def write() -> None:
            due = time.monotonic()
            while True:
                for event in self.trial(_STEPS_LIVE):
                    event()
                    due += 1 / _EVENTS_A_SECOND
                    if over.wait(max(0.0, due - time.monotonic())):
                        return

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextlib.contextmanager
def _bare() -> Iterator[str]:
    """Serve a bare page of gradio with one chatbot; yield its address."""
    command = [sys.executable, "-c", _BARE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _paint(browser: Chrome, url: str, selector: str, text: str = "") -> float:
    """Return the seconds from asking for a page until an element of it is seen."""
    browser.get("about:blank")
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    begun = time.monotonic()
    browser.get(url)
    until(shows(browser, selector, text), selector)
    return time.monotonic() - begun


def _switch(browser: Chrome, tab: str, selector: str) -> float:
    """Return how long a change of the panel took."""
    begun = time.monotonic()
    click(browser, "button[role=tab]", tab)
    until(shows(browser, selector), selector)
    return time.monotonic() - begun


def _visible(browser: Chrome, study: Study) -> float:
    """Return the seconds from when a trial was written until it is seen."""
    events = study.trial(1)
    next(events)()
    begun = time.monotonic()
    until(shows(browser, "#lu-head", f"{study.number} of"), f"trial {study.number}")
    seconds = time.monotonic() - begun
    for event in events:
        event()
    return seconds


def _cpu_share(process: psutil.Process, seconds: float) -> float:
    """Return the share of a core that a process uses for a while."""
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds


def _growth(process: psutil.Process, seconds: float) -> float:
    """Return by how many bytes a process grows in 1,000 events, the first look apart."""
    time.sleep(min(10.0, seconds / 5))
    before = process.memory_info().rss
    time.sleep(seconds)
    grown = process.memory_info().rss - before
    return max(0.0, grown / (seconds * _EVENTS_A_SECOND) * 1000)


def measure(minutes: float) -> list[Row]:
    """Take all measurements; the memory's takes so many minutes."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser, _bare() as bare:
        study = Study(Path(folder))
        resize(browser, 1280, 800)
        gradio = import_seconds("import gradio")
        begun = time.monotonic()
        with served(study.workspace.folder, Path(folder)) as ui:
            up = time.monotonic() - begun
            process = psutil.Process(ui.pid)
            with study.running():
                paint = median(
                    _paint(browser, ui.url, "#lu-trials tbody tr") for _ in range(_REPEATS)
                )
                plain = median(_paint(browser, bare, ".bot", "hello") for _ in range(_REPEATS))
                _paint(browser, ui.url, "#lu-trials tbody tr")
                time.sleep(_LOOKING_SECONDS)
                switches = [_switch(browser, *to) for _ in range(_REPEATS) for to in _SWITCHES]
                _paint(browser, ui.url, "#lu-trials tbody tr")
                at_once = _switch(browser, *_SWITCHES[0])
            seen = [_visible(browser, study) for _ in range(2 * _REPEATS)]
            for _ in range(_TABS - 1):
                browser.switch_to.new_window("tab")
                browser.get(ui.url)
                until(shows(browser, "#lu-trials tbody tr"), "the trials")
            quiet = _cpu_share(process, _IDLE_SECONDS)
            with study.running():
                busy = _cpu_share(process, _IDLE_SECONDS)
                growth = _growth(process, 60 * minutes)
        study.ledger.close()
    print(f"switches of a panel: {' '.join(f'{1000 * s:.0f}' for s in switches)} ms")
    first, later = switches[: len(_SWITCHES)], switches[len(_SWITCHES) :]
    return [
        Row("luthier ui, up", up, "1.5 x import gradio + 1 s", 1.5 * gradio + 1.0, 1.0),
        Row("first paint", paint, "3 s", 3.0, 1.0),
        Row("first paint", paint, "bare page of one chatbot", plain, 3.0),
        Row("first figure, at once", at_once, "700 ms", 0.7, 1.0),
        Row("first switch, slowest", max(first), "700 ms", 0.7, 1.0),
        Row("switch, median", median(later), "700 ms", 0.7, 1.0),
        Row("switch, slowest", max(later), "700 ms", 0.7, 1.0),
        Row("event seen, median", median(seen), "3 s", 3.0, 1.0),
        Row("event seen, slowest", max(seen), "3 s", 3.0, 1.0),
        Row("CPU of a second, 3 tabs", quiet, "10% of a core", 0.1, 1.0),
        Row("the same, 20 events/s", busy, "10% of a core", 0.1, 1.0),
        Row("growth in 1,000 events", growth, "1 MB", 1e6, 1.0, unit="KB"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit code is 1 if a limit is exceeded, 2 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="of the memory's growth")
    minutes = parser.parse_args(arguments).minutes
    if (why := missing()) is not None:
        print(why, file=sys.stderr)
        return 2
    return print_rows(measure(minutes))


if __name__ == "__main__":
    sys.exit(main())
