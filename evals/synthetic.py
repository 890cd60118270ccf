"""Functions with a known optimum: four of the bbob suite, and conditional, constrained, noisy ones.

bbob: Hansen et al., "Real-parameter black-box optimization benchmarking 2009: noiseless functions
definitions", INRIA RR-6829; here in five dimensions, with shifts and rotations of our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..tools.space import Categorical, Configuration, Float, Int, SearchSpace
from .tables import BUDGET
from .task import Evaluation, Task

NAMES = (
    "bbob-sphere",
    "bbob-rosenbrock",
    "bbob-ellipsoid",
    "bbob-rastrigin",
    "noisy-sphere",
    "conditional",
    "constrained",
)

_DIMENSIONS = 5
_HALF_WIDTH = 5.0
_REFERENCE_POINTS = 2048
_NOISE = 0.2

Vector = NDArray[np.float64]
Objective = Callable[[Configuration], float]


def load_task(name: str) -> Task:
    """Return one of the tasks in `NAMES`."""
    match name:
        case "conditional":
            return _task(name, _conditional_space(), _conditional, "A choice among three models.")
        case "constrained":
            return _constrained()
        case "noisy-sphere":
            return _vector_task(name, _bbob("sphere"), noise=_NOISE)
        case _:
            return _vector_task(name, _bbob(name.removeprefix("bbob-")))


def _vector_task(name: str, function: Callable[[Vector], float], noise: float = 0.0) -> Task:
    space = _box()

    def objective(configuration: Configuration) -> float:
        return function(_vector(configuration))

    return _task(name, space, objective, "A function without a meaning.", noise=noise)


def _box() -> SearchSpace:
    side = Float(low=-_HALF_WIDTH, high=_HALF_WIDTH)
    return SearchSpace(parameters={f"x{i + 1}": side for i in range(_DIMENSIONS)})


def _vector(configuration: Configuration) -> Vector:
    return np.array([configuration[f"x{i + 1}"] for i in range(_DIMENSIONS)], dtype=np.float64)


def _task(
    name: str,
    space: SearchSpace,
    function: Objective,
    card: str,
    *,
    noise: float = 0.0,
    f_star: float = 0.0,
    violation: Objective | None = None,
) -> Task:
    """Return a task; its median value is that of many points spread evenly over what is allowed."""
    from scipy.stats import qmc

    points = qmc.Sobol(len(space.parameters), scramble=True, rng=0).random(_REFERENCE_POINTS)
    spread = [space.decode(list(point)) for point in points]
    allowed = [c for c in spread if violation is None or violation(c) <= 0]
    f_median = float(np.median([function(configuration) for configuration in allowed]))
    deviation = noise * (f_median - f_star)

    def objective(configuration: Configuration, seed: int) -> Evaluation:
        noise_free = function(configuration)
        shown = noise_free + deviation * float(np.random.default_rng(seed).normal())
        broken = None if violation is None else violation(configuration)
        return Evaluation(shown, noise_free, broken)

    return Task(
        name=name,
        family="synthetic",
        space=space,
        objective=objective,
        direction="minimize",
        card=card,
        budget=BUDGET,
        f_star=f_star,
        f_median=f_median,
        noise=noise,
        source="luthier",
        licence="Apache-2.0",
        starts=name,
    )


def _bbob(name: str) -> Callable[[Vector], float]:
    """Return a function of bbob whose least value is 0."""
    rng = np.random.default_rng(2009)
    optimum = rng.uniform(-4, 4, _DIMENSIONS)
    first, second = _rotation(rng), _rotation(rng)
    exponents = np.arange(_DIMENSIONS) / (_DIMENSIONS - 1)

    def sphere(x: Vector) -> float:
        return float(((x - optimum) ** 2).sum())

    def rosenbrock(x: Vector) -> float:
        z = max(1.0, math.sqrt(_DIMENSIONS) / 8) * (x - 0.75 * optimum) + 1
        return float((100 * (z[:-1] ** 2 - z[1:]) ** 2 + (z[:-1] - 1) ** 2).sum())

    def ellipsoid(x: Vector) -> float:
        z = _oscillated(first @ (x - optimum))
        return float((10 ** (6 * exponents) * z**2).sum())

    def rastrigin(x: Vector) -> float:
        z = _oscillated(first @ (x - optimum))
        z = np.where(z > 0, np.abs(z) ** (1 + 0.2 * exponents * np.sqrt(np.abs(z))), z)
        z = first @ (10 ** (0.5 * exponents) * (second @ z))
        return float(10 * (_DIMENSIONS - np.cos(2 * np.pi * z).sum()) + (z**2).sum())

    functions = {
        "sphere": sphere,
        "rosenbrock": rosenbrock,
        "ellipsoid": ellipsoid,
        "rastrigin": rastrigin,
    }
    return functions[name]


def _rotation(rng: np.random.Generator) -> Vector:
    return np.asarray(np.linalg.qr(rng.normal(size=(_DIMENSIONS, _DIMENSIONS)))[0])


def _oscillated(x: Vector) -> Vector:
    """Return bbob's T_osz, which breaks the symmetry and the smoothness of a function."""
    size = np.log(np.abs(x), where=x != 0, out=np.zeros_like(x))
    slow = np.where(x > 0, 10.0, 5.5)
    fast = np.where(x > 0, 7.9, 3.1)
    grown = np.exp(size + 0.049 * (np.sin(slow * size) + np.sin(fast * size)))
    return np.asarray(np.sign(x) * grown)


def _conditional_space() -> SearchSpace:
    return SearchSpace(
        parameters={
            "model": Categorical(choices=["a", "b", "c"]),
            "a_rate": Float(low=1e-4, high=1.0, log=True, when={"model": ["a"]}),
            "a_share": Float(low=0.0, high=1.0, when={"model": ["a"]}),
            "b_size": Int(low=1, high=100, log=True, when={"model": ["b"]}),
            "b_depth": Int(low=1, high=8, when={"model": ["b"]}),
            "c_share": Float(low=0.0, high=1.0, when={"model": ["c"]}),
        }
    )


def _conditional(configuration: Configuration) -> float:
    """Return 0 at best with model a, 0.1 with b and 0.4 with c."""
    c: dict[str, float] = {k: float(v) for k, v in configuration.items() if k != "model"}  # type: ignore[arg-type]
    match configuration["model"]:
        case "a":
            decades = math.log10(c["a_rate"]) + 2.3
            return decades**2 / 4 + 2 * (c["a_share"] - 0.7) ** 2
        case "b":
            return 0.1 + math.log10(c["b_size"] / 30) ** 2 / 2 + (c["b_depth"] - 6) ** 2 / 30
        case _:
            return 0.4 + (c["c_share"] - 0.2) ** 2


def _constrained() -> Task:
    """Return the distance to a point outside of a half-space, within which trials must stay.

    The best allowed point is the projection, which lies inside the box.
    """
    normal = np.array([3.0, 2.0, 1.0, 1.0, 1.0]) / 4.0
    center = np.array([2.0, 1.5, -1.0, 0.5, 1.0])
    limit = 0.0
    excess = float(normal @ center) - limit

    def function(configuration: Configuration) -> float:
        return float(((_vector(configuration) - center) ** 2).sum())

    def violation(configuration: Configuration) -> float:
        return float(normal @ _vector(configuration)) - limit

    return _task(
        "constrained",
        _box(),
        function,
        "A function without a meaning, with a limit on a second value.",
        f_star=excess**2 / float(normal @ normal),
        violation=violation,
    )
