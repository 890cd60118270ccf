"""The live view of a study in a terminal; it only reads the ledger."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..tools.analysis import best_trials, counts
from ..tools.budget import Meters, expected_trial_seconds, forecast_seconds, read_meters
from ..tools.database import LedgerError
from ..tools.records import StudyRecord, TrialRecord
from ..tools.study import Study, state_of
from .tables import (
    configuration_text,
    counts_text,
    meters_text,
    number_text,
    plain,
    seconds_text,
    trials_table,
)

_REFRESH_SECONDS = 0.25
_ROWS = 12


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment."""

    record: StudyRecord
    state: str
    trials: list[TrialRecord]
    latest: dict[int, dict[str, tuple[int, float]]]
    meters: Meters


def look(study: Study) -> Snapshot:
    """Read a study as it stands now.

    Raises:
        LedgerError: If the ledger cannot be read.
    """
    ledger, record = study.ledger, study.record
    trials = ledger.trials(record)
    spent, reserved = ledger.spending(record, "device_seconds")
    meters = read_meters(
        record.spec,
        trials=sum(not trial.imported for trial in trials),
        wall_seconds=record.wall_seconds,
        device_spent=spent,
        device_reserved=reserved,
    )
    state = state_of(record, ledger.owner(record))
    return Snapshot(record, state, trials, ledger.latest_reports(record), meters)


def render(snapshot: Snapshot, *, rows: int = _ROWS) -> RenderableType:
    """Return the view: budget, best so far, and the newest trials."""
    spec, trials = snapshot.record.spec, snapshot.trials
    best = best_trials(spec, trials)
    running = [trial for trial in trials if trial.state == "running"]
    others = [trial for trial in reversed(trials) if trial.state != "running"]
    shown = [*reversed(running), *others][:rows]
    now = time.time()
    table = trials_table(
        spec,
        shown,
        best=[trial.number for trial in best],
        latest=snapshot.latest,
        running_seconds={t.number: now - t.attempts[-1].started_at for t in running},
    )
    parts: list[RenderableType] = [_head(snapshot), _best_line(snapshot, best)]
    if snapshot.record.reason:
        parts.append(Text(plain(snapshot.record.reason), style="yellow"))
    if shown:
        parts += [Text(), table]
    if len(trials) > len(shown):
        parts.append(Text(f"… and {len(trials) - len(shown)} earlier trials", style="dim"))
    return Group(*parts)


def _head(snapshot: Snapshot) -> RenderableType:
    meters = snapshot.meters
    line = Text()
    line.append(snapshot.record.name, style="bold")
    line.append(f"  {snapshot.state}  ", style="cyan" if snapshot.state == "running" else "bold")
    line.append(meters_text(meters))
    line.append(f"  {seconds_text(snapshot.record.wall_seconds)} so far", style="dim")
    slots = sum(trial.state == "running" for trial in snapshot.trials)
    left = forecast_seconds(meters, expected_trial_seconds(snapshot.trials), max(1, slots))
    if snapshot.state == "running" and left is not None:
        line.append(f", about {seconds_text(left)} to go", style="dim")
    grid = Table.grid(padding=(0, 2))
    shares = [meter.spent / meter.cap for meter in meters.all() if meter.cap]
    grid.add_row(ProgressBar(total=1.0, completed=max(shares, default=0.0), width=20), line)
    return grid


def _best_line(snapshot: Snapshot, best: list[TrialRecord]) -> Text:
    spec = snapshot.record.spec
    line = counts_text(counts(snapshot.trials))
    if len(best) == 1:
        values = [f"{plain(n)} {number_text(best[0].metrics[n])}" for n in spec.objectives]
        line.append("   best ", style="dim")
        line.append(", ".join(values), style="bold green")
        line.append(f" in trial {best[0].number}: {configuration_text(best[0].configuration)}")
    elif best:
        line.append(f"   {len(best)} trials on the Pareto front", style="bold green")
    return line


@contextlib.contextmanager
def live_view(study: Study, console: Console) -> Iterator[None]:
    """Show a study while something else goes on, from a thread of its own."""
    over = threading.Event()
    with Live(console=console, refresh_per_second=4, auto_refresh=False) as live:

        def show() -> None:
            # The ledger may be busy or the disk full; the worker tells what matters.
            with contextlib.suppress(LedgerError):
                live.update(render(look(study)), refresh=True)

        def repeat() -> None:
            while not over.wait(_REFRESH_SECONDS):
                show()

        thread = threading.Thread(target=repeat, name="view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            show()


def watch(study: Study, console: Console) -> Snapshot:
    """Show a study until nobody runs it any more; return the last look.

    Raises:
        LedgerError: If the ledger cannot be read.
    """
    with Live(console=console, auto_refresh=False) as live:
        while True:
            snapshot = look(study)
            live.update(render(snapshot), refresh=True)
            if study.owner is None:
                return snapshot
            time.sleep(_REFRESH_SECONDS)
