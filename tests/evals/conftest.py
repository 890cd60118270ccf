"""A small table with a known optimum, and results without a run."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from luthier.evals.results import Crash, Result
from luthier.evals.tables import Table

MakeResult = Callable[..., Result]


@pytest.fixture
def table() -> Table:
    """Return 8 x 3 x 2 configurations, three repetitions each; the best is (1e-2, 64, "adam")."""
    rng = np.random.default_rng(0)
    rates = np.abs(np.arange(8) - 5)
    means = rates[:, None, None] + np.array([1.0, 0.5, 0.0])[:, None] + np.array([0.3, 0.0])
    values = 1.0 + means[..., None] + 0.01 * rng.normal(size=(8, 3, 2, 3))
    return Table(
        name="small",
        family="own",
        direction="minimize",
        axes={
            "learning_rate": [10 ** (-4.5 + i / 2) for i in range(8)],
            "width": [16, 32, 64],
            "optimizer": ["sgd", "adam"],
        },
        values=values,
        card="A network on some data.",
        source="here",
        licence="Apache-2.0",
    )


@pytest.fixture
def result() -> MakeResult:
    """Make a result of a cell from its curve."""

    def make(
        regret: Sequence[float],
        method: str = "random",
        task: str = "one",
        seed: int = 0,
        *,
        family: str = "some",
        crash: Crash | None = None,
        fingerprint: str = "f",
    ) -> Result:
        return Result(
            task=task,
            method=method,
            seed=seed,
            trials=len(regret),
            family=family,
            fingerprint=fingerprint,
            settings={},
            regret=tuple(regret),
            failed=0,
            seconds=0.5,
            crash=crash,
            date="2026-01-02T03:04:05+00:00",
            lineage={"luthier": "0.1.0"},
        )

    return make
