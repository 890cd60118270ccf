"""Which tasks there are, by name and by suite; a task's data are read when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..tools.space import did_you_mean
from . import hpo_tables, live, recorded, synthetic, twins
from .methods import METHODS, Method
from .tables import Table, task_of
from .task import EvalError, Task


def _made_of(load: Callable[[str], Table], make: Callable[[Table], Task], name: str) -> Task:
    return make(load(name))


_public = partial(partial, _made_of, hpo_tables.load_table)
_recorded = partial(partial, _made_of, recorded.load_table)


_LOADERS: dict[str, Callable[[], Task]] = {
    **{name: _public(task_of, name) for name in hpo_tables.NAMES},
    **{f"{name}-heavy": _public(twins.heavy_tailed, name) for name in hpo_tables.NAMES},
    **{f"{name}-plateau": _public(twins.plateau, name) for name in hpo_tables.NAMES},
    **{f"{name}-masked": _public(twins.masked, name) for name in hpo_tables.NAMES},
    **{name: _recorded(task_of, name) for name in recorded.NAMES},
    **{name: partial(live.load_task, name) for name in live.NAMES},
    **{name: partial(synthetic.load_task, name) for name in synthetic.NAMES},
}

SUITES: dict[str, tuple[str, ...]] = {
    "smoke": ("digits-mlp", "bbob-sphere", "conditional"),
    "tables": hpo_tables.NAMES,
    "heavy-tailed": tuple(f"{name}-heavy" for name in hpo_tables.NAMES),
    "plateau": tuple(f"{name}-plateau" for name in hpo_tables.NAMES),
    "masked": tuple(f"{name}-masked" for name in hpo_tables.NAMES),
    "recorded": recorded.NAMES,
    "live": live.NAMES,
    "synthetic": synthetic.NAMES,
    "all": tuple(_LOADERS),
}
"""Name to the names of its tasks."""


def load_task(name: str) -> Task:
    """Open a task.

    Raises:
        EvalError: If there is none of this name, or its data are not there.
    """
    if name not in _LOADERS:
        raise EvalError(f"unknown task {name!r}" + did_you_mean(name, _LOADERS))
    return _LOADERS[name]()


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
    """Return the methods of these names, all of them if none is named.

    Raises:
        EvalError: If there is none of a name.
    """
    for name in names:
        if name not in METHODS:
            raise EvalError(f"unknown method {name!r}" + did_you_mean(name, METHODS))
    return tuple(METHODS[name] for name in names) or tuple(METHODS.values())
