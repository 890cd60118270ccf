"""Splitting by seed and preprocessing; the one place through which the test rows are read.

`train_validation` never touches a test row: not to impute, to scale or to know the categories.
The split itself reads the classes of all rows, so that each part has its share of each class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .data import Examples, Task

_MAX_CATEGORIES = 100


class Split(NamedTuple):
    """Row numbers of three disjoint parts that together are the whole data set."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


class Arrays(NamedTuple):
    """What a network reads."""

    X: NDArray[np.float32]
    """Shape (rows, features) or (rows, channels, height, width)."""
    y: NDArray[Any]
    """Shape (rows,): class numbers from 0 (int64), or the target scaled to mean 0 and variance 1
    over the training rows (float32)."""


class _Preprocessor(NamedTuple):
    features: Callable[[Any], NDArray[np.float32]]
    target: Callable[[NDArray[Any]], NDArray[Any]]


def split_indices(
    target: NDArray[Any],
    task: Task,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> Split:
    """Split the rows at random; for classification each class in the given proportions.

    Each class is shuffled and laid out evenly over [0, 1), which is then cut at two points. So a
    class of n rows is in the training part whenever that is larger than 1/n.

    Args:
        target: Shape (rows,).
        task: Classification is stratified, regression is not.
        validation_fraction: Share of the validation rows, in (0, 1).
        test_fraction: Share of the test rows, in (0, 1).
        seed: At least 0.

    Raises:
        ValueError: If a part would have fewer than two rows.
    """
    rng = np.random.default_rng(seed)
    groups = np.unique(target, return_inverse=True)[1] if task == "classification" else None
    strata = groups if groups is not None else np.zeros(len(target), dtype=np.int64)
    position = np.empty(len(target))
    for stratum in range(strata.max() + 1):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        position[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    first = 1.0 - validation_fraction - test_fraction
    part = np.digitize(position, [first, first + validation_fraction])
    split = Split(*(np.flatnonzero(part == number) for number in range(3)))
    for name, rows in split._asdict().items():
        if len(rows) < 2:
            raise ValueError(
                f"each part needs at least 2 rows, but the {name} part of {len(target)} rows has "
                f"{len(rows)}; bring more data or enlarge its fraction"
            )
    return split


def train_validation(examples: Examples, split: Split, task: Task) -> tuple[Arrays, Arrays]:
    """Return the training and the validation rows, preprocessed as fitted on the training rows."""
    fitted = _fit(examples, split.train, task)
    return _apply(fitted, examples, split.train), _apply(fitted, examples, split.validation)


def final_test(examples: Examples, split: Split, task: Task) -> Arrays:
    """Return the test rows, preprocessed as fitted on the training rows; for the final report."""
    return _apply(_fit(examples, split.train, task), examples, split.test)


def count_outputs(examples: Examples, split: Split, task: Task) -> int:
    """Return the number of classes among the training rows, or 1 for regression."""
    return len(np.unique(examples.target[split.train])) if task == "classification" else 1


def _rows(features: Any, rows: NDArray[np.int64]) -> Any:
    return features.iloc[rows] if isinstance(features, pd.DataFrame) else features[rows]


def _apply(fitted: _Preprocessor, examples: Examples, rows: NDArray[np.int64]) -> Arrays:
    features = fitted.features(_rows(examples.features, rows))
    return Arrays(np.ascontiguousarray(features), fitted.target(examples.target[rows]))


def _fit(examples: Examples, train: NDArray[np.int64], task: Task) -> _Preprocessor:
    features = _rows(examples.features, train)
    fit = _fit_table if isinstance(features, pd.DataFrame) else _fit_images
    return _Preprocessor(fit(features), _fit_target(examples.target[train], task))


def _fit_table(table: pd.DataFrame) -> Callable[[pd.DataFrame], NDArray[np.float32]]:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", max_categories=_MAX_CATEGORIES, sparse_output=False),
    )
    is_number = table.dtypes == np.float64
    pipeline = make_column_transformer(
        (numbers, list(table.columns[is_number])),
        (categories, list(table.columns[~is_number])),
        sparse_threshold=0.0,
    )
    pipeline.fit(table)
    return lambda rows: np.asarray(pipeline.transform(rows), dtype=np.float32)


def _fit_images(images: NDArray[np.float32]) -> Callable[[Any], NDArray[np.float32]]:
    mean = images.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    deviation = images.std(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    return lambda rows: ((rows - mean) / deviation).astype(np.float32)


def _fit_target(target: NDArray[Any], task: Task) -> Callable[[NDArray[Any]], NDArray[Any]]:
    if task == "classification":
        classes = np.unique(target)
        return lambda labels: np.searchsorted(classes, labels).astype(np.int64)
    mean, deviation = target.mean(), target.std() or 1.0
    return lambda values: ((values - mean) / deviation).astype(np.float32)
