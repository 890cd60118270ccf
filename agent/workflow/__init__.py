"""Workflow optimisation in the style of Trace: parameters, traces, proposals, evidence.

Trace and OptoPrime: Cheng, Nie and Swaminathan, NeurIPS 2024 (arXiv:2406.16218).

    from luthier.agent.workflow import Case, Param, Suite, op, optimise, param
"""

from .evaluate import Case, Suite, Workflow
from .feedback import Feedback
from .loop import optimise
from .params import Param, ParamSet
from .search import Settings
from .trace import carry, op, param

__all__ = [
    "Case",
    "Feedback",
    "Param",
    "ParamSet",
    "Settings",
    "Suite",
    "Workflow",
    "carry",
    "op",
    "optimise",
    "param",
]
