"""The report of an eval: tables and verdicts in Markdown, anytime curves on an HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..tools.stats import MARGIN, Interval
from .methods import METHODS
from .results import Result, check_agreement, read_results
from .standings import Standing, over_families, standings_of
from .task import EvalError

_MISSING_SHOWN = 20
_LOSSES_SHOWN = 10


@dataclass(frozen=True)
class _Pair:
    """One comparison."""

    place: str
    ours: str
    other: str
    at: int
    difference: Interval


def write_report(folder: Path) -> str:
    """Write `report.md` and `curves.html` into a folder of results; return the former's text.

    Raises:
        EvalError: If there are no results, or they cannot be read or compared.
    """
    from .curves import write_page

    results = read_results(folder)
    if not results:
        raise EvalError(
            f"{str(folder)!r} holds no results; make some: luthier eval run SUITE --output {folder}"
        )
    check_agreement(results, folder)
    standings = standings_of(results)
    text = "\n".join(_lines(results, standings)) + "\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    write_page(standings, folder / "curves.html")
    return text


def _lines(results: Sequence[Result], standings: Sequence[Standing]) -> Iterator[str]:
    yield from _head(results)
    whole = [standing for standing in standings if standing.tasks]
    parts = [*whole, over_families(whole)] if len(whole) > 1 else whole
    yield from _regrets(parts, results)
    pairs = [pair for standing in parts for pair in _pairs(standing)]
    yield from _verdicts(pairs)
    yield from _losses(pairs, [p for s in whole for task in s.tasks for p in _pairs(s.only(task))])
    yield from _blemishes(results, standings)


def _head(results: Sequence[Result]) -> Iterator[str]:
    days = sorted(result.date[:10] for result in results)
    seeds = len({result.seed for result in results})
    trials = sorted({result.trials for result in results})
    yield "# Eval report"
    yield ""
    yield (
        f"{len(results)} runs of {' or '.join(map(str, trials))} trials, {seeds} seeds, "
        f"{days[0]} to {days[-1]}."
    )
    for lineage in dict.fromkeys(tuple(result.lineage.items()) for result in results):
        yield f"Made with {', '.join(f'{name} {version}' for name, version in lineage)}."
    yield ""
    yield (
        "Regret: 0 is the best configuration, 1 the median one, clipped at 1.5; the incumbent is "
        "chosen by what its trial showed and scored by its noise-free value. All methods share the "
        "first five points. In brackets: what other seeds on the same tasks would give, 95%."
    )


def _regrets(standings: Sequence[Standing], results: Sequence[Result]) -> Iterator[str]:
    yield from ("", "## Mean regret")
    for standing in standings:
        seeds = {len(next(iter(curves.values()))) for curves in standing.tasks.values()}
        counted = f"{len(standing.tasks)} tasks, {'-'.join(map(str, sorted(seeds)))} seeds"
        yield from ("", f"**{standing.name}** ({counted})", "")
        marks = standing.marks
        yield _row(["method", *(f"after {mark} trials" for mark in marks), "CPU ms a trial"])
        yield _row(["---"] * (len(marks) + 2))
        means = {m: [standing.mean(m, at) for at in marks] for m in standing.methods}
        best = [min(i.mean for i in column) for column in zip(*means.values(), strict=True)]
        for method, intervals in means.items():
            cells = [
                f"**{_interval(i)}**" if i.mean == b else _interval(i)
                for i, b in zip(intervals, best, strict=True)
            ]
            yield _row([method, *cells, f"{_milliseconds(results, standing, method):.0f}"])


def _milliseconds(results: Sequence[Result], standing: Standing, method: str) -> float:
    own = [r for r in results if r.method == method and r.task in standing.tasks]
    return 1000 * sum(r.seconds for r in own) / sum(r.trials for r in own)


def _pairs(standing: Standing) -> Iterator[_Pair]:
    """Yield what is compared: ours with all others, or, without ours, all with each other."""
    methods = standing.methods
    ours = [m for m in methods if m in METHODS and METHODS[m].ours] or list(methods)
    for one in ours:
        for other in methods:
            if other != one and (other not in ours or one < other):
                for at in standing.marks:
                    difference = standing.difference(one, other, at)
                    yield _Pair(standing.name, one, other, at, difference)


def _verdicts(pairs: Sequence[_Pair]) -> Iterator[str]:
    yield from ("", "## Paired verdicts", "")
    yield (
        "Each cell is the mean difference in regret, below 0 where the first method leads. "
        "*better*: the 95% interval lies below 0; *no worse*: the one-sided bound is under "
        f"{MARGIN:g}; *worse*: the interval lies above 0; *unclear*: none of these."
    )
    yield ""
    marks = sorted({pair.at for pair in pairs})
    yield _row(["family", "methods", *(f"after {mark} trials" for mark in marks)])
    yield _row(["---"] * (len(marks) + 2))
    for place, ours, other in dict.fromkeys((p.place, p.ours, p.other) for p in pairs):
        of_row = {p.at: p for p in pairs if (p.place, p.ours, p.other) == (place, ours, other)}
        cells = [_judged(of_row[at].difference) if at in of_row else "" for at in marks]
        yield _row([place, f"{ours} – {other}", *cells])


def _losses(families: Sequence[_Pair], tasks: Sequence[_Pair]) -> Iterator[str]:
    """Yield where the first of two methods is behind: what is beyond noise first, then by size."""
    yield from ("", "## Where we lose", "")
    for kind, pairs in (("families", families), ("tasks", tasks)):
        behind = [pair for pair in pairs if pair.difference.mean > 0]
        beyond = sum(pair.difference.low > 0 for pair in behind)
        yield (
            f"By {kind}: behind in {len(behind)} of {len(pairs)} comparisons, {beyond} of them "
            f"beyond noise{':' if behind else '.'}"
        )
        yield ""
        behind.sort(key=lambda pair: (pair.difference.low <= 0, -pair.difference.mean))
        shown = behind[: max(beyond, _LOSSES_SHOWN)]
        for p in shown:
            yield f"- {p.place}, after {p.at} trials: {p.ours} – {p.other} {_judged(p.difference)}"
        if len(behind) > len(shown):
            yield f"- and {len(behind) - len(shown)} more, smaller and within noise"
        if behind:
            yield ""


def _blemishes(results: Sequence[Result], standings: Sequence[Standing]) -> Iterator[str]:
    yield from ("## Crashes and gaps", "")
    crashed = [result for result in results if result.crash is not None]
    missing = [cell for standing in standings for cell in standing.missing]
    if not crashed and not missing:
        yield "None."
    for result in crashed:
        assert result.crash is not None
        error = " ".join(result.crash.error.split()).replace("`", "'")[:200]
        yield (
            f"- {result.method} crashed on {result.task}, seed {result.seed}, at trial "
            f"{result.crash.trial}, and has regret 1.5 from there on: `{error}`"
        )
    if missing:
        yield f"- {len(missing)} runs are missing; the others of their task and seed are left out:"
        yield from (f"  - {cell}" for cell in missing[:_MISSING_SHOWN])
        if len(missing) > _MISSING_SHOWN:
            yield f"  - and {len(missing) - _MISSING_SHOWN} more"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return f"{interval.mean:.3f} [too few seeds]"
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _signed(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return f"{interval.mean:+.3f} [too few seeds]"
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _judged(interval: Interval) -> str:
    return f"{_signed(interval)} {interval.verdict()}"
