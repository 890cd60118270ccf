"""Each twin changes one thing about its table, and is scored so that this is all that changes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from luthier.evals.cells import starts
from luthier.evals.tables import Table, task_of
from luthier.evals.task import Task
from luthier.evals.twins import diverging_region, heavy_tailed, masked, plateau
from luthier.tools.space import Categorical, Configuration


def everything(task: Task) -> list[Configuration]:
    """Return every configuration of a table's task."""
    return list(task.space._configurations(list(task.space.parameters), {}))


def regrets(task: Task) -> list[float]:
    return [task.regret(task.objective(c, 0).noise_free) for c in everything(task)]


def test_a_heavy_tailed_twin_is_scored_as_the_plain_table(table: Table) -> None:
    assert regrets(heavy_tailed(table)) == pytest.approx(regrets(task_of(table)))


def test_a_heavy_tailed_twin_shows_exp_3z_and_a_diverging_tenth(table: Table) -> None:
    task, region = heavy_tailed(table), diverging_region(table)
    means = table.means

    for configuration in everything(task):
        place = table.place(configuration)
        shown = task.objective(configuration, 1).value
        z = (table.draw(place, 1) - means.mean()) / means.std()
        assert shown == (1e6 if region[place] else pytest.approx(np.exp(3 * z)))

    assert 0.05 <= region.mean() <= 0.15
    assert not region[np.unravel_index(means.argmin(), means.shape)]


def test_a_heavy_tailed_twin_of_what_is_maximized_is_minimized(table: Table) -> None:
    turned = replace(table, direction="maximize", values=-table.values)
    task = heavy_tailed(turned)

    assert task.direction == "minimize"
    assert regrets(task) == pytest.approx(regrets(task_of(turned)))


def test_the_worst_60_percent_of_a_plateau_twin_have_not_learned(table: Table) -> None:
    task, plain = plateau(table), task_of(table)
    shown = np.array(
        [[task.objective(c, seed).value for seed in range(9)] for c in everything(task)]
    )
    true = np.array([task.objective(c, 0).noise_free for c in everything(task)])
    untrained = true == task.f_median

    assert untrained.mean() == pytest.approx(0.6, abs=0.02)
    assert (true[~untrained] < task.f_median).all()
    assert task.f_star == plain.f_star
    noise = (shown[untrained] - task.f_median).std()
    assert noise == pytest.approx(0.01 * (task.f_median - task.f_star), rel=0.2)


def test_a_masked_twin_hides_every_name_and_range(table: Table) -> None:
    task = masked(table)

    assert list(task.space.parameters) == ["X1", "X2", "X3"]
    assert isinstance(task.space.parameters["X3"], Categorical)
    assert task.space.parameters["X3"].choices == ["C1", "C2"]
    text = task.card + task.space.model_dump_json(exclude_defaults=True)
    assert not any(word in text for word in ("rate", "width", "sgd", "log", "network", "small"))


def test_a_masked_twin_gives_what_the_plain_task_gives_at_the_same_place(table: Table) -> None:
    task, plain = masked(table), task_of(table)

    for hidden, open_ in zip(everything(task), everything(plain), strict=True):
        assert task.objective(hidden, 3) == plain.objective(open_, 3)


@pytest.mark.parametrize("make", [heavy_tailed, plateau, masked])
def test_twins_begin_where_their_table_begins(make: Callable[[Table], Task], table: Table) -> None:
    twin, plain = make(table), task_of(table)

    of_twin = np.array([twin.space.encode(start) for start in starts(twin, 4)])
    of_plain = np.array([plain.space.encode(start) for start in starts(plain, 4)])

    assert of_twin == pytest.approx(of_plain)


@pytest.mark.parametrize("name", ["phoneme", "protein", "cifar10"])
def test_the_public_tables_have_a_diverging_tenth_away_from_the_best(name: str) -> None:
    from luthier.evals.hpo_tables import load_table

    table = load_table(name)
    region, means = diverging_region(table), table.sign * table.means

    assert region.mean() == pytest.approx(0.1, abs=0.02)
    assert not (region & (means <= np.quantile(means, 0.01))).any()
