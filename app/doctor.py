"""Checks what this machine has, and what the language model can do that is set up, if any."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ..tools.errors import LuthierError
from ..tools.workspace import find_workspace

_PACKAGES = ("torch", "optuna", "openai", "langchain", "gradio", "pydantic", "sqlalchemy")
_LITTLE_SPACE = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    text: str


def check() -> list[Finding]:
    """Look at the machine, the workspace and the language model; change nothing."""
    checks: dict[str, Callable[[], str]] = {
        "python": _python,
        "packages": _packages,
        "devices": _devices,
        "workspace": _workspace,
        "disk": _disk,
    }
    findings = []
    for what, look in checks.items():
        try:
            findings.append(Finding(what, True, look()))
        except (LuthierError, OSError) as error:
            findings.append(Finding(what, False, str(error)))
    return findings + _language_model()


def _python() -> str:
    return f"{platform.python_version()} ({sys.executable}) on {platform.platform()}"


def _packages() -> str:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            raise LuthierError(f"{name} is not installed; run `pip install luthier`") from None
    return ", ".join(found)


def _devices() -> str:
    from ..tools.devices import plan_devices
    from ..tools.executor_spec import Executor
    from ..tools.lease_file import look

    plan = plan_devices(Executor())
    broken = [f"{name} ({why.reason})" for name, why in look().out_of_service.items()]
    if broken:
        raise LuthierError(
            f"out of service: {', '.join(broken)}; what is mended is put back with "
            "`luthier devices --reset DEVICE`"
        )
    names = ", ".join(device.name for device in plan.devices)
    gpus = f"CUDA devices {names}" if plan.is_cuda else "no CUDA device"
    cores = len(os.sched_getaffinity(0))
    return f"{gpus}, {cores} CPU cores; {plan.slots} trials at a time by default"


def _workspace() -> str:
    from ..tools.ledger import open_ledger

    workspace = find_workspace()
    if not workspace.ledger_path.exists():
        parent = workspace.folder if workspace.folder.exists() else workspace.folder.parent
        if not os.access(parent, os.W_OK):
            raise LuthierError(f"{parent} cannot be written; set LUTHIER_HOME to another folder")
        return f"{workspace.folder}, empty so far"
    count = len(open_ledger(workspace.ledger_path).studies())
    return f"{workspace.folder}, {count} {'study' if count == 1 else 'studies'}"


def _disk() -> str:
    folder = find_workspace().folder
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    if free < _LITTLE_SPACE:
        raise LuthierError(f"only {free >> 20} MiB are free; logs and weights need room")
    return f"{free >> 30} GiB free"


def _language_model() -> list[Finding]:
    from ..agent.llm.settings import HOW_TO, load_settings

    name = "language model"
    try:
        settings = load_settings(find_workspace())
        if settings is None:
            return [Finding(name, True, f"none, Luthier tunes classically; to use one, {HOW_TO}")]
        from ..agent.llm.probe import probe

        probed = probe(settings)
    except LuthierError as error:
        return [Finding(name, False, f"{error}; until then Luthier tunes classically")]
    which = Finding(name, True, f"{settings.model} at {settings.base_url}")
    # What is missing is no fault: Luthier does without.
    return [which, *(Finding(f"{name}, {one.what}", True, one.text) for one in probed)]
