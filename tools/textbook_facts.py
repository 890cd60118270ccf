"""What practitioners know about named hyperparameters: sensible values, each with its source.

Everything here is data. Of the facts that fit a parameter's name, its model and its range, the
first decides. Where a source gives a single value, the spread around it is a judgement.
"""

from __future__ import annotations

from dataclasses import dataclass

from .sensible import Bell, Sensible, Weights
from .textbook_names import RATE, Model, Rule


@dataclass(frozen=True)
class Fact:
    """Sensible values of a hyperparameter."""

    role: str
    """What the parameter is."""
    names: str
    """Regular expression that is searched in the name's words, as in `_weight_decay_`."""
    values: Sensible
    source: str
    models: tuple[Model, ...] = ()
    """The models of which it is true; of all, if there are none."""
    rules: tuple[Rule, ...] = ()
    """The optimisers under which it is true; under all, if there are none."""


@dataclass(frozen=True)
class Interaction:
    """The typical value of one role grows as a power of another's value."""

    of: str
    by: str
    at: float
    """The value of `by` at which the fact on `of` stands as it is."""
    power: float
    rules: tuple[Rule, ...]
    """The optimisers under which it is true; under all, if there are none."""
    source: str
    from_one: bool = False
    """Whether it is the distance of `by` from 1 that counts."""


_ADAM = "Kingma and Ba, arXiv:1412.6980"
_ADAMW = "Loshchilov and Hutter, arXiv:1711.05101; default of torch.optim.AdamW"
_BENGIO = "Bengio, Practical recommendations, arXiv:1206.5533"
_RESNET = "He et al., arXiv:1512.03385"
_TRANSFORMER = "Vaswani et al., arXiv:1706.03762"
_TUNABILITY = "Probst et al., JMLR 20(53), 2019"
_LEARNING = "Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009"
_SKLEARN = "default of scikit-learn"
_BOOSTERS = "defaults of XGBoost, LightGBM and scikit-learn"
_PPO = "Schulman et al., arXiv:1707.06347"

_SHARE = (0.0, 1.0)

FACTS = (
    # How fast it learns.
    Fact(
        "learning rate",
        RATE,
        Bell(0.1, 2.5),
        f"{_BOOSTERS}; Friedman, Annals of Statistics 29, 2001",
        models=("boosting",),
    ),
    Fact("learning rate", RATE, Bell(3e-4, 3.0), _PPO, models=("reinforcement",)),
    Fact(
        "learning rate",
        RATE,
        Bell(0.03, 4.0),
        f"between {_BENGIO} (0.01) and {_RESNET} (0.1)",
        rules=("sgd",),
    ),
    Fact("learning rate", RATE, Bell(1e-3, 3.0), _ADAM, rules=("adam", "adamw")),
    Fact("learning rate", RATE, Bell(2e-3, 5.0), f"{_ADAM}; {_BENGIO}"),
    Fact(
        "momentum",
        r"(?<!bn)(?<!norm)_momentum_",
        Bell(0.9, 2.0, "near_one", _SHARE),
        f"Sutskever et al., ICML 2013; {_RESNET}",
    ),
    Fact("first beta", r"_(beta_?1|b1)_", Bell(0.9, 2.0, "near_one", _SHARE), _ADAM),
    Fact(
        "second beta",
        r"_(beta_?2|b2)_",
        Bell(0.999, 5.0, "near_one", _SHARE),
        f"{_ADAM}; 0.98 in {_TRANSFORMER}",
    ),
    Fact("epsilon of the tube", r"_(eps|epsilon)_", Bell(0.1, 3.0), _SKLEARN, models=("svm",)),
    Fact("epsilon", r"_(eps|epsilon)_", Bell(1e-8, 30.0), _ADAM, models=("network",)),
    Fact(
        "batch size",
        r"_((mini_?)?batch_?size|bs)_",
        Bell(32, 2.5),
        f"{_BENGIO}; Masters and Luschi, arXiv:1804.07612",
        models=("network",),
    ),
    Fact(
        "optimiser",
        r"_(optimi[sz]er|optim|opt|solver)_",
        Weights(
            {
                r"adamw?|nadamw?": 3.0,
                r"sgd\w*|momentum|nesterov\w*": 2.0,
                r"lbfgs|rmsprop|lion|radam|lamb": 1.0,
                r"adagrad|adadelta|adamax|asgd|rprop": 0.3,
            }
        ),
        "Schmidt et al., Descending through a Crowded Valley, arXiv:2007.01547",
    ),
    Fact(
        "schedule",
        r"_(lr_?)?(schedule|scheduler|scheduling)(_type)?_|_lr_(decay|policy)_",
        Weights(
            {
                r"\w*(cosine|cos|onecycle)\w*": 3.0,
                r"\w*(linear|poly|step|exp)\w*": 2.0,
                r"none|const\w*|fixed|false": 1.0,
            }
        ),
        "Loshchilov and Hutter, arXiv:1608.03983",
    ),
    Fact(
        "warm-up share",
        r"_warm_?up\w*(_(ratio|frac|fraction|prop|proportion|pct))?_",
        Bell(0.06, 2.0, limits=_SHARE, zero=True),
        "Goyal et al., arXiv:1706.02677 (5 of 90 epochs)",
    ),
    Fact(
        "warm-up steps",
        r"_warm_?up_(steps|iters?|iterations)_",
        Bell(500, 4.0, zero=True),
        f"{_TRANSFORMER} (4000, of 100000); shorter runs, shorter warm-ups",
    ),
    Fact(
        "gradient clipping",
        r"_(clip_?norm|(max_)?grad(ient)?_(clip\w*|norm)|max_norm)_",
        Bell(1.0, 3.0),
        "Pascanu et al., arXiv:1211.5063",
    ),
    # Regularisation.
    Fact(
        "weight decay", r"_(weight_decay|wd)_", Bell(0.01, 5.0, zero=True), _ADAMW, (), ("adamw",)
    ),
    Fact(
        "weight decay",
        r"_(weight_decay|wd|l2(_?reg\w*)?)_",
        Bell(1e-4, 5.0, zero=True),
        f"{_RESNET}; {_SKLEARN}",
        models=("network",),
    ),
    Fact(
        "weight decay",
        r"(?<!lora)(?<!mix)(?<!up)_alpha_",
        Bell(1e-4, 10.0),
        _SKLEARN,
        models=("network",),
    ),
    Fact(
        "dropout",
        r"_(drop\w*|p_?drop)_",
        Bell(0.2, 0.2, "linear", _SHARE),
        f"Srivastava et al., JMLR 15, 2014 (0.5 of hidden units, 0.2 of inputs); {_TRANSFORMER}",
        models=("network",),
    ),
    Fact(
        "label smoothing",
        r"_(label_)?smoothing_",
        Bell(0.1, 0.07, "linear", _SHARE),
        "Szegedy et al., arXiv:1512.00567",
    ),
    Fact(
        "mixup",
        r"_(mix_?up)(_alpha)?_",
        Bell(0.2, 2.5, zero=True),
        "Zhang et al., arXiv:1710.09412",
    ),
    # Shape of a network.
    Fact(
        "depth",
        r"_((n|num)_)?(hidden_)?(layers?|depth)_",
        Bell(2.5, 1.7),
        f"{_BENGIO}; one hidden layer is the default of scikit-learn",
        models=("network",),
    ),
    Fact(
        "kernel size",
        r"_(kernel_?size|ksize|filter_size)_",
        Bell(3, 1.5),
        "Simonyan and Zisserman, arXiv:1409.1556",
    ),
    Fact(
        "channels",
        r"_((n|num|out|conv)_)?(channels?|filters)_?\d*_",
        Bell(48, 2.0),
        "Simonyan and Zisserman, arXiv:1409.1556 (64 in the first layer)",
        models=("network",),
    ),
    Fact("heads", r"_((n|num)_)?heads?_", Bell(8, 2.0), _TRANSFORMER, models=("network",)),
    Fact(
        "width",
        r"_(hidden\w*|width|((n|num)_)?(units|neurons|nodes)|fc\d*|mlp_dim|d_model|embed\w*dim)_?\d*_",
        Bell(200, 2.2),
        f"{_SKLEARN} (100); {_BENGIO}: too large hurts less than too small",
        models=("network",),
    ),
    Fact(
        "activation",
        r"_(activation\w*|act|act_fn|nonlinearity)_",
        Weights(
            {
                r"(relu|gelu|silu|swish|mish)": 3.0,
                r"\w*relu6?|s?elu|prelu": 2.0,
                r"tanh": 1.0,
                r"sigmoid|logistic|identity|linear": 0.2,
            }
        ),
        "Glorot et al., AISTATS 2011; Hendrycks and Gimpel, arXiv:1606.08415",
    ),
    Fact(
        "initialisation",
        r"_((weight|kernel)_)?(init|initiali[sz]er|initiali[sz]ation)_",
        Weights(
            {
                r"(he|kaiming|xavier|glorot)\w*": 3.0,
                r"\w*orthogonal\w*|lecun\w*": 2.0,
                r"zeros?|ones?|constant": 0.05,
            }
        ),
        "He et al., arXiv:1502.01852; Glorot and Bengio, AISTATS 2010",
    ),
    # Trees, alone and together.
    Fact(
        "trees",
        r"_(n_estimators|(num|n)_trees|(num_)?boost_rounds?|max_iter)_",
        Bell(300, 2.5),
        f"{_BOOSTERS} (100); {_TUNABILITY} (thousands, with a small rate)",
        models=("boosting", "trees"),
    ),
    Fact(
        "tree depth",
        r"_((max|tree)_)?depth_",
        Bell(6, 1.6),
        f"default of XGBoost; {_LEARNING}, 10.11",
        models=("boosting",),
    ),
    Fact(
        "tree depth",
        r"_(max_depth|(max_)?tree_depth)_",
        Bell(12, 2.0),
        f"Breiman, Machine Learning 45, 2001 (grown in full); {_TUNABILITY} (21 for one tree)",
        models=("trees",),
    ),
    Fact(
        "leaves",
        r"_(max_leaf_nodes|num_leaves|leaves)_",
        Bell(31, 2.5),
        "defaults of LightGBM and of scikit-learn's histogram boosting",
        models=("boosting", "trees"),
    ),
    Fact(
        "samples of a leaf",
        r"_(min_samples_leaf|min_weight_fraction_leaf)_",
        Bell(0.004, 4.0, limits=_SHARE, zero=True),
        f"{_SKLEARN} (one sample, no fraction); {_TUNABILITY} (12 rows for one tree)",
        models=("trees",),
    ),
    Fact(
        "samples of a leaf",
        r"_(min_samples_leaf|min_child_samples|min_data_in_leaf)_",
        Bell(20, 3.0),
        "defaults of LightGBM and of scikit-learn's histogram boosting",
        models=("boosting",),
    ),
    Fact(
        "samples of a leaf",
        r"_(min_samples_leaf|min_node_size)_",
        Bell(2, 3.0),
        f"Breiman, Machine Learning 45, 2001; {_TUNABILITY}",
        models=("trees",),
    ),
    Fact(
        "samples of a split",
        r"_min_samples_split_",
        Bell(0.008, 4.0, limits=_SHARE, zero=True),
        f"{_SKLEARN} (two samples); {_TUNABILITY} (24 rows for one tree)",
        models=("trees", "boosting"),
    ),
    Fact(
        "samples of a split",
        r"_min_samples_split_",
        Bell(4, 3.0),
        _SKLEARN,
        models=("trees", "boosting"),
    ),
    Fact(
        "pruning of trees",
        r"_(min_impurity_decrease|ccp_alpha)_",
        Bell(1e-3, 5.0, limits=_SHARE, zero=True),
        f"{_SKLEARN} (0); default of R's rpart (0.01)",
        models=("trees", "boosting"),
    ),
    Fact(
        "share of features",
        r"_max_features_",
        Bell(0.5, 0.3, "linear", _SHARE),
        f"{_LEARNING}, 15.3 (a third for regression); 1 for one tree",
        models=("trees", "boosting"),
    ),
    Fact(
        "share of rows or columns",
        r"_(subsample|colsample\w*|(feature|bagging)_fraction)_",
        Bell(0.8, 0.15, "linear", _SHARE),
        f"Friedman, Computational Statistics 38, 2002; {_TUNABILITY}",
        models=("boosting",),
    ),
    Fact(
        "weight of a leaf", r"_min_child_weight_", Bell(2, 3.0), f"{_BOOSTERS} (1); {_TUNABILITY}"
    ),
    Fact(
        "ridge penalty",
        r"_(reg_lambda|lambda|lambda_?l2|l2_regularization|l2_leaf_reg|l2)_",
        Bell(1.0, 10.0, zero=True),
        f"default of XGBoost; {_TUNABILITY}",
        models=("boosting",),
    ),
    Fact(
        "lasso penalty",
        r"_(reg_alpha|alpha|lambda_?l1|l1)_",
        Bell(0.1, 10.0, zero=True),
        f"{_BOOSTERS} (0); {_TUNABILITY} (1.1)",
        models=("boosting",),
    ),
    Fact(
        "least gain of a split",
        r"_(gamma|min_split_loss|min_(gain_to_split|split_gain))_",
        Bell(0.1, 10.0, zero=True),
        f"{_BOOSTERS} (0)",
        models=("boosting",),
    ),
    # Kernels, linear models, neighbours.
    Fact(
        "penalty C",
        r"_(c|cost)_",
        Bell(10.0, 10.0),
        f"Hsu, Chang and Lin, A Practical Guide to Support Vector Classification; {_TUNABILITY}",
        models=("svm",),
    ),
    Fact(
        "kernel width",
        r"_gamma_",
        Bell(0.02, 6.0),
        f"{_SKLEARN} (1 / features, of variance 1); {_TUNABILITY} (0.005)",
        models=("svm",),
    ),
    Fact(
        "kernel",
        r"_kernel_",
        Weights({"rbf|radial": 3.0, "linear": 1.0, r"poly\w*": 0.7, "sigmoid": 0.2}),
        f"Hsu, Chang and Lin, A Practical Guide to Support Vector Classification; {_TUNABILITY}",
        models=("svm",),
    ),
    Fact("tolerance", r"_tol_", Bell(1e-3, 10.0), _SKLEARN, models=("svm", "linear")),
    Fact("penalty C", r"_c_", Bell(1.0, 10.0), _SKLEARN, models=("linear",)),
    Fact("penalty", r"_alpha_", Bell(0.1, 30.0), _SKLEARN, models=("linear",)),
    Fact(
        "neighbours",
        r"_(n_neighbou?rs|num_neighbou?rs)_",
        Bell(10, 2.5),
        f"{_SKLEARN} (5); {_TUNABILITY} (30)",
    ),
    # Reinforcement learning.
    Fact(
        "discount",
        r"_(gamma|discount\w*)_",
        Bell(0.99, 3.0, "near_one", _SHARE),
        _PPO,
        models=("reinforcement",),
    ),
    Fact("GAE lambda", r"_gae_lambda_", Bell(0.95, 2.0, "near_one", _SHARE), _PPO),
    Fact("clip range", r"_clip_(range|epsilon|coef)_", Bell(0.2, 1.5), _PPO),
)

INTERACTIONS = (
    Interaction(
        "learning rate",
        "batch size",
        at=64,
        power=0.5,
        rules=("adam", "adamw"),
        source="Malladi et al., arXiv:2205.10287",
    ),
    Interaction(
        "learning rate",
        "batch size",
        at=64,
        power=0.5,
        rules=("sgd",),
        source="between Goyal et al., arXiv:1706.02677 (1) and Shallue et al., arXiv:1811.03600 "
        "(less, depending on the task)",
    ),
    Interaction(
        "learning rate",
        "width",
        at=200,
        power=-0.5,
        rules=("adam", "adamw"),
        source="Yang et al., arXiv:2203.03466 (-1 between hidden layers, 0 elsewhere)",
    ),
    Interaction(
        "learning rate",
        "momentum",
        at=0.1,
        power=1.0,
        rules=("sgd",),
        source="Smith and Le, arXiv:1710.06451: what counts is rate / (1 - momentum)",
        from_one=True,
    ),
    Interaction(
        "learning rate",
        "trees",
        at=300,
        power=-0.5,
        rules=(),
        source="Friedman, Annals of Statistics 29, 2001: a smaller rate needs more trees",
    ),
)
