"""Luthier tunes machine-learning models: the public names, loaded on first use."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .agent.assistant import Agent as Agent
    from .agent.hybrid import HybridSampler as HybridSampler
    from .agent.llambo.sampler import LLAMBOSampler as LLAMBOSampler
    from .agent.llm.client import language_model as language_model
    from .agent.tune import Result as Result
    from .agent.tune import confirm as confirm
    from .agent.tune import tune as tune
    from .tools.errors import LuthierError as LuthierError
    from .tools.reporting import TrialPruned as TrialPruned
    from .tools.reporting import load_checkpoint as load_checkpoint
    from .tools.reporting import report as report
    from .tools.reporting import save_checkpoint as save_checkpoint
    from .tools.reporting import seed as seed
    from .tools.space import Categorical as Categorical
    from .tools.space import Float as Float
    from .tools.space import Int as Int
    from .tools.spec import StudySpec as StudySpec
    from .tools.study import Study as Study
    from .tools.study import open_study as open_study

__version__ = "0.1.0"

_HOME_OF = {
    "Agent": ".agent.assistant",
    "Categorical": ".tools.space",
    "Float": ".tools.space",
    "Int": ".tools.space",
    "HybridSampler": ".agent.hybrid",
    "LLAMBOSampler": ".agent.llambo.sampler",
    "LuthierError": ".tools.errors",
    "Result": ".agent.tune",
    "Study": ".tools.study",
    "StudySpec": ".tools.spec",
    "TrialPruned": ".tools.reporting",
    "confirm": ".agent.tune",
    "language_model": ".agent.llm.client",
    "load_checkpoint": ".tools.reporting",
    "open_study": ".tools.study",
    "report": ".tools.reporting",
    "save_checkpoint": ".tools.reporting",
    "seed": ".tools.reporting",
    "tune": ".agent.tune",
}

__all__ = [*_HOME_OF]


def __getattr__(name: str) -> object:
    """Import a public name's module on first use (PEP 562), so that `import luthier` is cheap."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'luthier' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name], __name__), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
