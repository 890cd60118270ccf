"""Which tasks there are, by name and by suite; a task's data are read when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ..tools.space import did_you_mean
from . import hpo_tables, live, recorded, synthetic, twins
from .methods import Method
from .tables import Table, task_of
from .task import EvalError, Task

Loaders = dict[str, Callable[[], Task]]
"""Name of a task to what opens it."""


def _tables(
    load: Callable[[str], Table], make: Callable[[Table], Task], names: Iterable[str], ending: str
) -> Loaders:
    def opening(name: str) -> Callable[[], Task]:
        return lambda: make(load(name))

    return {name + ending: opening(name) for name in names}


_public = partial(_tables, hpo_tables.load_table, names=hpo_tables.NAMES)

_LOADERS: dict[str, Loaders] = {
    "tables": _public(task_of, ending=""),
    "heavy-tailed": _public(twins.heavy_tailed, ending="-heavy"),
    "plateau": _public(twins.plateau, ending="-plateau"),
    "masked": _public(twins.masked, ending="-masked"),
    "recorded": _tables(recorded.load_table, task_of, recorded.NAMES, ""),
    "live": {name: partial(live.load_task, name) for name in live.NAMES},
    "synthetic": {name: partial(synthetic.load_task, name) for name in synthetic.NAMES},
}

_ALL: Loaders = {name: load for loaders in _LOADERS.values() for name, load in loaders.items()}

SUITES: dict[str, tuple[str, ...]] = {
    "smoke": ("digits-mlp", "bbob-sphere", "conditional"),
    **{suite: tuple(loaders) for suite, loaders in _LOADERS.items()},
    "all": tuple(_ALL),
}
"""Name to the names of its tasks."""


def load_task(name: str) -> Task:
    """Open a task.

    Raises:
        EvalError: If there is none of this name, or its data are not there.
    """
    if name not in _ALL:
        raise EvalError(f"unknown task {name!r}" + did_you_mean(name, _ALL))
    return _ALL[name]()


def tasks_of(suite: str, only: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of a suite's tasks, or those of them that are asked for.

    Raises:
        EvalError: If there is no such suite, or a task is not in it.
    """
    if suite not in SUITES:
        raise EvalError(f"unknown suite {suite!r}" + did_you_mean(suite, SUITES))
    for name in only:
        if name not in SUITES[suite]:
            raise EvalError(
                f"suite {suite!r} has no task {name!r}" + did_you_mean(name, SUITES[suite])
            )
    return tuple(only) or SUITES[suite]


def methods_of(names: Sequence[str]) -> tuple[Method, ...]:
    """Return the methods of these names, all without a language model if none is named.

    Raises:
        EvalError: If there is none of a name.
    """
    known = all_methods()
    for name in names:
        if name not in known:
            raise EvalError(f"unknown method {name!r}" + did_you_mean(name, known))
    if names:
        return tuple(known[name] for name in names)
    return tuple(method for method in known.values() if not method.advised)


def all_methods() -> dict[str, Method]:
    """Return all methods by name, those with a language model too."""
    from .advised import ADVISED
    from .methods import METHODS

    return {**METHODS, **ADVISED}
