"""Data sets: bundled ones, CSV, Parquet and NumPy files, read whole into memory.

A `.npz` file holds `X` of shape (rows, features), (rows, height, width) or (rows, channels,
height, width) and `y` of shape (rows,); 3 and 4 dimensions are images. A CSV or Parquet file is a
table with a header; one of its columns is the target.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..space import did_you_mean

Task = Literal["classification", "regression"]

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
"""Real data sets that scikit-learn ships; `digits` has images of 8x8 pixels."""

SUFFIXES = (".csv", ".parquet", ".npz")
"""How the names of data files end."""
_ROWS_PER_CLASS = 3


@dataclass(frozen=True)
class Examples:
    """A data set as read: nothing is imputed, scaled or encoded yet."""

    features: pd.DataFrame | NDArray[np.float32]
    """A table of numbers (float64, NaN where missing) and text (object, NaN where missing), or
    images of shape (rows, channels, height, width)."""
    target: NDArray[Any]
    """Shape (rows,): class names as text, or numbers (float64)."""


def load(source: str, target: str, task: Task) -> Examples:
    """Read a data set.

    Args:
        source: A name in `BUNDLED`, or the path of a `.csv`, `.parquet` or `.npz` file.
        target: The column to predict; not used for bundled data sets and `.npz`.
        task: Decides how the target is read.

    Raises:
        ValueError: If the source is unknown or cannot be read, or does not fit the task.
    """
    if source in BUNDLED:
        return Examples(*_load_bundled(source, task))
    path = _existing(source)
    if path.suffix == ".npz":
        features, y = _load_npz(path)
        return Examples(features, _check_target(y, task, "y"))
    _check_column(path, target)
    table = _read(path)
    labels = _check_target(table[target], task, target)
    return Examples(_plain(table.drop(columns=target), path), labels)


def load_target(source: str, target: str, task: Task) -> NDArray[Any]:
    """Read only the target of a data set, shape (rows,); arguments and errors as in `load`."""
    if source in BUNDLED or Path(source).suffix == ".npz":
        return load(source, target, task).target
    path = _existing(source)
    _check_column(path, target)
    return _check_target(_read(path, [target])[target], task, target)


def has_images(source: str) -> bool:
    """Tell whether the examples of an existing source are images."""
    if source in BUNDLED:
        return source == "digits"
    path = _existing(source)
    return path.suffix == ".npz" and isinstance(_load_npz(path)[0], np.ndarray)


def _existing(source: str) -> Path:
    path = Path(source).expanduser()
    if path.suffix not in SUFFIXES:
        if path.suffix or len(path.parts) > 1:
            raise ValueError(f"data file {source!r} must end in one of {', '.join(SUFFIXES)}")
        raise ValueError(f"unknown data set {source!r}" + did_you_mean(source, BUNDLED))
    if not path.is_file():
        raise ValueError(f"data file {str(path.absolute())!r} does not exist")
    return path


def _load_bundled(name: str, task: Task) -> tuple[Any, NDArray[Any]]:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    labels = _check_target(bunch.target, task, f"target of {name}")
    if name == "digits":
        return bunch.images[:, np.newaxis].astype(np.float32), labels
    return bunch.data.astype(np.float64), labels


def _load_npz(path: Path) -> tuple[pd.DataFrame | NDArray[np.float32], pd.Series[Any]]:
    try:
        # np.load leaves a damaged file open if it has opened it itself.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, as np.save writes; use np.savez")
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"data file {str(path)!r} cannot be read: {error}") from error
    if not {"X", "y"} <= arrays.keys():
        raise ValueError(f"{str(path)!r} must hold arrays `X` and `y`, but holds {sorted(arrays)}")
    X, y = arrays["X"], arrays["y"]
    if X.ndim not in (2, 3, 4) or y.shape != X.shape[:1] or X.dtype.kind not in "biuf":
        raise ValueError(
            f"{str(path)!r} must hold numbers `X` of shape (rows, features), (rows, height, width) "
            "or (rows, channels, height, width) and `y` of shape (rows,), but got "
            f"X {X.dtype}{X.shape}, y {y.dtype}{y.shape}"
        )
    if X.ndim == 2:
        table = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
        return _plain(table, path), pd.Series(y)
    if not np.isfinite(X).all():
        raise ValueError(f"the images in {str(path)!r} must be finite, but some pixels are not")
    images = X[:, np.newaxis] if X.ndim == 3 else X
    return images.astype(np.float32), pd.Series(y)


def _read(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, usecols=columns)
        return pd.read_parquet(path, columns=columns)
    except ValueError as error:
        raise ValueError(f"data file {str(path)!r} cannot be read: {error}") from error


def _check_column(path: Path, target: str) -> None:
    try:
        if path.suffix == ".csv":
            names = [str(name) for name in pd.read_csv(path, nrows=0).columns]
        else:
            from pyarrow.parquet import read_schema

            names = list(read_schema(path).names)
    except ValueError as error:
        raise ValueError(f"data file {str(path)!r} cannot be read: {error}") from error
    if target not in names:
        raise ValueError(f"{str(path)!r} has no column {target!r}" + did_you_mean(target, names))
    if len(names) < 2:
        raise ValueError(f"{str(path)!r} has no column besides the target {target!r}")


def _plain(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Reduce the many column types to float64 and object, with NaN for all that is missing."""
    columns = {}
    for name, column in table.items():
        if pd.api.types.is_numeric_dtype(column):
            if column.dtype.kind == "c":
                raise ValueError(f"column {name!r} of {str(path)!r} is complex; split it in two")
            numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
            columns[str(name)] = pd.Series(np.where(np.isfinite(numbers), numbers, np.nan))
        elif column.dtype.kind in "mM":
            raise ValueError(
                f"column {name!r} of {str(path)!r} is of type {column.dtype}; "
                "turn it into numbers or drop it"
            )
        else:
            text = [
                np.nan if missing else str(value)
                for value, missing in zip(column, column.isna(), strict=True)
            ]
            columns[str(name)] = pd.Series(text, dtype=object)
    return pd.DataFrame(columns)


def _check_target(column: pd.Series[Any], task: Task, name: str) -> NDArray[Any]:
    missing = int(column.isna().sum())
    if missing:
        raise ValueError(f"target {name!r} lacks a value in {missing} rows; drop these rows")
    if column.nunique() < 2:
        raise ValueError(f"target {name!r} must have at least 2 distinct values")
    if task == "classification":
        labels: NDArray[Any] = column.astype(str).to_numpy(dtype=object)
        classes, counts = np.unique(labels, return_counts=True)
        if counts.min() < _ROWS_PER_CLASS:
            rarest = str(classes[counts.argmin()])
            raise ValueError(
                f"each class needs at least {_ROWS_PER_CLASS} rows, but {rarest!r} "
                f"of target {name!r} has {counts.min()}; merge or drop it, or set task='regression'"
            )
        return labels
    if not pd.api.types.is_numeric_dtype(column) or column.dtype.kind in "bc":
        raise ValueError(
            f"task='regression' needs numbers, but target {name!r} is of type {column.dtype}; "
            "set task='classification'?"
        )
    numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"target {name!r} must be finite, but some values are not")
    return numbers
