"""Small tables of scikit-learn's generators, and a broken recipe to classify them.

The tables are drawn here, not packaged ones: those a recipe could load with their labels.
"""

from __future__ import annotations

import re
import warnings
from random import Random
from typing import Any

import numpy as np

from ...agent.workflow import Case, Feedback, Param, ParamSet, Suite, op, param
from ...agent.workflow.sandbox import call
from .problem import Problem, Values

_CASES, _ROWS, _TRAINING = 40, 120, 80

_BROKEN = """\
def predict(train_x, train_y, test_x):
    import numpy as np
    x, y, t = np.array(train_x), train_y.astype(int), np.array(test_x)
    distances = ((t[:, None] - x[None]) ** 2).sum(axis=2)
    near = distances.argsort(axis=1)[:, :5]
    return [int(np.bincount(y[row]).argmax()) for row in near]
"""
_NO_CLASS = """\
def predict(train_x, train_y, test_x):
    return [-1 for _ in test_x]
"""
_FAULT, _MENDED = "train_y.astype(int)", "np.array(train_y)"
_MEASURE = "    distances"
_SCALE = "    spread = x.std(axis=0) + 1e-9\n    x, t = x / spread, t / spread\n"
_SCALES = (
    *("", _SCALE),
    "    x, t = x - x.mean(axis=0), t - x.mean(axis=0)\n",
    "    x, t = x / x.std(), t / x.std()\n",
    "    x, t = np.abs(x), np.abs(t)\n",
)
_NEIGHBOURS = (1, 5, 15, 60)
_COLUMN = re.compile(r"spread of columns ([\d.]+) to ([\d.]+)")
_LARGE_RATIO = 10.0


@op
def describe(rows: list[list[float]]) -> str:
    """Tell how far the columns of a table spread."""
    spread = np.array(rows).std(axis=0)
    return f"spread of columns {spread.min():.3g} to {spread.max():.3g}"


@op
def classify(about: str, table: tuple[Any, Any, Any]) -> Any:
    """Train the recipe on a table, and predict the classes of its hidden rows."""
    return call(param("recipe"), "predict", [table])[0]


def _workflow(table: tuple[Any, Any, Any]) -> Any:
    return classify(describe(table[0]), table)


def pipelines(seed: int = 0) -> Problem:
    """Return a problem of 40 tables; the score is the accuracy on 40 hidden rows."""
    from sklearn.datasets import make_blobs, make_circles, make_classification, make_moons

    rng = np.random.default_rng([seed, 5])
    labels, cases = {}, []
    for i in range(_CASES):
        state = int(rng.integers(2**31))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x, y = (
                make_moons(_ROWS, noise=0.2, random_state=state),
                make_circles(_ROWS, noise=0.1, factor=0.5, random_state=state),
                make_blobs(_ROWS, centers=3, cluster_std=2.5, random_state=state)[:2],
                make_classification(_ROWS, 4, n_informative=3, n_redundant=0, random_state=state),
            )[i % 4]
        x = np.hstack([x, rng.normal(scale=50.0, size=(_ROWS, 1))]).round(4)
        name = f"table{i:02}"
        labels[name] = y[_TRAINING:].tolist()
        inputs = (x[:_TRAINING].tolist(), y[:_TRAINING].tolist(), x[_TRAINING:].tolist())
        cases.append(Case(name, inputs))

    def score(case: Case, answer: Any) -> Feedback:
        truth = labels[case.name]
        if not isinstance(answer, list) or len(answer) != len(truth):
            return Feedback(0.0, f"{len(truth)} classes are wanted, one for each hidden row")
        share = sum(a == b for a, b in zip(answer, truth, strict=True)) / len(truth)
        return Feedback(share, f"{share:.0%} of the hidden rows are right")

    return Problem(
        "pipelines",
        "Predict the classes of the hidden rows of each table.",
        _workflow,
        ParamSet([Param.code("recipe", _BROKEN, "trains on a table, predicts other rows")]),
        Suite(cases, score, max_drop=0.3),
        fix=_fix,
        guess=_guess,
        harm=lambda rng: {"recipe": _NO_CLASS},
    )


def _guess(rng: Random) -> Values:
    """Write the recipe with the fault or without, with some way to scale, and some number."""
    labels, number = rng.choice((_FAULT, _MENDED)), rng.choice(_NEIGHBOURS)
    recipe = _BROKEN.replace(_FAULT, labels).replace(":5]", f":{number}]")
    return {"recipe": recipe.replace(_MEASURE, rng.choice(_SCALES) + _MEASURE)}


def _fix(text: str, rng: Random) -> Values:
    """Mend what the error names; scale the columns if their spreads are seen to differ."""
    recipe = _BROKEN
    if "'list' object has no attribute 'astype'" in text:
        recipe = recipe.replace(_FAULT, _MENDED)
    spreads = _COLUMN.search(text)
    if spreads is not None and float(spreads[2]) > _LARGE_RATIO * float(spreads[1]):
        recipe = recipe.replace(_FAULT, _MENDED).replace(_MEASURE, _SCALE + _MEASURE)
    return {"recipe": recipe} if recipe != _BROKEN else _guess(rng)
