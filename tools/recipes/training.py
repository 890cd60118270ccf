"""The training loop: mixed precision on CUDA, one report and one checkpoint an epoch.

The randomness of an epoch (order of the examples, dropout) depends on the seed and the epoch's
number alone, so a training resumed from a checkpoint ends like one that was never interrupted.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..reporting import load_checkpoint, report, save_checkpoint
from .catalogue import OPTIMIZERS, SCHEDULES
from .data import Task
from .splits import Arrays

Direction = Literal["maximize", "minimize"]

EVALUATION_BATCH = 1024
_SMALLEST_VARIANCE = 1e-12


class Best(NamedTuple):
    """The best epoch of a training."""

    metrics: dict[str, float]
    """What the epoch reported; NaN throughout if the training diverged."""
    weights: dict[str, Tensor]
    """The network's state after that epoch, on the CPU; empty if the training diverged."""


class _Learner(NamedTuple):
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def device() -> torch.device:
    """Return the first CUDA device that this process sees, or else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch, choose deterministic kernels, and put both back as they were at the end.

    Initial weights and dropout draw from torch's global generators; layers accept no other.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        _seed_epoch(seed, 0)
        yield


def fit(
    model: nn.Module,
    train: Arrays,
    validation: Arrays,
    task: Task,
    settings: Mapping[str, Any],
    *,
    epochs: int,
    seed: int,
    metric: str,
    direction: Direction,
) -> Best:
    """Train a network and keep its best weights; call it inside `reproducible`.

    Reports `train_loss`, `val_loss` and `val_acc` or `val_r2` with step = epoch, from 1 on. It
    continues from this trial's checkpoint if there is one. A loss that is not finite is reported,
    and ends the training.

    Args:
        model: From (batch, ...) to (batch, classes), or (batch, 1) for regression.
        train: The rows to learn from.
        validation: The rows that the metrics are measured on.
        task: Cross entropy for classification, squared error for regression.
        settings: `optimizer`, `learning_rate`, `weight_decay`, `schedule`, `batch_size`, and what
            the optimiser and the task need besides (`momentum`, `label_smoothing`).
        epochs: Passes over the training rows, >= 1.
        seed: At least 0.
        metric: The reported metric that decides which epoch is the best.
        direction: Whether more of it is better.

    Raises:
        TrialPruned: If the trial is to stop; its checkpoint then holds the epochs so far.
    """
    where = device()
    rows = _tensors(train, where)
    learner = _learner(model.to(where), settings, where)
    sign = 1.0 if direction == "maximize" else -1.0
    done, best = _resume(learner) or (0, Best({metric: -sign * math.inf}, {}))
    for epoch in range(done + 1, epochs + 1):
        _seed_epoch(seed, epoch)
        metrics = {"train_loss": _train_epoch(learner, rows, task, settings, epoch, epochs)}
        metrics |= {f"val_{name}": v for name, v in evaluate(model, validation, task).items()}
        if not all(math.isfinite(value) for value in metrics.values()):
            # An accuracy computed from NaN outputs would look like a result.
            metrics = dict.fromkeys(metrics, math.nan)
            report(step=epoch, **metrics)
            return Best(metrics, {})
        if sign * metrics[metric] > sign * best.metrics[metric]:
            best = Best(metrics, {k: v.to("cpu", copy=True) for k, v in model.state_dict().items()})
        _checkpoint(learner, epoch, best, metrics[metric])
        report(step=epoch, **metrics)
    return best


def evaluate(model: nn.Module, arrays: Arrays, task: Task) -> dict[str, float]:
    """Measure a network on some rows.

    Returns:
        For classification `loss` (mean cross entropy, nats) and `acc` (share of right answers);
        for regression `loss` (mean squared error, in variances of the training target) and `r2`
        (share of variance explained, <= 1).
    """
    inputs, targets = _tensors(arrays, device())
    model.eval()
    with torch.inference_mode():
        batches = inputs.tensor_split(math.ceil(len(inputs) / EVALUATION_BATCH))
        outputs = torch.cat([_forward(model, batch) for batch in batches])
        loss = float(loss_of(outputs, targets, task))
        if task == "classification":
            right = outputs.argmax(dim=1) == targets
            return {"loss": loss, "acc": float(right.double().mean())}
        variance = float(targets.double().var(correction=0))
        return {"loss": loss, "r2": 1.0 - loss / max(variance, _SMALLEST_VARIANCE)}


def _learner(model: nn.Module, settings: Mapping[str, Any], where: torch.device) -> _Learner:
    optimizer = OPTIMIZERS[settings["optimizer"]](model.parameters(), settings)
    scaler = torch.amp.GradScaler(where.type, enabled=_precision(where) == torch.float16)
    return _Learner(model, optimizer, scaler)


def _train_epoch(
    learner: _Learner,
    rows: tuple[Tensor, Tensor],
    task: Task,
    settings: Mapping[str, Any],
    epoch: int,
    epochs: int,
) -> float:
    model, optimizer, scaler = learner
    inputs, targets = rows
    model.train()
    # Parts of nearly equal size: a last batch of one row would break batch normalisation.
    steps = math.ceil(len(inputs) / settings["batch_size"])
    batches = torch.randperm(len(inputs)).to(inputs.device).tensor_split(steps)
    schedule = SCHEDULES[settings["schedule"]]
    total = torch.zeros((), device=inputs.device)
    for number, batch in enumerate(batches):
        factor = schedule((epoch - 1 + number / steps) / epochs)
        for group in optimizer.param_groups:
            group["lr"] = settings["learning_rate"] * factor
        optimizer.zero_grad()
        smoothing = settings.get("label_smoothing", 0.0)
        loss = loss_of(_forward(model, inputs[batch]), targets[batch], task, smoothing)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        total += loss.detach() * len(batch)
    return float(total) / len(inputs)


def _checkpoint(learner: _Learner, epoch: int, best: Best, value: float) -> None:
    buffer = io.BytesIO()
    state = {name: part.state_dict() for name, part in learner._asdict().items()}
    torch.save({"learner": state, "epoch": epoch, "best": tuple(best)}, buffer)
    save_checkpoint(buffer.getvalue(), step=epoch, value=value)


def _resume(learner: _Learner) -> tuple[int, Best] | None:
    saved = load_checkpoint()
    if saved is None:
        return None
    state = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    for name, part in learner._asdict().items():
        part.load_state_dict(state["learner"][name])
    return state["epoch"], Best(*state["best"])


def _forward(model: nn.Module, inputs: Tensor) -> Tensor:
    kind = inputs.device.type
    with torch.autocast(kind, dtype=_precision(inputs.device), enabled=kind == "cuda"):
        outputs: Tensor = model(inputs)
    return outputs.float()


def _precision(where: torch.device) -> torch.dtype:
    if where.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def loss_of(outputs: Tensor, targets: Tensor, task: Task, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross entropy of logits (nats), or the mean squared error of one output."""
    if task == "classification":
        return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
    return functional.mse_loss(outputs.squeeze(1), targets)


def _tensors(arrays: Arrays, where: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(arrays.X).to(where), torch.from_numpy(arrays.y).to(where)


def _seed_epoch(seed: int, epoch: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
