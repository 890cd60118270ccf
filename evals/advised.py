"""The methods in which a language model takes part: a simulated adviser, or a real endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from ..tools.space import Scalar
from .methods import CLASSICAL_SETTINGS, Method, code_of
from .task import EvalError, Task

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from ..agent.llm.answers import LanguageModel

KNOWING = ("expert", "informed", "adversarial")
"""The simulated advisers that know a task's truth."""
UNKNOWING = ("textbook", "novice", "stubborn", "garbage", "injecting")

Kind = Literal["hybrid", "strict", "llambo", "llambo-paper"]


def _simulated(name: str, task: Task, seed: int) -> LanguageModel:
    from .advisers import minds
    from .advisers.direct import Direct

    mind = getattr(minds, name)
    return Direct(mind(task, seed) if name in KNOWING else mind(seed))


def _real(task: Task, seed: int) -> LanguageModel:
    from ..agent.llm.client import language_model
    from ..agent.llm.settings import HOW_TO

    llm = language_model()
    if llm is None:
        raise EvalError(f"this method needs a language model: {HOW_TO}")
    return llm


def _make(
    kind: Kind, model: Callable[[Task, int], LanguageModel], task: Task, seed: int
) -> BaseSampler:
    from ..agent.hybrid import HybridSampler
    from ..agent.llambo.context import TaskCard
    from ..agent.llambo.sampler import LLAMBOSampler

    llm, card = model(task, seed), TaskCard(description=task.card, trials=task.budget)
    if kind == "hybrid" or kind == "strict":
        mode: Literal["shared", "strict"] = "shared" if kind == "hybrid" else "strict"
        return HybridSampler(task.space, llm=llm, task=card, mode=mode, seed=seed)
    return LLAMBOSampler(
        task.space,
        llm=llm,
        task=card,
        mode="fast" if kind == "llambo" else "paper",
        seed=seed,
    )


def _settings(model: str = "") -> dict[str, Scalar]:
    code = code_of("agent", "agent/llambo", "prompts", "evals/advisers")
    return {**CLASSICAL_SETTINGS, "advised": code, "model": model}


KINDS: dict[Kind, str] = {
    "hybrid": "HybridSampler",
    "strict": "HybridSampler(mode='strict')",
    "llambo": "LLAMBOSampler",
    "llambo-paper": "LLAMBOSampler(mode='paper')",
}


def _methods() -> list[Method]:
    simulated = [
        Method(
            f"{kind}-{name}",
            f"{meaning} with the simulated adviser {name!r} (plumbing)",
            partial(_make, kind, partial(_simulated, name)),
            _settings(),
            default_first=True,
            advised=True,
        )
        for kind, meaning in KINDS.items()
        for name in (*KNOWING, *UNKNOWING)
    ]
    real = [
        Method(
            kind,
            f"{meaning} with the language model that is set up",
            partial(_make, kind, _real),
            _settings(os.environ.get("LUTHIER_LLM_MODEL", "")),
            default_first=True,
            advised=True,
        )
        for kind, meaning in KINDS.items()
    ]
    return simulated + real


ADVISED = {method.name: method for method in _methods()}
"""Name to method."""
