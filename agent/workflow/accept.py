"""Whether an edit has earned its place: paired, on cases that it was not made for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

Z = 2.3
"""Of the lower bound of the mean gain: with 16 cases at most one accepted edit in ten is useless or
harmful, which 2.0 does not quite keep (`python -m luthier.evals.workflow.acceptance`)."""
FEW = 8
"""With fewer cases than these the evidence is low, whatever the bound says."""
LATENCY = 1.25
"""Times as long as before that cases may take, beyond chance."""
COST = 1.25
"""Times as much as before that all cases together may cost."""
_LEAST_SECONDS = 0.5
"""More than before, of all cases together; below that a ratio of times is noise."""


@dataclass(frozen=True)
class Verdict:
    """What the cases say of an edit."""

    accepted: bool
    reason: str
    mean: float
    """Mean gain in score."""
    bound: float
    """Lower confidence bound of it."""
    low_evidence: bool


def judge(
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    max_drop: float,
    guards: Collection[str] = (),
    seconds: Mapping[str, tuple[float, float]] | None = None,
    latency: float = LATENCY,
    costs: Mapping[str, tuple[float, float]] | None = None,
    cost: float = COST,
    z: float = Z,
) -> Verdict:
    """Compare scores case by case.

    Accepted is what gains more than chance would (mean - z * sd / sqrt(n) > 0), loses no more than
    `max_drop` on any case and nothing on a guarded one, and is neither much slower nor much dearer.

    Args:
        before: Score by case.
        after: The same with the edit.
        max_drop: How much any case may lose.
        guards: Cases that may lose nothing.
        seconds: What cases took before and after: those that failed neither time, since a repair
            takes longer than a failure.
        latency: Times as long as before that they may take; infinity for any time.
        costs: What cases cost before and after, where it is counted; of those that failed neither
            time, too.
        cost: Times as much as before that they may cost together; infinity for any cost.
        z: Width of the bound, in standard errors.
    """
    gains = {name: after[name] - before[name] for name in before}
    mean, low = statistics.fmean(gains.values()), len(gains) < FEW
    error = statistics.stdev(gains.values()) / math.sqrt(len(gains)) if len(gains) > 1 else math.inf
    bound = mean - z * error

    def verdict(accepted: bool, reason: str) -> Verdict:
        return Verdict(accepted, reason, mean, bound, low)

    for name in sorted(set(guards) & gains.keys()):
        if gains[name] < 0:
            return verdict(False, f"the guarded case {name!r} loses {-gains[name]:.4g}")
    worst = min(gains, key=lambda name: gains[name])
    if gains[worst] < -max_drop:
        return verdict(False, f"{worst!r} loses {-gains[worst]:.4g}, more than {max_drop:g}")
    if not bound > 0:
        return verdict(False, f"a mean gain of {mean:+.4g} is not beyond chance ({bound:+.4g})")
    if slower := _slower(list((seconds or {}).values()), latency, z):
        return verdict(False, slower)
    early, late = (sum(side) for side in zip(*costs.values(), strict=True)) if costs else (0.0, 0.0)
    if 0.0 < early * cost < late:
        return verdict(False, f"it costs {late:.6g} instead of {early:.6g}")
    return verdict(True, f"a mean gain of {mean:+.4g}, {bound:+.4g} at least")


def _slower(pairs: Sequence[tuple[float, float]], latency: float, z: float) -> str:
    """Say that it became too slow, if a busy machine is no explanation."""
    before, after = (sum(side) for side in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    if len(pairs) < 2 or after - before < _LEAST_SECONDS:
        return ""
    ratios = [math.log(late / early) for early, late in pairs]
    bound = statistics.fmean(ratios) - z * statistics.stdev(ratios) / math.sqrt(len(ratios))
    if bound <= math.log(latency):
        return ""
    return f"it takes {after:.2f} s instead of {before:.2f} s"
