import numpy as np
import pandas as pd
import pytest
from luthier.tools.recipes import data


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "size": [1.0, np.nan, 3.0, np.inf, 5.0, 6.0],
            "count": pd.array([1, 2, None, 4, 5, 6], dtype="Int64"),
            "sold": [True, False, True, False, True, False],
            "colour": ["red", None, "blue", "red", "blue", "red"],
            "label": ["a", "b", "a", "b", "a", "b"],
            "price": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5],
        }
    )


@pytest.fixture(params=["csv", "parquet"])
def table_path(request, table, tmp_path):
    path = tmp_path / f"table.{request.param}"
    table.to_csv(path, index=False) if request.param == "csv" else table.to_parquet(path)
    return str(path)


@pytest.mark.parametrize("name", data.BUNDLED)
def test_bundled_data_sets_load(name):
    task = "regression" if name == "diabetes" else "classification"
    examples = data.load(name, "", task)
    assert len(examples.features) == len(examples.target) > 100
    assert data.has_images(name) == isinstance(examples.features, np.ndarray)


def test_tables_are_reduced_to_numbers_and_text(table_path):
    examples = data.load(table_path, "label", "classification")
    assert examples.features["size"].isna().tolist() == [False, True, False, True, False, False]
    assert examples.features["count"].isna().sum() == 1
    assert {str(dtype) for dtype in examples.features.dtypes} == {"float64", "object"}
    assert examples.features["sold"].tolist() == [1, 0, 1, 0, 1, 0]
    assert examples.features["colour"].isna().sum() == 1
    assert list(examples.target) == list("ababab")


def test_target_alone_equals_target_of_the_whole(table_path):
    for target, task in (("label", "classification"), ("price", "regression")):
        whole = data.load(table_path, target, task).target
        assert (data.load_target(table_path, target, task) == whole).all()


@pytest.mark.parametrize(
    ("shape", "images"), [((6, 4), False), ((6, 4, 5), True), ((6, 2, 4, 5), True)]
)
def test_dimensions_of_npz_tell_tables_from_images(tmp_path, shape, images):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.zeros(shape, dtype=np.uint8), y=np.arange(6) % 2)
    features = data.load(str(path), "", "classification").features
    assert data.has_images(str(path)) is images
    assert features.shape == ((6, 1, 4, 5) if len(shape) == 3 else shape)


def error_of(source, target="label", task="classification"):
    with pytest.raises(ValueError, match=".") as caught:
        data.load(str(source), target, task)
    with pytest.raises(ValueError, match=".") as cheap:
        data.load_target(str(source), target, task)
    assert str(cheap.value) == str(caught.value)
    return str(caught.value)


def test_unknown_names_get_the_nearest_match():
    assert error_of("digit") == "unknown data set 'digit'; did you mean 'digits'?"


def test_missing_files_are_named(tmp_path):
    assert error_of(tmp_path / "no.csv") == f"data file '{tmp_path}/no.csv' does not exist"
    assert "must end in one of .csv, .parquet, .npz" in error_of(tmp_path / "no.txt")


def test_missing_target_gets_the_nearest_match(table_path):
    assert "has no column 'lable'; did you mean 'label'?" in error_of(table_path, "lable")


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("csv", b""),
        ("csv", b'"'),
        ("parquet", b""),
        ("parquet", b"PAR1 but no table"),
        ("npz", b""),
        ("npz", b"no archive"),
        ("npz", b"PK\x03\x04 but no archive"),
    ],
)
def test_damaged_files_are_named(tmp_path, suffix, content):
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(content)
    assert f"'{path}' cannot be read: " in error_of(path)


@pytest.mark.parametrize(
    ("column", "task", "message"),
    [
        ("size", "regression", "target 'size' lacks a value in 1 rows"),
        ("colour", "classification", "target 'colour' lacks a value in 1 rows"),
        ("label", "regression", "task='regression' needs numbers, but target 'label' is of type"),
        ("price", "classification", "each class needs at least 3 rows, but '1.5' of target"),
    ],
)
def test_target_must_fit_the_task(table_path, column, task, message):
    assert message in error_of(table_path, column, task)


def test_constant_target(tmp_path):
    pd.DataFrame({"x": [1, 2, 3], "label": [1, 1, 1]}).to_csv(tmp_path / "t.csv", index=False)
    assert "must have at least 2 distinct values" in error_of(tmp_path / "t.csv")


def test_table_without_features(tmp_path):
    pd.DataFrame({"label": [1, 1, 1]}).to_csv(tmp_path / "t.csv", index=False)
    assert "has no column besides the target 'label'" in error_of(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((6, 4))}, "must hold arrays `X` and `y`, but holds ['images']"),
        ({"X": np.zeros((6, 4)), "y": np.zeros(5)}, "got X float64(6, 4), y float64(5,)"),
        ({"X": np.zeros(6), "y": np.zeros(6)}, "got X float64(6,), y float64(6,)"),
        ({"X": np.full((6, 2, 2), np.nan), "y": np.zeros(6)}, "images"),
    ],
)
def test_npz_must_follow_the_convention(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    assert message in error_of(tmp_path / "data.npz")


def test_a_single_array_is_no_archive(tmp_path):
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.zeros((6, 4)))
    assert "it is a single array, as np.save writes; use np.savez" in error_of(
        tmp_path / "data.npz"
    )


def test_dates_are_refused(tmp_path, table):
    table["day"] = pd.Timestamp("2020-01-01")
    table.to_parquet(tmp_path / "dates.parquet")
    with pytest.raises(ValueError, match="column 'day' .* turn it into numbers or drop it"):
        data.load(str(tmp_path / "dates.parquet"), "label", "classification")
