"""A study that is killed again and again, at whatever moment, comes to the same end."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from luthier.evals.kills import Survivor

TRIALS = 14


@pytest.fixture
def survivor(tmp_path: Path) -> Iterator[Survivor]:
    survivor = Survivor(tmp_path, TRIALS)
    yield survivor
    survivor.kill_all()


@pytest.mark.parametrize(
    ("kills", "seed"),
    [(3, 0), *(pytest.param(10, seed, marks=pytest.mark.slow) for seed in (1, 2, 3))],
)
def test_a_study_survives_kills_at_random_moments(
    survivor: Survivor, kills: int, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(kills):
        survivor.kill_worker(rng)
    assert survivor.finish() == []


def test_a_study_survives_power_cuts(survivor: Survivor) -> None:
    rng = random.Random(0)
    for _ in range(2):  # a trial that is lost a third time counts as failed
        with survivor.worker() as process:
            survivor.wait_for_events(process, more=6)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.3))
            survivor.kill_all()
    assert survivor.finish() == []
