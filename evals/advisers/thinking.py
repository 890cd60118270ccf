"""From what an adviser believes to the answer that a prompt asks for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...tools.space import Categorical, Configuration, Scalar
from ...tools.textbook_names import words_of
from .mind import Mind, Reply, Request
from .reading import Query, read

_TOP = 0.25
_Z90 = 1.2816
_ROLES = ("safe", "large", "regularised", "fast", "contrarian")
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?", re.I)


class Belief(NamedTuple):
    """Which share of the space is better than a configuration: quantiles of what is believed."""

    low: float
    middle: float
    high: float


class Adviser(Protocol):
    """What makes one simulated model different from another."""

    def propose(self, query: Query, count: int, rng: np.random.Generator) -> list[Configuration]:
        """Return configurations to try."""

    def judge(self, query: Query, rng: np.random.Generator) -> list[Belief]:
        """Return what is believed of each candidate."""

    def scale(self, query: Query) -> Sequence[float]:
        """Return values of the space, the best one first: what shares are turned into."""


def mind_of(adviser: Adviser, seed: int) -> Mind:
    """Return the mind that answers as an adviser believes."""

    def think(request: Request) -> Reply:
        query = read(request)
        texts, probabilities = [], None
        for index in range(request.count):
            rng = generator(request, seed, index)
            texts.append("{}" if query is None else _answer(adviser, query, rng))
        if query is not None and query.kind == "promising" and request.weighs:
            one = _promise(adviser.judge(query, generator(request, seed, 0))[0])
            probabilities = {"1": one, "0": 1 - one}
        return Reply(tuple(texts), probabilities)

    return think


def generator(request: Request, seed: int, index: int) -> np.random.Generator:
    """Return the random numbers of one answer: those of another request are others."""
    text = "\n".join(message.content for message in request.messages)
    digest = hashlib.sha256(f"{seed}/{index}/{text}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _answer(adviser: Adviser, query: Query, rng: np.random.Generator) -> str:
    match query.kind:
        case "portfolio":
            entries = [
                {"role": _ROLES[i % len(_ROLES)], "values": _complete(query, configuration)}
                for i, configuration in enumerate(adviser.propose(query, query.count, rng))
            ]
            return _json({"configurations": entries})
        case "configurations":
            proposed = adviser.propose(query, query.count, rng)
            shown = [_complete(query, configuration) for configuration in proposed]
            return _json({"why": "near what did well so far", "configurations": shown})
        case "configuration":
            return _json(_complete(query, adviser.propose(query, 1, rng)[0]))
        case "scores":
            rows = [
                [i, *(_round(v) for v in _values(adviser, query, belief))]
                for i, belief in enumerate(adviser.judge(query, rng), 1)
            ]
            return _json({"scores": rows})
        case "score":
            low, middle, high = _values(adviser, query, adviser.judge(query, rng)[0])
            return f"{middle + (high - low) / (2 * _Z90) * rng.normal():.4g}"
        case "promising":
            return str(int(rng.random() < _promise(adviser.judge(query, rng)[0])))
        case "wishes":
            return _json(read_words(query))
        case "review":
            return _json(_review(adviser, query, rng))


def _review(adviser: Adviser, query: Query, rng: np.random.Generator) -> dict[str, Any]:
    """Say where good values are believed to lie, and that the best ones are worth repeating."""
    sign = -1 if query.direction == "maximize" else 1
    order = sorted(range(len(query.trials)), key=lambda i: sign * query.trials[i][1])
    best = query.trials[order[0]][1]
    scale = sign * np.asarray(adviser.scale(query), float)
    reached = sign * float(np.quantile(scale, 0.005))
    low, high = sorted((best, min(best, reached, key=lambda v: sign * v)))
    proposed = adviser.propose(query, 8, rng)
    ranges = []
    for name, parameter in query.space.parameters.items():
        if isinstance(parameter, Categorical):
            continue
        values: list[Any] = [c[name] for c in proposed if name in c]
        units = [parameter.to_unit(value) for value in values]
        if not units or max(units) - min(units) > 0.5:
            continue
        ends = [_round(parameter.from_unit(unit)) for unit in (min(units), max(units))]
        if ends[0] != ends[1]:
            ranges.append({"parameter": name, "low": ends[0], "high": ends[1], "why": "it is so"})
    return {
        "hypothesis": "near what did well so far",
        "risk": "the good values may lie elsewhere",
        "low": float(f"{low:.8g}"),
        "high": float(f"{high:.8g}"),
        "ranges": ranges[:3],
        "stop": list(query.behind),
        "repeat": [query.numbers[i] for i in order[:2]],
        "text": f"Trial {query.numbers[order[0]]} is the best so far.",
    }


def _values(adviser: Adviser, query: Query, belief: Belief) -> tuple[float, float, float]:
    """Return the values at the believed shares, smallest first."""
    low, middle, high = np.quantile(adviser.scale(query), belief, method="linear")
    if query.direction == "maximize":  # the scale has the best, the largest one, first
        low, middle, high = -np.quantile(-np.asarray(adviser.scale(query)), belief)
    small, middle, large = sorted(float(v) for v in (low, middle, high))
    return small, middle, large


def _promise(belief: Belief) -> float:
    """Return how probably a configuration is among the best quarter."""
    deviation = max((belief.high - belief.low) / (2 * _Z90), 0.01)
    return float(NormalDist(belief.middle, deviation).cdf(_TOP))


def _complete(query: Query, configuration: Configuration) -> dict[str, Any]:
    return {name: _round(configuration.get(name)) for name in query.space.parameters}


def _round(value: Scalar) -> Scalar:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _json(answer: object) -> str:
    return json.dumps(answer, separators=(",", ":"))


def read_words(query: Query) -> dict[str, Any]:
    """Put simple sentences of a person into the form for wishes."""
    start: list[dict[str, Any]] = []
    limits: list[dict[str, Any]] = []
    unclear: list[str] = []
    for clause in re.split(r",|;|\band\b|\.(?!\d)", query.words):
        name = next((n for n in query.space.parameters if _speaks_of(clause, n)), None)
        if name is None:
            unclear += [clause.strip()] if clause.strip() else []
            continue
        parameter = query.space.parameters[name]
        found = _NUMBER.search(clause.replace(name, ""))
        if isinstance(parameter, Categorical):
            named = [c for c in parameter.choices if str(c).lower() in clause.lower()]
            limits.append({"parameter": name, "low": None, "high": None, "choices": named})
        elif found is None:
            unclear.append(clause.strip())
        elif re.search(r"never above|at most|below|no more than|under", clause) and (
            "never below" not in clause
        ):
            high = float(found[0])
            limits.append({"parameter": name, "low": None, "high": high, "choices": None})
        elif re.search(r"never below|at least|above|more than", clause):
            low = float(found[0])
            limits.append({"parameter": name, "low": low, "high": None, "choices": None})
        else:
            start.append({"parameter": name, "value": float(found[0])})
    return {"start": start, "limits": limits, "unclear": unclear}


def _speaks_of(clause: str, name: str) -> bool:
    words = re.findall(r"[a-z0-9]+", clause.lower())
    own = words_of(name).strip("_").split("_")
    return "".join(own) in "".join(words) or own[0] in words
