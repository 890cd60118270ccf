"""Our methods against LLAMBO's published runs, on the same tasks from the same first points.

python -m luthier.evals.published FOLDER [METHOD...] [--models MODEL...] [--output FILE]

FOLDER holds the runs that the authors of LLAMBO (arXiv:2402.03921, MIT) stored:
`bayesmark_trajectories.jsonl.gz`, `spaces.json` and the data sets. Tasks are scored by five-fold
cross-validation as theirs were; the command first checks that it gives their own scores again.
AdaBoost is left out: scikit-learn has removed the algorithm that they used. A run has 30 trials:
the five that are theirs, our default configuration, and 24 of the method. A command that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from ..tools.quiet import quiet
from ..tools.space import Configuration, Float, Int, SearchSpace
from ..tools.stats import paired_difference
from .advised import ADVISED
from .methods import METHODS
from .task import EvalError, Evaluation, Task

MODELS = ("RandomForest", "DecisionTree", "SVM", "MLP_SGD")
DATA_SETS = ("breast", "digits", "wine", "iris", "diabetes")
SEEDS, STARTS, TRIALS = 5, 5, 30
MARKS = (10, 30)
_CELL = 50
"""Characters of a cell of the table."""
_FOLDS = 5
_CHECKED = 3
"""Stored trials a task that are computed again."""

_TREE: Configuration = {
    "max_depth": 15,
    "max_features": 0.99,
    "min_impurity_decrease": 0.0,
    "min_samples_leaf": 0.01,
    "min_samples_split": 0.01,
    "min_weight_fraction_leaf": 0.01,
}
_DEFAULTS: dict[str, Configuration] = {
    "RandomForest": _TREE,
    "DecisionTree": _TREE,
    "SVM": {"C": 1.0, "gamma": 1e-3, "tol": 1e-3},
    "MLP_SGD": {
        "hidden_layer_sizes": 100,
        "alpha": 1e-4,
        "batch_size": 200,
        "learning_rate_init": 1e-3,
        "power_t": 0.5,
        "momentum": 0.9,
    },
}
"""scikit-learn's defaults, moved to the nearest value of the space."""

Losses = NDArray[np.float64]
"""Of one run, in the order of its trials; NaN where a fit diverged."""


@dataclass(frozen=True)
class Runs:
    """The stored runs of one task."""

    configurations: dict[int, list[Configuration]]
    """By seed, in the order of the trials."""
    losses: dict[int, Losses]

    def regrets(self, losses: Losses) -> Losses:
        """Return the regret of the best after each trial, by the scale of the stored runs.

        0 is the best of all stored trials of the task, 1 the worst of its random first points.
        """
        stored = np.concatenate(list(self.losses.values()))
        first = np.concatenate([run[:STARTS] for run in self.losses.values()])
        best, worst = float(np.nanmin(stored)), float(np.nanmax(first))
        known = np.where(np.isfinite(losses), losses, np.inf)
        reached = (np.minimum.accumulate(known) - best) / (worst - best)
        return np.asarray(np.clip(reached, -0.5, 1.5))


def read_runs(folder: Path) -> dict[tuple[str, str], Runs]:
    """Return the stored runs by data set and model.

    Raises:
        EvalError: If they are not there.
    """
    rows: dict[tuple[str, str], dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    try:
        with gzip.open(folder / "bayesmark_trajectories.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                rows[row["dataset"], row["model"]][row["seed"]].append(row)
    except (OSError, ValueError, KeyError) as error:
        raise EvalError(
            f"{str(folder)!r} does not hold LLAMBO's stored runs ({error}); give the folder with "
            "`bayesmark_trajectories.jsonl.gz`"
        ) from None
    runs = {}
    for (data, model), seeds in rows.items():
        if model not in MODELS:
            continue
        sign = 1.0 if data == "diabetes" else -1.0
        ordered = {s: sorted(r, key=lambda row: int(row["trial"])) for s, r in seeds.items()}
        runs[data, model] = Runs(
            {s: [_whole(row["config"]) for row in r] for s, r in ordered.items()},
            {s: sign * np.array([row["score"] for row in r], float) for s, r in ordered.items()},
        )
    return runs


def _whole(configuration: Mapping[str, float]) -> Configuration:
    """Return a stored configuration, in which integers stand as floats."""
    whole = ("max_depth", "hidden_layer_sizes", "batch_size")
    return {name: int(v) if name in whole else float(v) for name, v in configuration.items()}


def load_task(folder: Path, data: str, model: str) -> Task:
    """Return one of the tasks, with the first points of a seed as nobody's affair."""
    rows: dict[str, Any] = json.loads((folder / "spaces.json").read_text(encoding="utf-8"))[model]
    default = _DEFAULTS[model]
    parameters: dict[str, Float | Int] = {}
    for name, (kind, scale, (low, high)) in rows.items():
        # A logit has no counterpart; near 0, where these parameters matter, it is a logarithm.
        log = scale == "log" or (scale == "logit" and name.startswith("min_"))
        if kind == "int":
            parameters[name] = Int(low=low, high=high, default=int(default[name] or 0))
        else:
            parameters[name] = Float(low=low, high=high, log=log, default=float(default[name] or 0))
    regression = data == "diabetes"
    x, y = _data(folder, data)
    task = "regression" if regression else f"classification with {len(np.unique(y))} classes"
    return Task(
        name=f"{model}-{data}",
        family=model,
        space=SearchSpace(parameters=dict(parameters)),
        objective=lambda configuration, _: _evaluation(folder, data, model, configuration),
        direction="minimize",
        card=f"{model} of scikit-learn, {task}, {x.shape[0]} rows and {x.shape[1]} features.",
        budget=TRIALS,
        f_star=0.0,
        f_median=1.0,
        noise=0.0,
        source="LLAMBO's stored runs",
        licence="MIT",
        starts=f"{model}-{data}",
    )


@cache
def _data(folder: Path, data: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    with np.load(folder / f"{data}.npz") as file:
        return file["train_x"], file["train_y"]


def _evaluation(folder: Path, data: str, model: str, configuration: Configuration) -> Evaluation:
    value = loss(folder, data, model, configuration)
    return Evaluation(value, value)


def loss(folder: Path, data: str, model: str, configuration: Configuration) -> float:
    """Return minus the accuracy, or the mean squared error; NaN if a fit diverges."""
    import warnings

    from sklearn.model_selection import cross_val_score

    x, y = _data(folder, data)
    regression = data == "diabetes"
    scoring = "neg_mean_squared_error" if regression else "accuracy"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = cross_val_score(
            _estimator(model, regression, configuration), x, y, cv=_FOLDS, scoring=scoring
        )
    return -float(np.mean(scores))


def _estimator(model: str, regression: bool, configuration: Configuration) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.svm import SVC, SVR
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    classes: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "RandomForest": (
            RandomForestClassifier,
            RandomForestRegressor,
            {"n_estimators": 10, "random_state": 0},
        ),
        "DecisionTree": (DecisionTreeClassifier, DecisionTreeRegressor, {"random_state": 0}),
        "SVM": (SVC, SVR, {} if regression else {"random_state": 0}),
        "MLP_SGD": (
            MLPClassifier,
            MLPRegressor,
            {
                "solver": "sgd",
                "max_iter": 40,
                "early_stopping": True,
                "learning_rate": "invscaling",
                "random_state": 0,
            },
        ),
    }
    classifier, regressor, fixed = classes[model]
    return (regressor if regression else classifier)(**configuration, **fixed)


def check(folder: Path, runs: Mapping[tuple[str, str], Runs]) -> float:
    """Return the largest difference of stored scores from what they are here."""
    differences = []
    for (data, model), stored in runs.items():
        pairs = zip(stored.configurations[0], stored.losses[0], strict=True)
        for configuration, known in list(pairs)[:: TRIALS // _CHECKED]:
            here = loss(folder, data, model, configuration)
            if math.isfinite(here) or math.isfinite(known):
                differences.append(abs(here - known))
    return float(np.nanmax(differences))


def run(folder: Path, task: Task, data: str, method: str, seed: int, stored: Runs) -> Losses:
    """Return the losses of a method that begins with the stored first points."""
    chosen = {**METHODS, **ADVISED}[method]
    losses = list(stored.losses[seed][:STARTS])
    with quiet():
        study = optuna.create_study(direction="minimize", sampler=chosen.make(task, seed))
        distributions = task.space.to_optuna()
        pairs = zip(stored.configurations[seed][:STARTS], losses, strict=True)
        for configuration, value in pairs:
            study.add_trial(_frozen(task.space, configuration, float(value)))
        study.enqueue_trial(_DEFAULTS[task.family])
        while len(losses) < TRIALS:
            trial = study.ask(distributions)
            value = loss(folder, data, task.family, task.space.clip(trial.params))
            losses.append(value)
            if math.isfinite(value):
                study.tell(trial, value)
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return np.array(losses)


def _frozen(
    space: SearchSpace, configuration: Configuration, value: float
) -> optuna.trial.FrozenTrial:
    failed = not math.isfinite(value)
    return optuna.trial.create_trial(
        params=space.clip(configuration),
        distributions=space.to_optuna(),
        value=None if failed else value,
        state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
    )


def table(
    runs: Mapping[tuple[str, str], Runs], results: Mapping[tuple[str, str, str, int], Losses]
) -> list[str]:
    """Return the lines of a table: by model and over all, a method's regret less LLAMBO's."""
    methods = sorted({method for _, _, method, _ in results})
    lines = [f"{'models':14}{'method':20}" + "".join(f"{f'at {m}':>{_CELL}}" for m in MARKS)]
    families: list[tuple[str, Sequence[str]]] = [(model, [model]) for model in MODELS]
    for name, models in [*families, ("all", MODELS)]:
        for method in methods:
            cells = []
            for mark in MARKS:
                ours, theirs = [], []
                for (data, model), stored in runs.items():
                    done = [s for s in range(SEEDS) if (data, model, method, s) in results]
                    if model not in models or not done:
                        continue
                    own = [results[data, model, method, seed] for seed in done]
                    ours.append([stored.regrets(losses)[mark - 1] for losses in own])
                    known = [stored.losses[seed] for seed in done]
                    theirs.append([stored.regrets(losses)[mark - 1] for losses in known])
                if ours:
                    d = paired_difference(ours, theirs)
                    here, there = np.mean(np.concatenate(ours)), np.mean(np.concatenate(theirs))
                    interval = f"[{d.low:+.3f}, {d.high:+.3f}] {d.verdict()}"
                    cells.append(f"{here:.3f} against {there:.3f} {interval:>25}")
            if cells:
                lines.append(
                    f"{name:14}{method:20}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
                )
    return lines


def _read(output: Path) -> dict[tuple[str, str, str, int], Losses]:
    if not output.exists():
        return {}
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return {(r["data"], r["model"], r["method"], r["seed"]): np.array(r["losses"]) for r in rows}


def main(arguments: list[str]) -> int:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m luthier.evals.published")
    parser.add_argument("folder", type=Path, help="where LLAMBO's stored runs are")
    parser.add_argument("methods", nargs="*", default=["classical"])
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--output", type=Path, default=Path("published.jsonl"))
    given = parser.parse_args(arguments)
    for method in given.methods:
        if method not in METHODS and method not in ADVISED:
            parser.error(f"unknown method {method!r}; `luthier eval list` names them")
    runs = {k: r for k, r in read_runs(given.folder).items() if k[1] in given.models}
    print(f"stored scores are reproduced to {check(given.folder, runs):.1e}", flush=True)
    results = _read(given.output)
    for (data, model), stored in runs.items():
        task = load_task(given.folder, data, model)
        for method in given.methods:
            for seed in range(SEEDS):
                key = (data, model, method, seed)
                if key in results:
                    continue
                results[key] = run(given.folder, task, data, method, seed, stored)
                row = dict(zip(("data", "model", "method", "seed"), key, strict=True))
                with given.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**row, "losses": list(results[key])}) + "\n")
    print("\n".join(table(runs, results)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
