"""What a result was made with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("luthier", "optuna", "numpy", "scipy", "torch", "scikit-learn")


def lineage_of_now() -> dict[str, str]:
    """Return the versions of Python and of the packages, and the commit where there is one."""
    lineage = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            lineage[name] = version(name)
        except PackageNotFoundError:
            lineage[name] = "not installed"
    commit = _commit(Path(__file__).parent)
    return lineage if commit is None else {**lineage, "commit": commit}


def _commit(folder: Path) -> str | None:
    """Return the commit of the repository that this file is a part of, marked if it is changed."""
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # an installed package, perhaps inside of somebody else's repository
    commit = _git(folder, "rev-parse", "--short", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}, changed" if commit and changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
