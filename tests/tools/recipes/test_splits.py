import numpy as np
import pandas as pd
import pytest
from luthier.tools.recipes import splits
from luthier.tools.recipes.data import Examples


def split(target, task="classification", validation=0.2, test=0.2, seed=0):
    return splits.split_indices(
        np.asarray(target), task, validation_fraction=validation, test_fraction=test, seed=seed
    )


def table(rows=60):
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"size": rng.normal(5.0, 3.0, rows)})
    features["colour"] = pd.Series(rng.choice(["red", "blue"], rows), dtype=object)
    return Examples(features, np.array(["a", "b", "c"] * (rows // 3), dtype=object))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_and_complete(task, seed):
    parts = split(np.arange(103) % 4, task, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(103))
    assert [len(part) for part in parts] == pytest.approx([62, 20.5, 20.5], abs=3)


def test_seed_decides():
    target = np.arange(100) % 2
    assert all(np.array_equal(a, b) for a, b in zip(split(target), split(target), strict=True))
    assert not np.array_equal(split(target, seed=0).test, split(target, seed=1).test)


@pytest.mark.parametrize("seed", range(20))
def test_each_part_has_its_share_of_each_class(seed):
    target = np.array(["rare"] * 10 + ["common"] * 90 + ["single"] * 3)
    parts = split(target, seed=seed)
    for name, count in (("rare", 10), ("common", 90)):
        shares = [(target[rows] == name).sum() for rows in parts]
        assert shares == pytest.approx([0.6 * count, 0.2 * count, 0.2 * count], abs=1.01)
    assert "single" in target[parts.train]


def test_parts_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="the validation part of 10 rows has 1; bring more data"):
        split(np.arange(10), "regression", validation=0.05)


def test_features_are_scaled_by_the_training_rows():
    examples = table()
    parts = split(examples.target)
    train, validation = splits.train_validation(examples, parts, "classification")
    assert train.X.dtype == np.float32
    assert train.X[:, 0].mean() == pytest.approx(0.0, abs=1e-6)
    assert train.X[:, 0].std() == pytest.approx(1.0, abs=1e-5)
    sizes = examples.features["size"].to_numpy()
    expected = (sizes[parts.validation] - sizes[parts.train].mean()) / sizes[parts.train].std()
    assert validation.X[:, 0] == pytest.approx(expected, abs=1e-5)
    assert splits.count_outputs(examples, parts, "classification") == 3


def test_missing_values_and_unseen_categories():
    examples = table()
    parts = split(examples.target)
    examples.features.loc[[parts.train[0], parts.validation[0]], "size"] = np.nan
    examples.features.loc[parts.train[1], "colour"] = np.nan
    examples.features.loc[parts.validation[1], "colour"] = "green"
    train, validation = splits.train_validation(examples, parts, "classification")
    assert train.X.shape[1] == 1 + len({"blue", "missing", "red"})
    assert train.X[0, 0] == validation.X[0, 0] == np.median(train.X[1:, 0])
    assert np.isfinite(train.X).all()
    assert validation.X[1, 1:].tolist() == [0.0, 0.0, 0.0]


def test_columns_without_any_value():
    examples = table()
    examples.features["empty"] = np.nan
    train, _ = splits.train_validation(examples, split(examples.target), "classification")
    assert (train.X[:, 1] == 0.0).all()


def test_many_categories_share_columns():
    rows = 300
    names = pd.Series([f"id{i}" for i in range(rows)], dtype=object)
    examples = Examples(pd.DataFrame({"id": names}), np.arange(rows) % 2)
    train, _ = splits.train_validation(examples, split(examples.target), "classification")
    assert train.X.shape[1] == 100


@pytest.mark.parametrize("kind", ["table", "images"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_training_arrays_do_not_depend_on_test_rows(kind, task):
    examples = table()
    features, target = examples.features, examples.target
    if kind == "images":
        features = np.random.default_rng(1).normal(size=(60, 1, 4, 4)).astype(np.float32)
    if task == "regression":
        target = np.random.default_rng(2).normal(size=60)
    parts = split(target, task)
    before = splits.train_validation(Examples(features, target), parts, task)
    test_before = splits.final_test(Examples(features, target), parts, task)

    features, target = features.copy(), target.copy()
    target[parts.test] = "poison" if task == "classification" else 1e9
    if kind == "images":
        features[parts.test] = np.nan
    else:
        features.loc[parts.test, "size"] = 1e9
        features.loc[parts.test, "colour"] = "poison"
    after = splits.train_validation(Examples(features, target), parts, task)
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old.X, new.X)
        assert np.array_equal(old.y, new.y)
    examples = Examples(features, target)
    assert not np.array_equal(splits.final_test(examples, parts, task).X, test_before.X)


def test_regression_target_is_scaled_by_the_training_rows():
    target = np.random.default_rng(0).normal(100.0, 7.0, 60)
    examples = Examples(table().features, target)
    train, _ = splits.train_validation(examples, split(target, "regression"), "regression")
    assert train.y.dtype == np.float32
    assert (train.y.mean(), train.y.std()) == pytest.approx((0.0, 1.0), abs=1e-5)
