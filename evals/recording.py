"""Trains every configuration of a grid on handwritten digits and records the learning curves.

python -m luthier.evals.recording digits-cnn FOLDER --minutes 20

The configurations that share shapes are trained side by side, as batched matrix products: the
networks do not touch each other, so each is trained as it would be alone. Every finished group is a
file in FOLDER; the same command goes on where an earlier one was stopped, and when all groups are
there it writes the table to `evals/data`. The tables that come along took 6 (digits-mlp) and 10
(digits-cnn) minutes of one core.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_TRAINING, _VALIDATION = 600, 600
_SPLIT_SEED = 0
_ADAM_SECOND = 0.999
_ADAM_EPSILON = 1e-8

DATA = Path(__file__).parent / "data"
"""Where the recorded tables are."""

Value = float | int | str
Parameters = list["torch.Tensor"]


@dataclass(frozen=True)
class Recording:
    """A grid of trainings."""

    name: str
    axes: dict[str, Sequence[Value]]
    """Hyperparameter to its values. `width` and `batch_size` decide shapes, `optimizer` the rule;
    networks that differ in the others only are trained side by side."""
    epochs: int
    seeds: int
    make: Callable[[int, int, torch.Generator], Parameters]
    """(networks, width, generator) -> parameters, each of shape (networks, ...)."""
    forward: Callable[[Parameters, torch.Tensor], torch.Tensor]
    """(parameters, images of shape (rows, 64)) -> logits of shape (networks, rows, 10)."""

    def file(self) -> Path:
        """Return where its table is."""
        return DATA / f"{self.name.replace('-', '_')}.npz"


@dataclass(frozen=True)
class _Group:
    """The trainings of one shape, one rule and one seed."""

    optimizer: str
    width: int
    batch_size: int
    seed: int

    def file(self, folder: Path) -> Path:
        return folder / f"{self.optimizer}_{self.width}_{self.batch_size}_{self.seed}.npy"


@dataclass(frozen=True)
class _Settings:
    """What differs between the networks of a group; each of shape (networks, 1, 1)."""

    rate: torch.Tensor
    momentum: torch.Tensor
    decay: torch.Tensor


@dataclass(frozen=True)
class _Digits:
    training: torch.Tensor
    training_labels: torch.Tensor
    validation: torch.Tensor
    validation_labels: torch.Tensor


def make_mlp(networks: int, width: int, generator: torch.Generator) -> Parameters:
    """Return the weights of networks with two hidden layers."""
    sizes = [64, width, width, 10]
    return _layers(networks, sizes[:-1], sizes[1:], generator)


def mlp(parameters: Parameters, images: torch.Tensor) -> torch.Tensor:
    """Apply networks with two hidden layers."""
    import torch

    hidden = images.expand(parameters[0].shape[0], *images.shape)
    for i in range(0, len(parameters) - 2, 2):
        hidden = torch.relu(torch.baddbmm(parameters[i + 1], hidden, parameters[i]))
    return torch.baddbmm(parameters[-1], hidden, parameters[-2])


def make_cnn(networks: int, width: int, generator: torch.Generator) -> Parameters:
    """Return the weights of networks with two convolutions and a linear layer."""
    return _layers(networks, [9, 9 * width, 4 * width], [width, width, 10], generator)


def cnn(parameters: Parameters, images: torch.Tensor) -> torch.Tensor:
    """Apply two 3x3 convolutions, each followed by pooling to half the size, and a linear layer."""
    import torch

    networks, rows = parameters[0].shape[0], images.shape[0]
    maps = images.reshape(1, rows, 8, 8, 1).expand(networks, rows, 8, 8, 1)
    for i in (0, 2):
        patches = _patches(maps)
        side = patches.shape[2]
        flat = patches.reshape(networks, rows * side * side, -1)
        convolved = torch.baddbmm(parameters[i + 1], flat, parameters[i])
        halves = convolved.reshape(networks, rows, side // 2, 2, side // 2, 2, -1)
        maps = torch.relu(halves.amax((3, 5)))
    return torch.baddbmm(parameters[5], maps.reshape(networks, rows, -1), parameters[4])


def _patches(maps: torch.Tensor) -> torch.Tensor:
    """Return the 3x3 neighbourhoods of maps (networks, rows, height, width, channels)."""
    import torch

    padded = torch.nn.functional.pad(maps, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1)
    return windows.flatten(4)


def _layers(
    networks: int, inputs: Sequence[int], outputs: Sequence[int], generator: torch.Generator
) -> Parameters:
    """Return weights and biases as `torch.nn.Linear` begins, the same for all networks."""
    import torch

    parameters = []
    for fan_in, fan_out in zip(inputs, outputs, strict=True):
        for shape in ((fan_in, fan_out), (1, fan_out)):
            drawn = torch.rand(shape, generator=generator) * 2 - 1
            parameters.append((drawn / math.sqrt(fan_in)).repeat(networks, 1, 1))
    return parameters


_RATES = [round(10 ** (-4 + i / 2), 10) for i in range(9)]

RECORDINGS = {
    recording.name: recording
    for recording in (
        Recording(
            "digits-mlp",
            {
                "learning_rate": _RATES,
                "optimizer": ["sgd", "adamw"],
                "momentum": [0.0, 0.3, 0.6, 0.9],
                "weight_decay": [1e-5, 1e-3, 1e-1],
                "width": [16, 48, 144],
                "batch_size": [16, 64, 256],
            },
            epochs=20,
            seeds=3,
            make=make_mlp,
            forward=mlp,
        ),
        Recording(
            "digits-cnn",
            {
                "learning_rate": _RATES,
                "optimizer": ["sgd", "adamw"],
                "momentum": [0.0, 0.45, 0.9],
                "weight_decay": [1e-5, 1e-3, 1e-1],
                "width": [4, 8, 16],
                "batch_size": [16, 64],
            },
            epochs=10,
            seeds=2,
            make=make_cnn,
            forward=cnn,
        ),
    )
}


def record(recording: Recording, folder: Path, seconds: float) -> bool:
    """Train what is missing; return whether all is there.

    Args:
        recording: What to train.
        folder: Where each finished group is kept.
        seconds: No group is begun after so many.
    """
    import torch

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    for group in _groups(recording):
        if group.file(folder).exists():
            continue
        if time.monotonic() > deadline:
            return False
        begun = time.process_time()
        _replace(group.file(folder), _train(recording, group))
        print(f"{group.file(folder).stem}: {time.process_time() - begun:.1f} CPU-s", flush=True)
    return True


def assemble(recording: Recording, folder: Path) -> NDArray[np.float32]:
    """Return all curves: one axis a hyperparameter, then seeds, then epochs."""
    shape = [len(values) for values in recording.axes.values()]
    curves = np.empty([*shape, recording.seeds, recording.epochs], dtype=np.float32)
    names = list(recording.axes)
    for group in _groups(recording):
        place: list[int | slice] = [slice(None)] * len(names)
        for name in ("optimizer", "width", "batch_size"):
            place[names.index(name)] = recording.axes[name].index(getattr(group, name))
        curves[(*place, group.seed)] = np.load(group.file(folder)).reshape(
            *_free(recording), recording.epochs
        )
    return curves


def _groups(recording: Recording) -> Iterator[_Group]:
    axes = recording.axes
    for seed in range(recording.seeds):
        for shape in product(axes["optimizer"], axes["width"], axes["batch_size"]):
            optimizer, width, batch_size = shape
            yield _Group(str(optimizer), int(width), int(batch_size), seed)


def _free(recording: Recording) -> tuple[int, ...]:
    """Return the lengths of the axes that one group holds."""
    return tuple(len(recording.axes[n]) for n in ("learning_rate", "momentum", "weight_decay"))


def _train(recording: Recording, group: _Group) -> NDArray[np.float32]:
    """Return the validation loss after each epoch, shape (networks, epochs)."""
    import torch

    axes = recording.axes
    grid = list(product(axes["learning_rate"], axes["momentum"], axes["weight_decay"]))
    columns = torch.tensor(grid, dtype=torch.float32).T.reshape(3, -1, 1, 1)
    settings = _Settings(*columns)
    generator = torch.Generator().manual_seed(1000 + group.seed)
    parameters = recording.make(len(grid), group.width, generator)
    for parameter in parameters:
        parameter.requires_grad_()
    rule = _sgd if group.optimizer == "sgd" else _adamw
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    data = _digits()
    curves = []
    steps = 0
    for _ in range(recording.epochs):
        order = torch.randperm(_TRAINING, generator=generator)
        for rows in torch.split(order, group.batch_size):
            steps += 1
            loss = _losses(recording, parameters, data.training[rows], data.training_labels[rows])
            gradients = torch.autograd.grad(loss.sum(), parameters)
            with torch.no_grad():
                for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                    rule(p, g, m, v, settings, steps)
        with torch.no_grad():
            loss = _losses(recording, parameters, data.validation, data.validation_labels)
        curves.append(loss.numpy())
    return np.stack(curves, axis=1)


def _losses(
    recording: Recording, parameters: Parameters, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return the mean cross-entropy of each network."""
    import torch

    logits = recording.forward(parameters, images)
    networks, rows, classes = logits.shape
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, classes), labels.repeat(networks), reduction="none"
    )
    return loss.reshape(networks, rows).mean(1)


def _sgd(
    p: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, at: _Settings, step: int
) -> None:
    """Take a step of `torch.optim.SGD`."""
    m.mul_(at.momentum).add_(g + at.decay * p)
    p.sub_(at.rate * m)


def _adamw(
    p: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, at: _Settings, step: int
) -> None:
    """Take a step of `torch.optim.AdamW`; the momentum is its first beta."""
    p.mul_(1 - at.rate * at.decay)
    m.mul_(at.momentum).add_((1 - at.momentum) * g)
    v.mul_(_ADAM_SECOND).addcmul_(g, g, value=1 - _ADAM_SECOND)
    slope = (v / (1 - _ADAM_SECOND**step)).sqrt_().add_(_ADAM_EPSILON)
    p.sub_(at.rate * m / (1 - at.momentum**step) / slope)


def _digits() -> _Digits:
    """Return the digits of scikit-learn, split once and for all."""
    import torch
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    training, validation = order[:_TRAINING], order[_TRAINING : _TRAINING + _VALIDATION]
    scaled = torch.tensor(images / 16.0 - 0.3, dtype=torch.float32)
    target = torch.tensor(labels)
    return _Digits(scaled[training], target[training], scaled[validation], target[validation])


def _replace(path: Path, array: NDArray[np.float32]) -> None:
    """Write a file at once or not at all."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.save(file, array)
    temporary.replace(path)


def main(arguments: Sequence[str]) -> int:
    """Record a table; the exit code is 1 if the time was not enough."""
    parser = argparse.ArgumentParser(prog="python -m luthier.evals.recording")
    parser.add_argument("name", choices=list(RECORDINGS))
    parser.add_argument("folder", type=Path, help="where finished groups are kept")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no group after so many")
    given = parser.parse_args(arguments)
    recording = RECORDINGS[given.name]
    if not record(recording, given.folder, 60 * given.minutes):
        print(f"{given.minutes:g} minutes were not enough; the same command goes on")
        return 1
    curves = assemble(recording, given.folder)
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(recording.file(), curves=curves)
    print(f"wrote {recording.file()}: {curves.shape}, {recording.file().stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
