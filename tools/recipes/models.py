"""Networks as functions of their configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

ModelName = Literal["mlp", "cnn"]


def mlp(input_shape: Sequence[int], outputs: int, settings: Mapping[str, Any]) -> nn.Module:
    """Build `depth` hidden layers of `width` units, each followed by ReLU and dropout.

    Args:
        input_shape: Shape of one example; images are flattened.
        outputs: Number of output units, >= 1.
        settings: `width` >= 1, `depth` >= 1, `dropout` in [0, 1).

    Returns:
        A module from (batch, *input_shape) to (batch, outputs).
    """
    features = 1
    for size in input_shape:
        features *= size
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(settings["depth"]):
        layers += [
            nn.Linear(features, settings["width"]),
            nn.ReLU(),
            nn.Dropout(settings["dropout"]),
        ]
        features = settings["width"]
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def cnn(input_shape: Sequence[int], outputs: int, settings: Mapping[str, Any]) -> nn.Module:
    """Build `depth` blocks of 3x3 convolution, batch norm, ReLU and 2x2 pooling.

    Pooling stops once the shorter side is a single pixel. The last maps are averaged, so the number
    of weights does not depend on the image's size.

    Args:
        input_shape: (channels, height, width) of one image.
        outputs: Number of output units, >= 1.
        settings: `width` (channels of each block) >= 1, `depth` >= 1, `dropout` in [0, 1).

    Returns:
        A module from (batch, *input_shape) to (batch, outputs).
    """
    channels, side = input_shape[0], min(input_shape[1:])
    layers: list[nn.Module] = []
    for _ in range(settings["depth"]):
        layers += [
            nn.Conv2d(channels, settings["width"], kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(settings["width"]),
            nn.ReLU(),
        ]
        if side >= 2:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        channels = settings["width"]
    return nn.Sequential(
        *layers, _SpatialMean(), nn.Dropout(settings["dropout"]), nn.Linear(channels, outputs)
    )


def build(
    name: ModelName, input_shape: Sequence[int], outputs: int, settings: Mapping[str, Any]
) -> nn.Module:
    """Build the named network; see `mlp` and `cnn`."""
    return {"mlp": mlp, "cnn": cnn}[name](input_shape, outputs, settings)


class _SpatialMean(nn.Module):
    # nn.AdaptiveAvgPool2d has no deterministic backward pass on CUDA.
    def forward(self, maps: Any) -> Any:
        return maps.mean(dim=(2, 3))
