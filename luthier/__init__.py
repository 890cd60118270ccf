"""Luthier tunes machine-learning models: the public names, loaded on first use."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tools.reporting import TrialPruned as TrialPruned
    from .tools.reporting import load_checkpoint as load_checkpoint
    from .tools.reporting import report as report
    from .tools.reporting import save_checkpoint as save_checkpoint

__version__ = "0.1.0"

_HOME_OF = {
    "TrialPruned": ".tools.reporting",
    "load_checkpoint": ".tools.reporting",
    "report": ".tools.reporting",
    "save_checkpoint": ".tools.reporting",
}

__all__ = ["TrialPruned", "load_checkpoint", "report", "save_checkpoint"]


def __getattr__(name: str) -> object:
    """Import a public name's module on first use (PEP 562), so that `import luthier` is cheap."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'luthier' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name], __name__), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
