"""The three kinds of objective, and what each needs to run a configuration."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .executors.request import Request, without_secrets
from .leases import Lease
from .space import Configuration, Scalar
from .spec import (
    CallableObjective,
    RecipeObjective,
    ScriptObjective,
    SpecError,
    StudySpec,
    describe,
)

_HEAVY_MODULES = ("numpy", "pandas", "sklearn", "torch")


def check_objective(spec: StudySpec, working_directory: Path) -> None:
    """Check, before anything is started, that the objective can be run.

    Raises:
        SpecError: If a script, command or module is missing, a script does not parse, or a
            recipe's options cannot be met.
    """
    match spec.objective:
        case ScriptObjective():
            _check_script(spec.objective, working_directory)
        case CallableObjective(reference=reference):
            module, _, function = reference.partition(":")
            if not module or not function:
                raise SpecError(
                    f"objective.reference must read `module:function`, but got {reference!r}"
                )
            _check_module(module, working_directory)
        case RecipeObjective(options=options):
            from .recipes import supervised

            try:
                with contextlib.chdir(working_directory):
                    supervised.validate(supervised.Options.model_validate(options))
            except ValidationError as error:
                raise SpecError(f"objective.options.{describe(error)}") from None
            except ValueError as error:
                raise SpecError(f"objective.options: {error}") from None


def _check_module(name: str, working_directory: Path) -> None:
    """Look for a module where a trial will, without importing it or its parents."""
    if name in sys.modules:
        return
    first, *rest = name.split(".")
    found = PathFinder.find_spec(first, [str(working_directory)]) or _find(first, None)
    for part in rest:
        if found is not None:
            within = found.submodule_search_locations
            found = _find(f"{found.name}.{part}", within) if within is not None else None
    if found is None:
        raise SpecError(f"objective.reference: there is no module {name!r}")


def _find(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _check_script(objective: ScriptObjective, working_directory: Path) -> None:
    program, *rest = objective.command
    if program != "python" and shutil.which(program, path=_search_path(objective)) is None:
        if not (working_directory / program).is_file():
            raise SpecError(f"objective.command: there is no program {program!r}")
    if objective.pass_by == "constants" and not any(word.endswith(".py") for word in rest):
        raise SpecError(
            "objective.command: `pass_by: constants` needs a Python script (.py), "
            f"but got {objective.command}"
        )
    script = next((word for word in rest if not word.startswith("-")), None)
    if script is None or not script.endswith(".py"):
        return
    path = working_directory / script
    if not path.is_file():
        near = difflib.get_close_matches(
            path.name, [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        )
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"objective.command: there is no script {str(path)!r}{hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the script's own style
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise SpecError(
            f"objective.command: {str(path)!r} does not parse{where}: "
            f"{error.msg if isinstance(error, SyntaxError) else error}"
        ) from None


def _search_path(objective: ScriptObjective) -> str | None:
    return objective.environment.get("PATH", os.environ.get("PATH"))


def pickle_callable(function: Callable[..., Any]) -> bytes:
    """Serialise a function of `__main__` or a notebook by value."""
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(function)
    return pickled


def preloads(spec: StudySpec) -> list[str]:
    """Return the modules that the fork server should hold for this study's trials."""
    match spec.objective:
        case ScriptObjective():
            return []
        case CallableObjective():
            # What this process has imported, the user's function most likely needs.
            loaded = [name for name in _HEAVY_MODULES if name in sys.modules]
            return ["cloudpickle", "luthier.tools.executors.entry", *loaded]
        case RecipeObjective(recipe=recipe):
            modules = ["torch", "sklearn.datasets", "sklearn.model_selection"]
            return ["luthier.tools.executors.entry", f"luthier.tools.recipes.{recipe}", *modules]


def build_request(
    spec: StudySpec,
    *,
    study_folder: Path,
    attempt_folder: Path,
    working_directory: Path,
    configuration: Configuration,
    trial: int,
    attempt: int,
    lease: Lease,
    limit_seconds: float | None,
    seed: int | None = None,
) -> Request:
    """Return what the launcher needs to run one configuration, on the spec's seed or another.

    Environment variables of the trial are this process's own without Luthier's secrets, then the
    lease's, the protocol's (`tools.reporting`) and the spec's.
    """
    seed = spec.seed if seed is None else seed
    inherited = without_secrets(os.environ)
    inherited.pop("RANK", None)  # whoever started Luthier with one did not mean the trials
    checkpoints = spec.executor.checkpoints
    protocol = {
        "LUTHIER_CONFIG": str(attempt_folder / "config.json"),
        "LUTHIER_METRICS": str(attempt_folder / "metrics.jsonl"),
        "LUTHIER_STOP": str(attempt_folder / "stop"),
        "LUTHIER_CHECKPOINT": str(attempt_folder.parent / "checkpoint"),
        "LUTHIER_KEEP_LAST": str(checkpoints.keep_last),
        "LUTHIER_KEEP_BEST": str(checkpoints.keep_best),
        "LUTHIER_DIRECTION": next(iter(spec.objectives.values())),
        "LUTHIER_SEED": str(seed),
        "LUTHIER_WAKE": str(study_folder / "wake"),
        "LUTHIER_STUDY": spec.name,
        "LUTHIER_TRIAL": str(trial),
        "LUTHIER_ATTEMPT": str(attempt),
        "PYTHONUNBUFFERED": "1",
    }
    environment = inherited | lease.environment | protocol
    command: list[str] | None = None
    entry: dict[str, Any] | None = None
    match spec.objective:
        case ScriptObjective() as objective:
            command, own = _script_call(objective, configuration, seed, protocol)
            environment |= objective.environment | own
        case CallableObjective(reference=reference):
            pickled = study_folder / "objective.pkl"
            where = {"pickle": str(pickled)} if pickled.exists() else {"reference": reference}
            entry = {**where, "metric": next(iter(spec.objectives))}
        case RecipeObjective(recipe=recipe, options=options):
            entry = {"recipe": recipe, "options": options}
    memory = spec.executor.memory_gib
    return Request(
        folder=str(attempt_folder),
        working_directory=str(working_directory),
        environment=environment,
        command=command,
        entry=entry,
        import_path=[str(working_directory), *(path for path in sys.path if path)],
        devices=list(lease.devices),
        patterns={n: m.pattern for n, m in spec.metrics.items() if m.pattern is not None},
        metric_names=list(spec.metrics),
        limit_seconds=limit_seconds,
        memory_bytes=None if memory is None else int(memory * 2**30),
        grace_seconds=spec.executor.grace_seconds,
        log_bytes=spec.executor.log_bytes,
    )


def _script_call(
    objective: ScriptObjective, configuration: Configuration, seed: int, protocol: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return a script's argument list and its own environment variables."""
    command = list(objective.command)
    if command[0] == "python":
        command[0] = sys.executable
    names = objective.arguments
    values: dict[str, Scalar] = dict(configuration)
    match objective.pass_by:
        case "arguments":
            for name, value in values.items():
                command += argument(names.get(name, f"--{name}"), value)
            if objective.seed_argument is not None:
                command += argument(objective.seed_argument, seed)
            return command, {}
        case "json":
            if "config" in names:
                command += argument(names["config"], protocol["LUTHIER_CONFIG"])
            if objective.seed_argument is not None:
                command += argument(objective.seed_argument, seed)
            return command, {}
        case "environment":
            variables = {names.get(name, name): _as_text(value) for name, value in values.items()}
            if objective.seed_argument is not None:
                variables[objective.seed_argument] = str(seed)
            return command, variables
        case "constants":
            constants = {names.get(name, name): value for name, value in values.items()}
            if objective.seed_argument is not None:
                constants[objective.seed_argument] = seed
            runner = str(Path(__file__).with_name("constants_runner.py"))
            script = next(i for i, word in enumerate(command) if word.endswith(".py"))
            command.insert(script, runner)
            return command, {"LUTHIER_CONSTANTS": json.dumps(constants)}


def argument(form: str, value: Scalar) -> list[str]:
    """Return the words of one command-line argument.

    The form is `--lr` (two words), `lr=` (one word), or a flag: `--amp/` (present when true),
    `/--no-amp` (present when false), `--amp/--no-amp`. A value that begins with a dash, which a
    parser could take for an option, is joined to `--lr` by `=`.
    """
    if "/" in form:
        on, _, off = form.partition("/")
        word = on if value else off
        return [word] if word else []
    text = _as_text(value)
    if form.endswith("="):
        return [form + text]
    if form.startswith("--") and text.startswith("-"):
        return [f"{form}={text}"]  # argparse takes a word such as -1e-05 for an option
    return [form, text]


def _as_text(value: Scalar) -> str:
    return repr(value) if isinstance(value, float) else str(value)
