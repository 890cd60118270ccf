"""How a space's names are read: the words of each, and the model and the optimiser they tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Model = Literal["boosting", "trees", "svm", "reinforcement", "network", "linear"]
Rule = Literal["sgd", "adam", "adamw"]

_TREE = (
    r"_(max_depth|(max_)?tree_depth|n_estimators|num_trees|n_trees|max_leaf_nodes|num_leaves"
    r"|min_samples_(leaf|split)|min_(child_samples|data_in_leaf)|min_impurity_decrease"
    r"|min_weight_fraction_leaf|ccp_alpha)_"
)
RATE = (
    r"(?<!_min)(?<!_end)(?<!_final)(?<!_warmup)_(lr|lrs|lrate|learning_?rate|eta)\d*_"
    r"(?!decay|gamma|factor|mult|sched|warm|step|power|min|max|policy|drop|patience|ratio|end)"
)
"""What finds a learning rate in a name's words."""

_MODELS: tuple[tuple[Model, tuple[str, ...]], ...] = (
    ("boosting", (_TREE, RATE)),
    (
        "boosting",
        (
            r"_(colsample\w*|min_child_weight|num_leaves|boost_rounds?|num_boost_round|bagging"
            r"_fraction|feature_fraction|l2_regularization|l2_leaf_reg)_",
        ),
    ),
    ("trees", (_TREE,)),
    ("svm", (r"_(c|cost)_", r"_(gamma|kernel)_")),
    (
        "reinforcement",
        (r"_(gae_lambda|clip_range|ent_coef|target_update\w*|buffer_size|replay\w*)_",),
    ),
    (
        "network",
        (
            rf"{RATE}|_(batch_?size|bs|momentum|optimi[sz]er|dropout\w*|weight_decay|wd"
            r"|hidden\w*|(num|n)_layers|epochs)_",
        ),
    ),
    (
        "linear",
        (r"_(c|alpha)_", r"_(penalty|l1_ratio|tol|solver|max_iter|fit_intercept|class_weight)_"),
    ),
)
"""Which names, all of them found in a space, tell which model; the first that fits."""

_RULES: tuple[tuple[str, Rule], ...] = (
    (r"adamw|lion|lamb", "adamw"),
    (r"\w*adam\w*|adamax|rmsprop|adagrad|adadelta", "adam"),
    (r"sgd\w*|momentum|nesterov\w*", "sgd"),
)
"""Which name of an optimiser, in letters and digits, tells which rule."""

_RULES_BY_NAME: tuple[tuple[str, Rule], ...] = (
    (r"_(betas?|beta_?[12]|adam\w*)_", "adam"),
    (r"_learning_rate_init_", "adam"),  # scikit-learn's networks, whose default solver is Adam
    (r"_(momentum|nesterov)_", "sgd"),
)
"""Which name in a space tells which rule, where no parameter chooses it."""


def words_of(name: str) -> str:
    """Return a name as its words in lower case, `_weight_decay_`."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return f"_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}_"


def is_seed_name(name: str) -> bool:
    """Tell whether a parameter of this name is a random seed."""
    return re.search(r"_(seed|random_state)_$", words_of(name)) is not None


def model_of(names: Sequence[str]) -> Model | None:
    """Return the model that has parameters of these names, given as words."""
    return next((m for m, signs in _MODELS if all(_any(sign, names) for sign in signs)), None)


def rule_of_names(names: Sequence[str]) -> Rule | None:
    """Return the optimisation rule that has parameters of these names, given as words."""
    return next((rule for sign, rule in _RULES_BY_NAME if _any(sign, names)), None)


def rule_of_optimiser(choice: object) -> Rule | None:
    """Return the rule of an optimiser, told by its own name."""
    word = re.sub(r"[^a-z0-9]", "", str(choice).lower())
    return next((rule for names, rule in _RULES if re.fullmatch(names, word)), None)


def _any(sign: str, names: Sequence[str]) -> bool:
    return any(re.search(sign, name) for name in names)
