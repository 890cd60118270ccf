"""How much memory a training of the recipe needs at least, told before it is launched.

The network is built on torch's meta device, where a tensor has a shape and no content, so a network
that fits nowhere is measured in milliseconds. What is not tensors is measured: the memory of a
process like the training's, with the data loaded.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..executors.processes import resident_bytes
from . import data, models, splits, supervised
from .catalogue import STATES
from .data import Task
from .training import EVALUATION_BATCH, loss_of

_CUDA_BYTES = 300 << 20
"""What a CUDA context and cuBLAS take before any tensor: assumed, and low, for want of a device."""


@dataclass(frozen=True)
class Base:
    """What does not depend on the configuration."""

    input_shape: tuple[int, ...]
    outputs: int
    training_rows: int
    validation_rows: int
    target: torch.dtype
    """Of the targets of a batch."""
    used_bytes: int
    """What is used before there is a network: of main memory, or of a CUDA device."""


def measure(options: supervised.Options, *, cuda: bool) -> Base:
    """Load the data as a training does, and tell what that takes.

    Args:
        options: The recipe's options.
        cuda: Whether trainings run on a CUDA device, whose memory is then meant.

    Raises:
        ValueError: As `supervised.validate`.
    """
    examples = data.load(options.data, options.target, options.task)
    split = supervised.split_of(options, examples.target)
    fitted, held = splits.train_validation(examples, split, options.task)
    arrays = sum(array.nbytes for part in (fitted, held) for array in part)
    base = Base(
        input_shape=fitted.X.shape[1:],
        outputs=splits.count_outputs(examples, split, options.task),
        training_rows=len(fitted.X),
        validation_rows=len(held.X),
        target=torch.from_numpy(fitted.y[:1]).dtype,
        used_bytes=_CUDA_BYTES + arrays,
    )
    if cuda:
        return base
    _train_tiny(options.model, base)
    return replace(base, used_bytes=resident_bytes([os.getpid()]))


def _train_tiny(model: models.ModelName, base: Base) -> None:
    """Take one step with the smallest network: torch loads much of itself at a first use."""
    tiny = models.build(model, base.input_shape, 1, {"width": 1, "depth": 1, "dropout": 0.0})
    optimizer = torch.optim.AdamW(tiny.parameters(), fused=True)
    tiny(torch.zeros(2, *base.input_shape)).sum().backward()
    optimizer.step()
    torch.save(tiny.state_dict(), io.BytesIO())


def needed_bytes(
    config: Mapping[str, Any], options: supervised.Options, base: Base, *, cuda: bool
) -> int:
    """Return how much memory a training needs at least, with what is used before it.

    Counted is what must be there at the same time: weights, their gradients, what the optimiser
    keeps, and the largest of a training step (what autograd keeps for the way back), an evaluation
    and, in main memory, a checkpoint. Fragmentation and the kernels' workspaces come on top.

    Args:
        config: Values of parameters of `supervised.space`.
        options: The recipe's options.
        base: What `measure` told of them.
        cuda: As it was given to `measure`.

    Raises:
        ValueError: If the configuration names an unknown parameter or choice.
    """
    settings = supervised.settings_of(config, options)
    with torch.device("meta"):
        network = models.build(options.model, base.input_shape, base.outputs, settings)
    weights = _bytes([*network.parameters(), *network.buffers()])
    trainable = _bytes(network.parameters())
    state = STATES[settings["optimizer"]] * trainable
    step = _step(network, base, settings)
    evaluating = step.largest_layer * _part(base.validation_rows, EVALUATION_BATCH) // step.rows
    if cuda:  # activations are of half precision there
        peak = max(step.kept, evaluating) // 2
    else:
        best = weights
        checkpoint = 2 * (weights + state + best)  # as it is written, and its copy
        peak = best + max(step.kept, evaluating, checkpoint)
    return base.used_bytes + weights + trainable + state + peak


class _Step(NamedTuple):
    """What a training step holds beside weights and gradients."""

    rows: int
    kept: int
    """Bytes that autograd keeps for the way back."""
    largest_layer: int
    """Most bytes that the input and the output of one layer take together."""


def _step(network: nn.Module, base: Base, settings: Mapping[str, Any]) -> _Step:
    rows = _part(base.training_rows, settings["batch_size"])
    inputs = torch.empty(rows, *base.input_shape, device="meta")
    targets = torch.empty(rows, dtype=base.target, device="meta")
    task: Task = "regression" if base.target.is_floating_point else "classification"
    kept: list[Tensor] = []
    layers: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    def look(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        layers.append(_bytes([*given, output]))

    for layer in network.children():
        layer.register_forward_hook(look)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_of(network(inputs), targets, task, settings.get("label_smoothing", 0.0))
    own = {_storage(parameter) for parameter in network.parameters()}
    storages = {_storage(tensor): tensor.untyped_storage().nbytes() for tensor in kept}
    return _Step(rows, sum(n for key, n in storages.items() if key not in own), max(layers))


def _part(rows: int, most: int) -> int:
    """Return the size of the largest of nearly equal parts of at most `most` rows."""
    return math.ceil(rows / math.ceil(rows / most))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def serve(options: supervised.Options, *, cuda: bool, questions: Path, answers: Path) -> None:
    """Answer questions about configurations, one JSON a line, until who asks closes the pipe.

    The first line tells `shared`: the bytes that this process had at its start, which trainings
    share if they are forked from the same server. The others tell `needed`, or an `error`.

    Args:
        options: The recipe's options.
        cuda: As in `measure`.
        questions: A FIFO of configurations.
        answers: A FIFO for the answers.

    Raises:
        ValueError: As `measure`.
    """
    shared = 0 if cuda else resident_bytes([os.getpid()])
    with questions.open() as asked, answers.open("w") as told:
        base = measure(options, cuda=cuda)
        print(json.dumps({"shared": shared}), file=told, flush=True)
        for line in asked:
            answer: dict[str, Any]
            try:
                answer = {"needed": needed_bytes(json.loads(line), options, base, cuda=cuda)}
            except (ValueError, RuntimeError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), file=told, flush=True)
