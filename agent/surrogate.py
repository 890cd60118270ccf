"""A Gaussian process with several kernels, drawn from what the trials make of them.

Matern-5/2 with a length for each parameter. Kernels are drawn by elliptical slice sampling (Murray
et al., arXiv:1001.0175), for with few trials many are about as likely as the likeliest, which is
too sure. Values can be warped by log(1 + u/c), where c is drawn too: a loss of many magnitudes is
then seen by its logarithm, and one that needs no warp has none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .cube import Points

Array = NDArray[np.float64]

_KERNELS = 8
_KERNELS_TIMES_TRIALS = 480
"""More trials leave less doubt, and cost more."""
_FIRST_DRAWS = 64
_STEPS = 6
_SHRINKS = 12
_LENGTH = 0.5
_LENGTH_OF_CHOICES = 1.0
_NOISE = 0.01
_JITTER = 1e-6
_FARTHEST = 4.0
"""Where losses are cut, in units of the way from the best to the median."""
_LARGE = 1e9


class Surrogate:
    """What the losses of trials tell about the points that were not tried."""

    def __init__(
        self,
        points: Points,
        losses: Array,
        categorical: NDArray[np.bool_],
        rng: np.random.Generator,
        *,
        warp: bool = True,
        pending: Points | None = None,
    ) -> None:
        """Draw the kernels.

        Args:
            points: Where the losses were seen.
            losses: One a point.
            categorical: Tells which axes have choices, which are all equally far apart.
            rng: What draws.
            warp: Whether the scale of the losses means little.
            pending: Points whose losses are to come. What is predicted of them is believed.
        """
        self._categorical = categorical
        self._losses = _cut(losses) if warp else losses
        self._warp = warp
        self._below = np.tril_indices(len(points), -1)
        self._apart = _squared_distances(points, points, categorical)[:, *self._below]
        axes = len(categorical)
        # Lengths grow with the diagonal of the cube, or all points of many axes are far apart.
        lengths = np.where(categorical, _LENGTH_OF_CHOICES, _LENGTH) * np.sqrt(axes)
        self._center = np.log(np.append(lengths, [1.0, _NOISE, 1.0]))
        # What is not warped is a limit: a step, which must not pass for short lengths.
        self._spread = np.append(np.full(axes, 1.0 if warp else 0.5), [0.5, 1.5, 1.5])
        drawn = self._draw(min(max(_KERNELS_TIMES_TRIALS // len(points), 2), _KERNELS), rng)
        self._kernels = self._parts(drawn)
        self._condition(points, self._warped(drawn)[0])
        if pending is not None and len(pending) > 0:
            believed = np.hstack([self._values, self.predict(pending)[0]])
            self._condition(np.vstack([points, pending]), believed)

    def predict(self, points: Points) -> tuple[Array, Array]:
        """Return means and standard deviations, shape (kernels, points), in each one's own unit."""
        weights, scale, _ = self._kernels
        apart = _squared_distances(
            points.astype(np.float32), self._points.astype(np.float32), self._categorical
        )
        axes, rows, columns = apart.shape
        shares = weights.astype(np.float32) @ apart.reshape(axes, rows * columns)
        near = _matern(shares).reshape(-1, rows, columns) * scale.astype(np.float32)[:, None, None]
        means = near @ self._pull[:, :, None]
        near = near @ self._root
        variance = scale[:, None] - np.einsum("kmn,kmn->km", near, near)
        return means[:, :, 0].astype(float), np.sqrt(np.maximum(variance, _JITTER))

    def _condition(self, points: Points, values: Array) -> None:
        """Keep what predictions need, in single precision: they are most of the work."""
        self._points, self._values = points, values
        weights, scale, noise = self._kernels
        apart = _squared_distances(points, points, self._categorical)
        covariance = _matern(weights @ apart.reshape(len(apart), -1)) * scale[:, None]
        covariance = covariance.reshape(-1, len(points), len(points))
        covariance += np.eye(len(points)) * (noise + _JITTER)[:, None, None]
        root = np.linalg.inv(np.linalg.cholesky(covariance))
        pull = root.transpose(0, 2, 1) @ (root @ values[:, :, None])
        self._root = np.ascontiguousarray(root.transpose(0, 2, 1)).astype(np.float32)
        self._pull = pull[:, :, 0].astype(np.float32)

    def _draw(self, number: int, rng: np.random.Generator) -> Array:
        """Draw the deviations of `number` kernels from what is usual, given the losses."""
        first = rng.normal(size=(_FIRST_DRAWS, len(self._center)))
        likely = self._log_likelihood(first)
        shares = np.exp(likely - likely.max())
        chosen = rng.choice(len(first), size=number, p=shares / shares.sum())
        drawn, likely = first[chosen], likely[chosen]
        for _ in range(_STEPS):
            drawn, likely = self._step(drawn, likely, rng)
        return drawn

    def _step(self, drawn: Array, likely: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Move each draw along an ellipse to a point that is likely enough."""
        drawn, likely, begun = drawn.copy(), likely.copy(), drawn
        other = rng.normal(size=drawn.shape)
        enough = likely + np.log(rng.random(len(drawn)))
        angle = rng.random(len(drawn)) * 2 * np.pi
        low, high = angle - 2 * np.pi, angle.copy()
        left = np.arange(len(drawn))
        for _ in range(_SHRINKS):
            turn = angle[left, None]
            moved = begun[left] * np.cos(turn) + other[left] * np.sin(turn)
            found = self._log_likelihood(moved)
            good = found > enough[left]
            drawn[left[good]], likely[left[good]] = moved[good], found[good]
            left = left[~good]
            if len(left) == 0:
                break
            back = angle[left] < 0
            low[left[back]], high[left[~back]] = angle[left[back]], angle[left[~back]]
            angle[left] = low[left] + (high[left] - low[left]) * rng.random(len(left))
        return drawn, likely

    def _log_likelihood(self, drawn: Array) -> Array:
        weights, scale, noise = self._parts(drawn)
        values, log_slope = self._warped(drawn)
        number = values.shape[1]
        # One factorisation does for all: the values are a last row, which comes out solved.
        matrix = np.empty((len(drawn), number + 1, number + 1))
        matrix[:, *self._below] = _matern(weights @ self._apart) * scale[:, None]
        diagonal = np.arange(number)
        matrix[:, diagonal, diagonal] = (scale + noise + _JITTER)[:, None]
        matrix[:, number, :number] = values
        matrix[:, number, number] = _LARGE
        root = np.linalg.cholesky(matrix)
        spread = np.log(np.diagonal(root, axis1=1, axis2=2)[:, :number]).sum(axis=1)
        solved = root[:, number, :number]
        return np.asarray(log_slope - spread - 0.5 * np.einsum("kn,kn->k", solved, solved))

    def _parts(self, drawn: Array) -> tuple[Array, Array, Array]:
        """Return inverse squared lengths, variance and noise of kernels."""
        logs = self._center + self._spread * drawn
        axes = len(self._categorical)
        return np.exp(-2 * logs[:, :axes]), np.exp(logs[:, axes]), np.exp(logs[:, axes + 1])

    def _warped(self, drawn: Array) -> tuple[Array, Array]:
        """Return standardised values by kernel, and the logarithm of the warp's slope."""
        values = np.tile(self._losses, (len(drawn), 1))
        log_slope = np.zeros(len(drawn))
        if self._warp:
            bend = np.exp(self._center[-1] + self._spread[-1] * drawn[:, -1:])
            log_slope -= np.log(bend + values).sum(axis=1)
            values = np.log1p(values / bend)
        spread = values.std(axis=1) + _JITTER
        values = (values - values.mean(axis=1, keepdims=True)) / spread[:, None]
        return values, log_slope - values.shape[1] * np.log(spread)


def _cut(losses: Array) -> Array:
    """Return losses as ways from the best one, in units of the median's, the far ones cut."""
    from_best = losses - losses.min()
    unit = np.median(from_best) or from_best.max() or 1.0
    return np.asarray(np.minimum(from_best / unit, _FARTHEST))


def _squared_distances(
    rows: NDArray[np.floating], columns: NDArray[np.floating], categorical: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Return the squared distance along each axis, shape (axes, rows, columns)."""
    apart = rows.T[:, :, None] - columns.T[:, None, :]
    apart *= apart
    apart[categorical] = apart[categorical] > 0
    return apart


def _matern(squares: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return Matern-5/2 at squared distances, which it overwrites."""
    squares *= 5
    distances = np.sqrt(squares)
    squares /= 3
    squares += distances
    squares += 1
    squares *= np.exp(-distances)
    return squares
