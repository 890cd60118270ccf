"""A workspace with a real ledger, a real UI process, and a real browser that looks at it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from luthier.evals.browsing import Served, chromium, forked, missing, resize
from luthier.tools.ledger import Ledger, open_ledger
from luthier.tools.metrics import Report
from luthier.tools.outcomes import Outcome, Verdict
from luthier.tools.records import Decision, TrialRecord
from luthier.tools.spec import parse_spec
from luthier.tools.study import Study
from luthier.tools.workspace import Workspace
from luthier.tools.writer import Writer


class Bench:
    """A workspace whose studies a test runs by hand, as a worker would."""

    def __init__(self, folder: Path) -> None:
        self.project = folder
        self.workspace = Workspace(folder / "home")
        self.writers: dict[str, Writer] = {}
        self._ledger: Ledger | None = None
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    def _beat(self) -> None:
        while not self._over.wait(2.0):
            for writer in list(self.writers.values()):
                writer.heartbeat(0.0)

    def abandon(self, study: Study) -> None:
        """Let the lease of a study go, as if its worker had died."""
        self.writers.pop(study.name).release()

    def close(self) -> None:
        self._over.set()
        self._beating.join()
        if self._ledger is not None:
            self._ledger.close()

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            self._ledger = open_ledger(self.workspace.ledger_path)
        return self._ledger

    def study(self, name: str = "digits", metric: str = "acc", **changes: Any) -> Study:
        """Store a study and hold its lease."""
        data: dict[str, Any] = {
            "name": name,
            "objective": {"kind": "script", "command": ["python", "train.py"]},
            "space": {"lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True}},
            "metrics": {metric: {"direction": "maximize"}},
            "budget": {"trials": 20},
        }
        record = self.ledger.create_study(parse_spec(data | changes), self.project)
        self.writers[name] = self.ledger.acquire(record)
        self.writers[name].set_state("running")
        return Study(self.ledger, self.workspace, name)

    def begin(
        self,
        study: Study,
        number: int,
        configuration: dict[str, Any] | None = None,
        why: str = "spread evenly",
    ) -> TrialRecord:
        """Start a trial."""
        given = configuration or {"lr": 10 ** -(1 + number % 4)}
        return self.writers[study.name].add_trial(
            number, given, Decision("sobol", why), "cpu:0", 10.0
        )

    def report(self, study: Study, trial: TrialRecord, values: list[float]) -> None:
        """Let a trial report values of the objective, from step 1 on."""
        (metric,) = study.spec.objectives
        reports = [Report(step, {metric: value}) for step, value in enumerate(values, start=1)]
        self.writers[study.name].record_reports(trial, reports)

    def end(
        self,
        study: Study,
        trial: TrialRecord,
        value: float | None,
        outcome: Outcome = Outcome.COMPLETE,
        reason: str = "ended by itself",
        error: str = "",
    ) -> TrialRecord:
        """End a trial."""
        (metric,) = study.spec.objectives
        return self.writers[study.name].finish_attempt(
            trial,
            Verdict(outcome, reason),
            metrics={} if value is None else {metric: value},
            seconds=3.0,
            peak_bytes=2**28,
            error_tail=error,
            again=False,
        )

    def run(self, study: Study, number: int, value: float) -> TrialRecord:
        """Run a trial to its end."""
        trial = self.begin(study, number)
        self.report(study, trial, [value / 2, value * 3 / 4, value])
        return self.end(study, trial, value)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if (why := missing()) is not None:
        pytest.skip(why)
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(bench: Bench, browser: Any) -> Iterator[Callable[..., Served]]:
    """Serve the bench's workspace, and open a page of it in a window of an ordinary size."""
    with contextlib.ExitStack() as stack:

        def open_page(query: str = "", port: int | None = None) -> Served:
            ui = stack.enter_context(forked(bench.workspace.folder, bench.project, port))
            resize(browser, 1280, 800)
            browser.get(ui.url + query)
            return ui

        yield open_page
        browser.get("about:blank")
