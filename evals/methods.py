"""The methods that can be compared: each an Optuna sampler made for a task and a seed.

Modules that cost time to import are imported by the functions that need them: `luthier eval list`
needs names only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ..tools.space import Scalar
from .task import Task

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Method:
    """One way to choose configurations."""

    name: str
    meaning: str
    make: Callable[[Task, int], BaseSampler]
    """(task, seed) -> the sampler of one run."""
    settings: dict[str, Scalar] = field(default_factory=dict)
    """What a result of it depends on; results of other settings are not reused."""
    default_first: bool = False
    """Whether the first trial after the shared ones is the task's default configuration, if any."""
    ours: bool = False
    """Whether a report compares it with all others."""
    advised: bool = False
    """Whether a language model takes part; such a method runs only if it is named."""
    pending: int = 0
    """How many trials run while one is proposed; of the oldest the value is known next."""


def _random(task: Task, seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _sobol(task: Task, seed: int) -> BaseSampler:
    from ..agent.classical import ClassicalSampler

    return ClassicalSampler(task.space, seed=seed, kind="sobol")


def _tpe(task: Task, seed: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed)


def _gp(task: Task, seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=5, warn_independent_sampling=False)


def _classical(task: Task, seed: int) -> BaseSampler:
    from ..agent.classical import ClassicalSampler

    return ClassicalSampler(task.space, seed=seed)


def _classical_no_prior(task: Task, seed: int) -> BaseSampler:
    from ..agent.classical import ClassicalSampler

    return ClassicalSampler(task.space, seed=seed, prior="none")


def code_of(*paths: str) -> str:
    """Return a hash of files, or of all files in folders, of the package.

    Where they change, results are not reused.
    """
    package = Path(__file__).parent.parent
    found = [package / path for path in paths]
    files = [file for path in found for file in ([path] if path.is_file() else _in(path))]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in (".py", ".md"))


_PENDING = 4
_TEXTBOOK = ("textbook", "textbook_facts", "sensible")
_NO_PRIOR: dict[str, Scalar] = {
    "start_up": 5,
    "default_first": True,
    "code": code_of(
        *(f"agent/{name}.py" for name in ("classical", "improvement", "surrogate", "cube"))
    ),
}
CLASSICAL_SETTINGS: dict[str, Scalar] = {
    **_NO_PRIOR,
    "prior": code_of("agent/textbook_start.py", *(f"tools/{name}.py" for name in _TEXTBOOK)),
}

METHODS = {
    method.name: method
    for method in (
        Method("random", "uniformly at random", _random),
        Method("sobol", "scrambled Sobol points", _sobol),
        Method("tpe", "Optuna's TPESampler()", _tpe),
        Method("gp", "Optuna's GPSampler(n_startup_trials=5)", _gp, {"n_startup_trials": 5}),
        Method(
            "classical",
            "Luthier's ClassicalSampler",
            _classical,
            CLASSICAL_SETTINGS,
            default_first=True,
            ours=True,
        ),
        Method(
            "classical-no-prior",
            "the same without the textbook's configurations",
            _classical_no_prior,
            _NO_PRIOR,
            default_first=True,
        ),
        Method(
            f"classical-{_PENDING}-pending",
            f"the same as classical while {_PENDING} other trials run",
            _classical,
            {**CLASSICAL_SETTINGS, "pending": _PENDING},
            default_first=True,
            pending=_PENDING,
        ),
    )
}
"""Name to method."""
