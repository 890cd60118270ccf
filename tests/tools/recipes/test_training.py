import math
import shutil

import pytest
import torch
from luthier.tools.recipes import training
from luthier.tools.recipes.supervised import Options, evaluate_test, metric, train
from luthier.tools.reporting import TrialPruned
from safetensors.torch import load_file

DIGITS = Options(data="digits", epochs=3)
DIABETES = Options(data="diabetes", task="regression", epochs=6)


def stop_at(monkeypatch, trial, epoch):
    real = training.report

    def report(step=None, **metrics):
        if step == epoch:
            (trial.folder / "stop").touch()
        real(step, **metrics)

    monkeypatch.setattr(training, "report", report)


@pytest.mark.parametrize(
    ("options", "config"),
    [
        (DIGITS.model_copy(update={"model": "cnn", "epochs": 4}), {"optimizer": "adam"}),
        (DIABETES, {"optimizer": "sgd", "learning_rate": 0.03, "schedule": "one_cycle"}),
        (DIABETES, {"optimizer": "adamw", "learning_rate": 0.1}),
    ],
)
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled-gradients"])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    trial, monkeypatch, options, config, scaled
):
    if scaled:  # the CPU then scales gradients as a GPU without bfloat16 does
        monkeypatch.setattr(training, "_precision", lambda where: torch.float16)
    config = {**config, "dropout": 0.2}
    whole = train(config, options, 0, trial.folder / "whole.safetensors")
    expected = trial.steps()
    shutil.rmtree(trial.folder / "checkpoint")
    (trial.folder / "metrics").unlink()

    with monkeypatch.context() as patched:
        stop_at(patched, trial, 2)
        with pytest.raises(TrialPruned):
            train(config, options, 0)
    assert not (trial.folder / "best.safetensors").exists()
    (trial.folder / "stop").unlink()
    assert train(config, options, 0) == whole
    assert trial.steps() == expected
    weights = [load_file(trial.folder / f"{name}.safetensors") for name in ("whole", "best")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_finished_training_is_only_reported_again(trial):
    result = train({}, DIABETES, seed=0)
    (trial.folder / "metrics").unlink()
    assert train({}, DIABETES, seed=0) == result
    assert trial.steps() == [(None, result)]


@pytest.mark.parametrize("options", [DIGITS, DIABETES])
def test_a_loss_that_is_not_finite_is_reported_and_ends_the_training(trial, options):
    result = train({"optimizer": "sgd", "learning_rate": 1e30}, options, seed=0)
    assert all(math.isnan(value) for value in result.values())
    assert [step for step, _ in trial.steps()] == [1]
    assert math.isnan(trial.steps()[0][1][metric(options)[0]])
    assert not (trial.folder / "best.safetensors").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_learns_and_repeats(monkeypatch, tmp_path, precision):
    monkeypatch.setattr(training, "_precision", lambda where: precision)
    options = DIGITS.model_copy(update={"model": "cnn", "epochs": 6})
    result = train({}, options, 0, tmp_path / "w.safetensors")
    assert result["val_acc"] > 0.9
    assert train({}, options, seed=0) == result
    assert evaluate_test({}, options, 0, tmp_path / "w.safetensors")["test_acc"] > 0.9
