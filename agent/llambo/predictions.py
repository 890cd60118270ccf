"""What a surrogate says of configurations, and what they promise by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...tools.space import Configuration


@dataclass(frozen=True)
class Predictions:
    """A normal distribution a configuration, in the order in which they were given."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]

    def expected_improvement(self, best: float, sign: int) -> NDArray[np.float64]:
        """Return by how much each is expected to be better than the best value.

        Args:
            best: The best value so far.
            sign: 1 if smaller is better, -1 if larger is.
        """
        from scipy.special import ndtr

        better = sign * (best - self.mean)
        z = better / self.sd
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        return np.asarray(better * ndtr(z) + self.sd * density)


class Surrogate(Protocol):
    """Predicts values, as a Gaussian process does."""

    def predict(self, configurations: Sequence[Configuration]) -> Predictions:
        """Return what the configurations' values will probably be."""
