"""A workflow as a person's file holds it, and the patches that were applied to it.

The file defines `workflow`, `params` and `suite`. It is the person's own program, so it is run.
A patch never changes it: accepted values stand beside it, in `NAME.params.json`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...tools.errors import LuthierError
from .evaluate import Suite, Workflow
from .params import Param, ParamError, ParamSet


class PipelineError(LuthierError, ValueError):
    """A file that defines no workflow."""


@dataclass(frozen=True)
class Pipeline:
    """What a file defines."""

    path: Path
    workflow: Workflow
    written: ParamSet
    """The parameters as the file has them."""
    params: ParamSet
    """The same with the patches that are applied."""
    suite: Suite
    objective: str


def load_pipeline(path: Path, suite: Path | None = None) -> Pipeline:
    """Run a file, and another one that defines its suite if that stands elsewhere.

    Raises:
        PipelineError: If one cannot be run, or does not define what is needed.
        ParamError: If an applied patch does not fit its parameters any more.
    """
    module = _run(path)
    source = module if suite is None else _run(suite)
    params = getattr(module, "params", None)
    if isinstance(params, list | tuple) and all(isinstance(each, Param) for each in params):
        params = ParamSet(list(params))
    workflow, cases = getattr(module, "workflow", None), getattr(source, "suite", None)
    for name, found, good, place in (
        ("params", params, isinstance(params, ParamSet), path),
        ("workflow", workflow, callable(workflow), path),
        ("suite", cases, isinstance(cases, Suite), suite or path),
    ):
        if not good:
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise PipelineError(
                f"{str(place)!r} defines {what} as `{name}`; define it as `examples/pipeline` does"
            )
    assert isinstance(params, ParamSet)
    assert workflow is not None
    assert isinstance(cases, Suite)
    patched = params
    for entry in applied(path):
        patched = patched.but(entry["values"])
    return Pipeline(path, workflow, params, patched, cases, (module.__doc__ or "").strip())


def _run(path: Path) -> Any:
    if not path.is_file():
        raise PipelineError(f"there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(f"luthier_pipeline_{path.stem}", path.absolute())
    if spec is None or spec.loader is None:
        raise PipelineError(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    folder = str(path.absolute().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except ParamError:
        raise
    except Exception as error:
        raise PipelineError(
            f"{str(path)!r} cannot be run: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(folder)
    return module


def patch_path(path: Path) -> Path:
    """Return where the patches of a pipeline stand."""
    return path.with_suffix(".params.json")


def applied(path: Path) -> list[dict[str, Any]]:
    """Return the patches that are applied to a pipeline, oldest first.

    Raises:
        PipelineError: If their file is damaged.
    """
    file = patch_path(path)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return [{"name": str(e["name"]), "values": dict(e["values"])} for e in data["applied"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PipelineError(
            f"{str(file)!r} holds no patches ({error}); mend it, or remove it to go back to the "
            "file's own values"
        ) from None


def apply(pipeline: Pipeline, name: str, values: Mapping[str, Any]) -> None:
    """Apply a patch.

    Raises:
        PipelineError: If one of that name is applied already.
        ParamError: If a value cannot be.
    """
    entries = applied(pipeline.path)
    if any(entry["name"] == name for entry in entries):
        raise PipelineError(f"the patch {name!r} is applied already; revert it first")
    pipeline.params.but(values)
    _write(pipeline.path, [*entries, {"name": name, "values": dict(values)}])


def revert(path: Path, name: str) -> None:
    """Take a patch back.

    Raises:
        PipelineError: If none of that name is applied.
    """
    entries = applied(path)
    left = [entry for entry in entries if entry["name"] != name]
    if len(left) == len(entries):
        known = ", ".join(entry["name"] for entry in entries) or "none"
        raise PipelineError(f"no patch {name!r} is applied to {str(path)!r}; applied: {known}")
    _write(path, left)


def _write(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    file = patch_path(path)
    if not entries:
        file.unlink(missing_ok=True)
        return
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps({"applied": entries}, indent=1, ensure_ascii=False) + "\n")
    draft.replace(file)
