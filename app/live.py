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
from ..tools.budget import Meters, expected_trial_seconds, forecast_seconds
from ..tools.claims import claim
from ..tools.database import LedgerError
from ..tools.records import EventRecord, StudyRecord, TrialRecord
from ..tools.study import Study, read_study_meters, state_of
from .tables import (
    configuration_text,
    counts_text,
    meters_text,
    number_text,
    plain,
    plain_lines,
    seconds_text,
    trials_table,
)

_REFRESH_SECONDS = 0.25
_ROWS = 12
_OTHER_LINES = 8
"""Lines of the view besides its trials, and one to spare."""
_NEWS = ("out_of_service", "refused", "no_advice")
_MOST_NEWS = 2


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment."""

    record: StudyRecord
    state: str
    trials: list[TrialRecord]
    latest: dict[int, dict[str, tuple[int, float]]]
    meters: Meters
    now: float
    """What time it is where it runs, in seconds since 1970."""
    news: list[EventRecord]
    """What a person should know of, oldest first."""
    newest_event: int
    """The id of the newest event that it has seen."""


def look(study: Study, before: Snapshot | None = None) -> Snapshot:
    """Read a study as it stands now; what has not changed since `before` is taken from there.

    Raises:
        LedgerError: If the ledger cannot be read.
    """
    ledger, record = study.ledger, study.record
    if before is not None and before.record.version == record.version:
        trials, latest, news = before.trials, before.latest, before.news
        newest = before.newest_event
    else:
        newest = ledger.newest_event(record)
        trials = _read_trials(study, record, before)
        latest = ledger.latest_reports(record)
        news = ledger.newest_events(record, _NEWS, most=_MOST_NEWS)
    meters = read_study_meters(ledger, record, trials)
    state = state_of(record, ledger.owner(record))
    # A pretend lab has a clock of its own, which only its ledger knows.
    now = time.time() if record.spec.executor.lab is None else ledger.last_event_time(record)
    return Snapshot(record, state, trials, latest, meters, now, news, newest)


def _read_trials(study: Study, record: StudyRecord, before: Snapshot | None) -> list[TrialRecord]:
    """Read the trials; of those that were read before, only the ones that something happened to."""
    if before is None or before.record.id != record.id:
        return study.ledger.trials(record)
    changed = study.ledger.changed_trials(record, before.newest_event)
    known = {trial.number: trial for trial in before.trials}
    known |= {trial.number: trial for trial in study.ledger.trials(record, numbers=changed)}
    return [known[number] for number in sorted(known)]


def render(snapshot: Snapshot, console: Console) -> RenderableType:
    """Return the view, as large as the console: budget, best so far, and the newest trials."""
    spec, trials = snapshot.record.spec, snapshot.trials
    best = best_trials(spec, trials)
    running = [trial for trial in trials if trial.state == "running"]
    others = [trial for trial in reversed(trials) if trial.state != "running"]
    room = console.height - _OTHER_LINES - len(snapshot.news)
    shown = [*reversed(running), *others][: max(1, min(_ROWS, room))]
    parts: list[RenderableType] = [_head(snapshot), _best_line(snapshot, best)]
    if snapshot.record.reason:
        parts.append(Text(plain_lines(snapshot.record.reason), style="yellow"))
    parts += [_news_line(event) for event in snapshot.news]
    if shown:
        table = trials_table(
            spec,
            shown,
            width=console.width,
            best=[trial.number for trial in best],
            latest=snapshot.latest if snapshot.state == "running" else None,
            running_seconds={t.number: snapshot.now - t.attempts[-1].started_at for t in running},
        )
        parts += [Text(), table]
    if len(trials) > len(shown):
        parts.append(Text(f"… and {len(trials) - len(shown)} earlier trials", style="dim"))
    return Group(*parts)


def news_text(event: EventRecord) -> str:
    """Return one of a study's news as a sentence; it may quote strangers."""
    match event.kind:
        case "out_of_service":
            return f"{event.data['device']} is out of service: {event.data['reason']}"
        case "no_advice":
            return f"no advice: {event.data['message']}"
        case _:
            return f"{event.data['wish']} was refused: {event.data['reason']}"


def _news_line(event: EventRecord) -> Text:
    return Text(plain(news_text(event)), style="yellow", no_wrap=True, overflow="ellipsis")


def _head(snapshot: Snapshot) -> RenderableType:
    meters = snapshot.meters
    line = Text(no_wrap=True, overflow="ellipsis")
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
    repeats = [trial for trial in snapshot.trials if trial.is_repeat]
    line = counts_text(counts(trial for trial in snapshot.trials if not trial.is_repeat))
    line.append(f", {len(repeats)} repeats" if repeats else "")
    line.no_wrap, line.overflow = True, "ellipsis"
    if len(best) == 1:
        values = [f"{plain(n)} {number_text(best[0].metrics[n])}" for n in spec.objectives]
        found = claim(spec, snapshot.trials)
        if found is not None and found.runs:
            values = [f"{plain(found.metric)} {found.quote}"]
        line.append("   best ", style="dim")
        line.append(", ".join(values), style="bold green")
        line.append(f" in trial {best[0].number}: {configuration_text(best[0].configuration)}")
    elif best:
        line.append(f"   {len(best)} trials on the Pareto front", style="bold green")
    return line


class View:
    """The picture of a study in a terminal, drawn over again."""

    def __init__(self, study: Study, console: Console) -> None:
        self._study = study
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._last: Snapshot | None = None

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self) -> Snapshot:
        """Draw the study as it stands now."""
        self._last = look(self._study, self._last)
        # The cursor rests in a line of its own, where the ^C that a terminal echoes does no harm.
        picture = Group(render(self._last, self._console), Text())
        self._live.update(picture, refresh=True)
        return self._last


@contextlib.contextmanager
def live_view(study: Study, console: Console) -> Iterator[None]:
    """Show a study while something else goes on, from a thread of its own."""
    over = threading.Event()
    with View(study, console) as view:

        def show() -> None:
            # The ledger may be busy or the disk full; the worker tells what matters.
            with contextlib.suppress(LedgerError):
                view.show()

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
    with View(study, console) as view:
        while True:
            owner = study.owner
            snapshot = view.show()
            if owner is None:
                return snapshot
            time.sleep(_REFRESH_SECONDS)
