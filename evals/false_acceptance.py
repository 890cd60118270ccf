"""How many of the edits that are accepted deserve it: a simulation of the rule of acceptance.

python -m luthier.evals.false_acceptance [--searches N]     about a minute

Each search tries 20 edits: a fifth gain 0.02, two fifths nothing, and two fifths lose 0.02, on
every case. Scores have a noise of 0.03, drawn anew for every edit. Told are the edits accepted in a
search, those among them that gain nothing or lose, their share, and what was gained in truth. With
16 cases Luthier's rule must keep the share at 0.1 at most.
"""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

import numpy as np

from ..agent.workflow.accept import Z, judge

EDITS = 20
_SHARES, _EFFECTS = (0.2, 0.4, 0.4), (0.02, 0.0, -0.02)
_NOISE = 0.03
_MOST = 0.1
CASES, WIDTHS = (8, 16, 32), (0.0, 1.28, 2.0, Z)


class Row(NamedTuple):
    """What a rule accepts in a search, on the mean."""

    accepted: float
    wrong: float
    """Those of no use, and the harmful ones."""
    gain: float
    """What the workflow gained in truth."""

    @property
    def share(self) -> float:
        """The share of the accepted edits that are wrong."""
        return self.wrong / self.accepted if self.accepted else 0.0


def simulate(cases: int, z: float, searches: int, seed: int = 0) -> Row:
    """Return what the rule accepts.

    Args:
        cases: Cases that decide.
        z: Width of the bound.
        searches: How many searches are simulated.
        seed: Seed of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    accepted, wrong, gained = 0, 0, 0.0
    names = [str(i) for i in range(cases)]
    for _ in range(searches):
        for effect in rng.choice(_EFFECTS, EDITS, p=_SHARES):
            before = dict(zip(names, rng.normal(0.0, _NOISE, cases), strict=True))
            after = dict(zip(names, effect + rng.normal(0.0, _NOISE, cases), strict=True))
            if judge(before, after, max_drop=1.0, z=z).accepted:
                accepted += 1
                wrong += effect <= 0
                gained += effect
    return Row(accepted / searches, wrong / searches, gained / searches)


def main(arguments: list[str]) -> int:
    """Print a row a rule; return 1 if Luthier's own lets too much through."""
    parser = argparse.ArgumentParser(prog="python -m luthier.evals.false_acceptance")
    parser.add_argument("--searches", type=int, default=4000)
    searches = parser.parse_args(arguments).searches
    print(f"cases  bound   accepted of {EDITS}   wrong  share   gain")
    failed = False
    for cases in CASES:
        for z in WIDTHS:
            row = simulate(cases, z, searches)
            ours = (cases, z) == (16, Z)
            failed |= ours and row.share > _MOST
            name = "mean" if z == 0 else f"z {z:g}"
            mark = f"  ours, at most {_MOST:g}" if ours else ""
            print(
                f"{cases:5}  {name:6} {row.accepted:12.2f} {row.wrong:12.2f} {row.share:6.1%} "
                f"{row.gain:+.3f}{mark}"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
