import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from luthier.tools.recipes import data, splits, supervised, training
from luthier.tools.recipes.supervised import Options, evaluate_test, metric, space, train, validate
from pydantic import ValidationError
from safetensors.torch import load_file

DIGITS = Options(data="digits", epochs=3)
DIABETES = Options(data="diabetes", task="regression", epochs=6)


def test_a_study_is_written_without_heavy_imports():
    code = (
        "import sys; from luthier.tools.recipes.supervised import Options, metric, space; "
        "o = Options(data='digits'); space(o).default(); metric(o); "
        "print({'torch', 'sklearn', 'pandas', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_space_has_a_complete_default_and_meanings(model, task):
    options = Options(data="digits", model=model, task=task)
    searched = space(options)
    searched.validate_configuration(searched.default())
    assert all(parameter.meaning for parameter in searched.parameters.values())
    assert ("label_smoothing" in searched.parameters) == (task == "classification")


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"test_fraction": 0.5}, {"model": "rnn"}, {"split_seed": -1}, {"typo": 1}],
)
def test_options_are_checked(changes):
    with pytest.raises(ValidationError):
        Options(data="digits", **changes)


@pytest.mark.parametrize(
    "options",
    [
        Options(data="digits", model="cnn"),
        Options(data="digits", task="regression"),
        Options(data="diabetes", task="regression"),
        Options(data="iris"),
    ],
)
def test_valid_options(options):
    validate(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(data="digit"), "unknown data set 'digit'; did you mean 'digits'?"),
        (Options(data="iris", model="cnn"), "model='cnn' needs images, but 'iris' is a table"),
        (Options(data="diabetes"), "or set task='regression'"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ValueError, match=".") as caught:
        validate(options)
    assert message in str(caught.value)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_seed_decides(model):
    options = DIGITS.model_copy(update={"model": model, "epochs": 2})
    config = {"dropout": 0.3}
    torch.manual_seed(1)
    first = train(config, options, seed=5)
    torch.manual_seed(2)
    assert train(config, options, seed=5) == first
    assert train(config, options, seed=6) != first


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train({}, DIGITS.model_copy(update={"epochs": 1}), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_digits_are_learnt_and_the_best_epoch_is_kept(trial):
    options = DIGITS.model_copy(update={"epochs": 6})
    result = train({}, options, seed=0)
    assert result["val_acc"] > 0.9
    lines = trial.steps()
    assert [step for step, _ in lines] == [1, 2, 3, 4, 5, 6, None]
    best = max((metrics for step, metrics in lines[:-1]), key=lambda m: m["val_acc"])
    assert lines[-1][1] == result == best

    examples = data.load("digits", "", "classification")
    split = supervised.split_of(options, examples.target)
    _, held = splits.train_validation(examples, split, "classification")
    model = supervised_model(options, held.X.shape[1:], 10)
    model.load_state_dict(load_file(trial.folder / "best.safetensors"))
    assert training.evaluate(model, held, "classification") == {
        "acc": result["val_acc"],
        "loss": result["val_loss"],
    }
    test = evaluate_test({}, options, 0, trial.folder / "best.safetensors")
    assert test.keys() == {"test_acc", "test_loss"}
    assert test["test_acc"] > 0.9


def supervised_model(options, shape, outputs):
    from luthier.tools.recipes import models

    return models.build(options.model, shape, outputs, space(options).default())


def test_regression_beats_predicting_the_mean(tmp_path):
    options = DIABETES.model_copy(update={"epochs": 15})
    result = train({}, options, 0, tmp_path / "w.safetensors")
    assert metric(options) == ("val_loss", "minimize")
    assert result["val_loss"] < 0.7
    assert result["val_r2"] > 0.3
    assert evaluate_test({}, options, 0, tmp_path / "w.safetensors")["test_r2"] > 0.2


def test_the_best_epoch_of_a_regression_has_the_lowest_loss(trial):
    result = train({"learning_rate": 0.05}, DIABETES, seed=0)
    assert result["val_loss"] == min(m["val_loss"] for _, m in trial.steps())


def test_nothing_is_written_outside_a_trial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train({}, DIABETES, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_training_is_blind_to_the_test_rows(tmp_path, model):
    digits = data.load("digits", "", "classification")
    options = Options(data=str(tmp_path / "clean.npz"), model=model, epochs=2)
    split = supervised.split_of(options, digits.target)
    X = digits.features[:, 0]
    np.savez(tmp_path / "clean.npz", X=X, y=digits.target.astype(int))
    X[split.test] = 255.0
    np.savez(tmp_path / "corrupt.npz", X=X, y=digits.target.astype(int))
    corrupt = options.model_copy(update={"data": str(tmp_path / "corrupt.npz")})

    clean_result = train({}, options, 0, tmp_path / "clean.safetensors")
    assert train({}, corrupt, 0, tmp_path / "corrupt.safetensors") == clean_result
    weights = [load_file(tmp_path / f"{name}.safetensors") for name in ("clean", "corrupt")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    tests = [
        evaluate_test({}, options, 0, tmp_path / "clean.safetensors"),
        evaluate_test({}, corrupt, 0, tmp_path / "corrupt.safetensors"),
    ]
    assert tests[0] != tests[1]


def test_regression_is_blind_to_the_test_target(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(80, 3)), columns=["a", "b", "y"])
    options = Options(data=str(tmp_path / "t.csv"), target="y", task="regression", epochs=2)
    table.to_csv(options.data, index=False)
    clean = train({}, options, 0)
    table.loc[supervised.split_of(options, table["y"].to_numpy()).test, ["a", "y"]] = 1e6
    table.to_csv(options.data, index=False)
    assert train({}, options, 0) == clean


def test_train_never_asks_for_the_test_rows(monkeypatch):
    def forbidden(*_):
        raise AssertionError("the test rows were asked for")

    monkeypatch.setattr(splits, "final_test", forbidden)
    train({}, DIABETES, seed=0)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_with_missing_values_and_text(tmp_path, suffix):
    rng = np.random.default_rng(0)
    kind = rng.choice(["x", "y"], 200)
    table = pd.DataFrame({"size": rng.normal(size=200), "kind": kind})
    table["label"] = np.where((table["size"] > 0) == (kind == "x"), "yes", "no")
    table.loc[::17, "size"] = np.nan
    table.loc[::19, "kind"] = None
    path = tmp_path / f"t.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    options = Options(data=str(path), target="label", epochs=20)
    validate(options)
    assert train({"learning_rate": 0.01}, options, 0)["val_acc"] > 0.8


def test_weights_of_another_run_are_refused(tmp_path):
    weights = tmp_path / "w.safetensors"
    train({}, DIABETES, 0, weights)
    for config, options, seed in (
        ({}, DIABETES, 1),
        ({"width": 64}, DIABETES, 0),
        ({}, DIABETES.model_copy(update={"split_seed": 1}), 0),
    ):
        with pytest.raises(ValueError, match="was trained as .* but asked for is"):
            evaluate_test(config, options, seed, weights)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learningrate": 0.1}, "unknown parameter 'learningrate'; did you mean 'learning_rate'?"),
        ({"optimizer": "adamv"}, "parameter 'optimizer' must be one of"),
        ({"width": 64.5}, "parameter 'width' must be an integer, but got 64.5"),
        ({"dropout": "0.5"}, "parameter 'dropout' must be a number, but got '0.5'"),
    ],
)
def test_wrong_configurations_are_refused(config, message):
    with pytest.raises(ValueError, match=".") as caught:
        train(config, DIABETES, seed=0)
    assert message in str(caught.value)
