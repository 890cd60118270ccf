"""Models of scikit-learn on its bundled data, cross-validated while the eval runs.

The spaces follow Bayesmark's (Turner et al., arXiv:2104.10201). The best and the median value of
each task were computed once, by

    python -m luthier.evals.live

from many configurations spread evenly, with a search that went on from them; they are stored in
`data/live.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..tools.space import Categorical, Configuration, Float, Int, Parameter, SearchSpace
from .recording import DATA
from .tables import BUDGET
from .task import Direction, EvalError, Evaluation, Task

_FILE = DATA / "live.json"
_SPREAD, _SEARCHED = 256, 150
_FOLDS = 5

Parameters = Mapping[str, Float | Int]

_TREE: Parameters = {
    "max_depth": Int(low=1, high=15, default=15),
    "max_features": Float(low=0.01, high=0.99, default=0.99),
    "min_impurity_decrease": Float(low=0.0, high=0.5, default=0.0),
    "min_samples_leaf": Float(low=0.01, high=0.49, log=True, default=0.01),
    "min_samples_split": Float(low=0.01, high=0.99, log=True, default=0.01),
    "min_weight_fraction_leaf": Float(low=0.0, high=0.49, default=0.0),
}
"""The defaults are scikit-learn's, moved to the nearest value of the space."""

_SPACES: dict[str, Parameters] = {
    "svm": {
        "C": Float(low=0.01, high=1000.0, log=True, default=1.0),
        "gamma": Float(low=1e-5, high=1.0, log=True, default=0.02),
        "tol": Float(low=1e-5, high=0.1, log=True, default=1e-3),
    },
    "tree": _TREE,
    "forest": _TREE,
    "boosting": {
        "learning_rate": Float(low=1e-3, high=1.0, log=True, default=0.1),
        "max_leaf_nodes": Int(low=2, high=64, log=True, default=31),
        "min_samples_leaf": Int(low=1, high=100, log=True, default=20),
        "l2_regularization": Float(low=1e-6, high=100.0, log=True, default=1e-6),
    },
}

_DATA_SETS = ("breast_cancer", "digits", "diabetes")

_CHOICE = "choice"
"""The model is a parameter too, and those of each model are conditional on it."""

_PAIRS = {
    f"{model}-{data}": (model, data)
    for model in (*_SPACES, _CHOICE)
    for data in _DATA_SETS
    if (model, data) != ("boosting", "digits")  # ten trees a round: seconds a trial
}

NAMES = tuple(_PAIRS)


def load_task(name: str) -> Task:
    """Return one of the tasks in `NAMES`.

    Raises:
        EvalError: If its best and median values are missing.
    """
    try:
        known = json.loads(_FILE.read_text(encoding="utf-8"))[name]
        f_star, f_median = float(known["f_star"]), float(known["f_median"])
    except (OSError, ValueError, KeyError) as error:
        raise EvalError(
            f"the best and median values of task {name!r} cannot be read from {str(_FILE)!r} "
            f"({error!r}); install luthier again, or compute them: python -m luthier.evals.live"
        ) from None
    model, data = _PAIRS[name]
    value = _objective(model, data)

    def objective(configuration: Configuration, seed: int) -> Evaluation:
        score = value(configuration)
        return Evaluation(score, score)

    return Task(
        name=name,
        family="live",
        space=_space(model, data),
        objective=objective,
        direction=_direction(data),
        card=_card(model, data),
        budget=BUDGET,
        f_star=f_star,
        f_median=f_median,
        noise=0.0,
        source="scikit-learn's bundled data",
        licence="BSD-3-Clause",
        starts=name,
    )


def _space(model: str, data: str) -> SearchSpace:
    if model != _CHOICE:
        return SearchSpace(parameters=dict(_SPACES[model]))
    models = _models(data)
    branches: dict[str, Parameter] = {
        f"{own}_{name}": parameter.model_copy(update={"when": {"model": [own]}})
        for own in models
        for name, parameter in _SPACES[own].items()
    }
    choice = Categorical(choices=[*models], default="forest")
    return SearchSpace(parameters={"model": choice, **branches})


def _models(data: str) -> list[str]:
    return [model for model in _SPACES if f"{model}-{data}" in _PAIRS]


def _direction(data: str) -> Direction:
    return "minimize" if data == "diabetes" else "maximize"


def _card(model: str, data: str) -> str:
    metric = "mean squared error of the standardised target" if data == "diabetes" else "accuracy"
    if model == _CHOICE:
        name = "choice of a support vector machine, a tree and ensembles of trees"
    else:
        name = type(_estimator(model, data, {})).__name__
    return (
        f"scikit-learn's {name} on its data set {data}; the "
        f"metric is the {metric} in {_FOLDS}-fold cross-validation."
    )


def _objective(model: str, data: str) -> Callable[[Configuration], float]:
    """Return the function from a configuration to its mean score over the folds."""
    from sklearn.model_selection import cross_val_score

    X, y = _load(data)
    minimized = _direction(data) == "minimize"
    scoring = "neg_mean_squared_error" if minimized else "accuracy"

    def value(configuration: Configuration) -> float:
        own = str(configuration.get("model", model))
        settings = {k.removeprefix(f"{own}_"): v for k, v in configuration.items() if k != "model"}
        estimator = _estimator(own, data, settings)
        score = float(cross_val_score(estimator, X, y, cv=_FOLDS, scoring=scoring).mean())
        return -score if minimized else score

    return value


@cache
def _load(data: str) -> tuple[Any, Any]:
    """Return the standardised features and the target in a fixed random order."""
    from sklearn import datasets
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import shuffle

    X, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    if data == "diabetes":
        y = (y - y.mean()) / y.std()
    X, y = shuffle(StandardScaler().fit_transform(X), y, random_state=0)
    return X, y


def _estimator(model: str, data: str, configuration: Configuration) -> Any:
    from sklearn import ensemble, svm, tree

    regression = data == "diabetes"
    match model:
        case "svm":
            return (svm.SVR if regression else svm.SVC)(**configuration)
        case "tree":
            kind = tree.DecisionTreeRegressor if regression else tree.DecisionTreeClassifier
            return kind(random_state=0, **configuration)
        case "forest":
            kind = ensemble.RandomForestRegressor if regression else ensemble.RandomForestClassifier
            return kind(n_estimators=10, random_state=0, **configuration)
        case _:
            kind = (
                ensemble.HistGradientBoostingRegressor
                if regression
                else ensemble.HistGradientBoostingClassifier
            )
            return kind(max_iter=30, early_stopping=False, random_state=0, **configuration)


def reference(name: str, known: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Compute the best and the median value of a task; it takes minutes.

    The best of a choice among models is the best of theirs, which must be in `known`.
    """
    from scipy.stats import qmc

    model, data = _PAIRS[name]
    space, direction, value = _space(model, data), _direction(data), _objective(model, data)
    points = qmc.Sobol(len(space.parameters), scramble=True, rng=0).random(_SPREAD)
    spread = [space.decode(list(point)) for point in points]
    values = [value(configuration) for configuration in spread]
    if model == _CHOICE:
        own = [known[f"{each}-{data}"]["f_star"] for each in _models(data)]
        best = max(own) if direction == "maximize" else min(own)
    else:
        best = _search(space, direction, value, spread, values)
    return {"f_star": best, "f_median": float(np.median(values))}


def _search(
    space: SearchSpace,
    direction: Direction,
    value: Callable[[Configuration], float],
    spread: Sequence[Configuration],
    values: Sequence[float],
) -> float:
    """Return the best value that a search finds which goes on from known ones."""
    import optuna

    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=0))
    distributions = space.to_optuna()
    study.add_trials(
        [
            optuna.trial.create_trial(params=c, distributions=distributions, value=v)
            for c, v in zip(spread, values, strict=True)
        ]
    )
    for _ in range(_SEARCHED):
        trial = study.ask(distributions)
        study.tell(trial, value(space.clip(trial.params)))
    return study.best_value


def main() -> int:
    """Compute what is missing in the file of best and median values."""
    known = json.loads(_FILE.read_text(encoding="utf-8")) if _FILE.exists() else {}
    for name in NAMES:
        if name not in known:
            known[name] = reference(name, known)
            print(name, known[name], flush=True)
            DATA.mkdir(exist_ok=True)
            temporary = _FILE.with_suffix(".tmp")
            temporary.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
            temporary.replace(_FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
