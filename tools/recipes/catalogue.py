"""Optimisers and learning-rate schedules by name.

A schedule is a pure function of progress, so a training that is interrupted, copied or continued
with another schedule has no scheduler state to carry along.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Schedule = Callable[[float], float]
Builder = Callable[[Iterable["torch.nn.Parameter"], Mapping[str, Any]], "torch.optim.Optimizer"]

_WARMUP_SHARE = 0.3
_WARMUP_START = 0.04


def constant(progress: float) -> float:
    """Return 1 throughout."""
    return 1.0


def linear(progress: float) -> float:
    """Fall from 1 to 0 on a straight line."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Fall from 1 to 0 along half a cosine (Loshchilov and Hutter, 2017, one cycle)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def step(progress: float) -> float:
    """Divide by 10 after one half and again after three quarters (He et al., 2016)."""
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


def one_cycle(progress: float) -> float:
    """Rise from 1/25 to 1 in the first 30%, then fall to 0, both along a cosine (Smith, 2018)."""
    if progress < _WARMUP_SHARE:
        return _WARMUP_START + (1.0 - _WARMUP_START) * (1.0 - cosine(progress / _WARMUP_SHARE))
    return cosine((progress - _WARMUP_SHARE) / (1.0 - _WARMUP_SHARE))


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "step": step,
    "one_cycle": one_cycle,
}
"""Name to schedule: progress in [0, 1) -> factor in [0, 1] on the learning rate."""


def sgd(
    parameters: Iterable[torch.nn.Parameter], settings: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Build SGD with momentum; weight decay is an L2 penalty."""
    from torch.optim import SGD

    return SGD(
        parameters,
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        fused=True,
    )


def adam(
    parameters: Iterable[torch.nn.Parameter], settings: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Build Adam (Kingma and Ba, 2015); weight decay is an L2 penalty."""
    from torch.optim import Adam

    return Adam(
        parameters,
        lr=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        fused=True,
    )


def adamw(
    parameters: Iterable[torch.nn.Parameter], settings: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Build AdamW, whose weight decay is decoupled (Loshchilov and Hutter, 2019)."""
    from torch.optim import AdamW

    return AdamW(
        parameters,
        lr=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        fused=True,
    )


OPTIMIZERS: dict[str, Builder] = {"sgd": sgd, "adam": adam, "adamw": adamw}
"""Name to builder: (parameters, settings) -> optimiser. Settings hold `learning_rate`,
`weight_decay` and, for sgd, `momentum`."""

STATES: dict[str, int] = {"sgd": 1, "adam": 2, "adamw": 2}
"""Name to how many copies of the weights the optimiser keeps: momentum, or two moments."""
