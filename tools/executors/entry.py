"""What a Python trial runs, in a process of its own."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import reporting


def run_entry(entry: dict[str, Any]) -> None:
    """Run a callable or a recipe on this trial's configuration and report what it returns.

    Args:
        entry: `{"reference": "module:function"}`, `{"pickle": path}`, or
            `{"recipe": name, "options": {...}}`; with the first two, `metric` names the metric that
            a bare number stands for. A recipe with `estimate` does not train: that holds the other
            arguments of `recipes.memory.serve`.

    Raises:
        TypeError: If the function returns neither None, a number, nor a mapping of numbers, or a
            metric named `step`.
    """
    if "estimate" in entry:
        _estimate(**entry)
        return
    configuration = reporting.config()
    if "recipe" in entry:
        recipe = import_module(f"luthier.tools.recipes.{entry['recipe']}")
        options = recipe.Options.model_validate(entry["options"])
        result: Any = recipe.train(configuration, options, reporting.seed())
    else:
        function = load_function(entry)
        _seed_what_is_loaded(reporting.seed())
        result = function(configuration)
    if result is None:
        return
    if isinstance(result, Mapping):
        if "step" in result:
            raise TypeError("a returned metric cannot be named 'step'; give it another name")
        reporting.report(None, **result)
    elif hasattr(result, "__float__"):
        reporting.report(None, **{entry["metric"]: float(result)})
    else:
        raise TypeError(
            f"the function must return None, a number or a dict of numbers, but got {result!r}"
        )


def _estimate(recipe: str, options: dict[str, Any], estimate: dict[str, Any]) -> None:
    from ..recipes import memory

    checked = import_module(f"luthier.tools.recipes.{recipe}").Options.model_validate(options)
    questions, answers = Path(estimate["questions"]), Path(estimate["answers"])
    memory.serve(checked, cuda=estimate["cuda"], questions=questions, answers=answers)


def _seed_what_is_loaded(seed: int) -> None:
    """Seed the global generators, which a forked process would share with all others."""
    random.seed(seed)
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed(seed)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)


def load_function(entry: dict[str, Any]) -> Any:
    """Return the function that an entry names or holds."""
    if "pickle" in entry:
        import cloudpickle

        return cloudpickle.loads(Path(entry["pickle"]).read_bytes())
    module, _, name = entry["reference"].partition(":")
    function: Any = import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    return function
