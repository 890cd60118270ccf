"""The recipe for tables and small images: train an MLP or a CNN, report, keep the best weights.

Everything up to `metric` works without importing torch, so a study can be written and checked fast.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..space import Categorical, Float, Int, SearchSpace, did_you_mean
from .catalogue import OPTIMIZERS, SCHEDULES

if TYPE_CHECKING:
    from .splits import Split

_RUN_KEY = "luthier"


class Options(BaseModel):
    """What is to be learnt from what; fixed for a whole study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    """A bundled data set (breast_cancer, diabetes, digits, iris, wine) or the path of a .csv,
    .parquet or .npz file. A .npz file holds `X` (rows, features), (rows, height, width) or (rows,
    channels, height, width) and `y` (rows,)."""
    target: str = "target"
    """The column to predict; used for .csv and .parquet only."""
    task: Literal["classification", "regression"] = "classification"
    """Classes, or a number."""
    model: Literal["mlp", "cnn"] = "mlp"
    """A multi-layer perceptron, for anything; or a convolutional network, for images."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the training rows."""
    validation_fraction: float = Field(default=0.2, ge=0.05, le=0.3)
    """Share of the rows that trials are compared on."""
    test_fraction: float = Field(default=0.2, ge=0.05, le=0.3)
    """Share of the rows that no trial reads."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the split; the same for all trials of a study."""


def space(options: Options) -> SearchSpace:
    """Return the default search space; its defaults are those of torch and of textbooks."""
    parameters: dict[str, Float | Int | Categorical] = {
        "learning_rate": Float(
            low=1e-5, high=0.3, log=True, default=1e-3, meaning="peak step size of the optimiser"
        ),
        "optimizer": Categorical(
            choices=[*OPTIMIZERS], default="adamw", meaning="rule that turns gradients into steps"
        ),
        "momentum": Float(
            low=0.0,
            high=0.99,
            default=0.9,
            meaning="share of the last step that is carried over",
            when={"optimizer": ["sgd"]},
        ),
        "weight_decay": Float(
            low=1e-6, high=0.1, log=True, default=1e-2, meaning="pull of the weights towards 0"
        ),
        "schedule": Categorical(
            choices=[*SCHEDULES],
            default="constant",
            meaning="course of the learning rate over the training",
        ),
        "batch_size": Int(
            low=16, high=256, log=True, default=32, unit="rows", meaning="rows per step"
        ),
        "dropout": Float(
            low=0.0, high=0.7, default=0.0, meaning="share of activations zeroed while training"
        ),
    }
    if options.task == "classification":
        parameters["label_smoothing"] = Float(
            low=0.0, high=0.2, default=0.0, meaning="probability spread over the wrong classes"
        )
    if options.model == "mlp":
        parameters["width"] = Int(
            low=16, high=512, log=True, default=128, unit="units", meaning="size of a hidden layer"
        )
        parameters["depth"] = Int(
            low=1, high=4, default=2, unit="layers", meaning="number of hidden layers"
        )
    else:
        parameters["width"] = Int(
            low=8, high=64, log=True, default=32, unit="channels", meaning="channels of a block"
        )
        parameters["depth"] = Int(
            low=1, high=3, default=2, unit="blocks", meaning="number of convolution blocks"
        )
    return SearchSpace(parameters=parameters)


def metric(options: Options) -> tuple[str, Literal["maximize", "minimize"]]:
    """Return the name of the metric that decides and its direction.

    `val_acc` is a share in [0, 1]; `val_loss` of a regression is the mean squared error in
    variances of the training target, so 1 is what predicting the mean gives.
    """
    if options.task == "classification":
        return "val_acc", "maximize"
    return "val_loss", "minimize"


def validate(options: Options) -> None:
    """Check that the data fits the options; of a table only the target is read.

    Raises:
        ValueError: With one sentence that names what does not fit.
    """
    from . import data

    target = data.load_target(options.data, options.target, options.task)
    split_of(options, target)
    if options.model == "cnn" and not data.has_images(options.data):
        raise ValueError(
            f"model='cnn' needs images, but {options.data!r} is a table; set model='mlp'"
        )


def train(
    config: Mapping[str, Any], options: Options, seed: int, weights: Path | None = None
) -> dict[str, float]:
    """Train one network and report its metrics; the test rows are not read.

    Args:
        config: Values of parameters of `space`; those that are missing take their defaults.
        options: What is to be learnt from what.
        seed: Seed of initial weights, order of the rows and dropout; at least 0.
        weights: The safetensors file to write. By default `best.safetensors` beside the trial's
            metrics, and no file outside a trial.

    Returns:
        The metrics of the best epoch (by `metric`), or NaN throughout if the training diverged; no
        weights are written then.

    Raises:
        TrialPruned: If the trial is to stop early.
        ValueError: If the configuration names an unknown parameter or choice, or as in `validate`.
    """
    from . import data, models, splits, training

    settings = settings_of(config, options)
    examples = data.load(options.data, options.target, options.task)
    split = split_of(options, examples.target)
    fitted, held = splits.train_validation(examples, split, options.task)
    outputs = splits.count_outputs(examples, split, options.task)
    name, direction = metric(options)
    with training.reproducible(seed):
        best = training.fit(
            models.build(options.model, fitted.X.shape[1:], outputs, settings),
            fitted,
            held,
            options.task,
            settings,
            epochs=options.epochs,
            seed=seed,
            metric=name,
            direction=direction,
        )
    if not best.weights:
        return best.metrics
    from ..reporting import report

    path = weights or _path_in_trial()
    if path is not None:
        _write_weights(path, best.weights, _run(settings, options, seed))
    report(step=None, **best.metrics)
    return best.metrics


def evaluate_test(
    config: Mapping[str, Any], options: Options, seed: int, weights: Path
) -> dict[str, float]:
    """Measure trained weights on the test rows, which nothing else reads.

    Args:
        config: As it was given to `train`.
        options: As they were given to `train`.
        seed: As it was given to `train`.
        weights: The file that `train` wrote.

    Returns:
        `test_loss` and `test_acc`, or `test_loss` and `test_r2`.

    Raises:
        ValueError: If the weights come from another configuration, other options or another seed.
    """
    from safetensors import safe_open

    from . import data, models, splits, training

    settings = settings_of(config, options)
    with safe_open(weights, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
        trained_as = (file.metadata() or {}).get(_RUN_KEY)
    asked = _run(settings, options, seed)
    if trained_as != asked:
        raise ValueError(f"{str(weights)!r} was trained as {trained_as}, but asked for is {asked}")
    examples = data.load(options.data, options.target, options.task)
    split = split_of(options, examples.target)
    rows = splits.final_test(examples, split, options.task)
    outputs = splits.count_outputs(examples, split, options.task)
    model = models.build(options.model, rows.X.shape[1:], outputs, settings)
    model.load_state_dict(state)
    measured = training.evaluate(model.to(training.device()), rows, options.task)
    return {f"test_{name}": value for name, value in measured.items()}


def settings_of(config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Complete a configuration by defaults; numbers may lie beyond the default ranges.

    Raises:
        ValueError: If it names an unknown parameter or choice, or a number is none.
    """
    known = space(options)
    for name in config:
        if name not in known.parameters:
            raise ValueError(f"unknown parameter {name!r}" + did_you_mean(name, known.parameters))
    settings: dict[str, Any] = {}
    for name, parameter in known.walk(settings):
        value = settings[name] = config.get(name, parameter.default)
        if isinstance(parameter, Categorical):
            try:
                parameter.check(value)
            except ValueError as error:
                raise ValueError(f"parameter {name!r} {error}") from None
        elif not isinstance(value, int if isinstance(parameter, Int) else int | float):
            kind = "an integer" if isinstance(parameter, Int) else "a number"
            raise ValueError(f"parameter {name!r} must be {kind}, but got {value!r}")
    return settings


def split_of(options: Options, target: Any) -> Split:
    """Split rows with this target as the options say; errors as in `splits.split_indices`."""
    from . import splits

    return splits.split_indices(
        target,
        options.task,
        validation_fraction=options.validation_fraction,
        test_fraction=options.test_fraction,
        seed=options.split_seed,
    )


def _run(settings: Mapping[str, Any], options: Options, seed: int) -> str:
    run = {"config": settings, "options": options.model_dump(), "seed": seed}
    return json.dumps(run, sort_keys=True)


def _path_in_trial() -> Path | None:
    metrics = os.environ.get("LUTHIER_METRICS")
    return None if metrics is None else Path(metrics).with_name("best.safetensors")


def _write_weights(path: Path, state: dict[str, Any], run: str) -> None:
    from safetensors.torch import save

    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(save(state, metadata={_RUN_KEY: run}))
    temporary.replace(path)
