"""Proposes a range for a parameter from its name, its kind and its default.

What is known about names is one table, `ROWS`: the first row that matches decides. A row either
gives a scale or the reason why such an argument is left alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from .scales import (
    Linear,
    LogFloat,
    LogInt,
    Odd,
    PowersOfTwo,
    Proposal,
    Refusal,
    Scale,
    SmallInt,
    Switch,
    categorical,
)
from .script_declared import Declared, Kind, kind_of
from .space import Scalar
from .textbook_names import is_seed_name, words_of

_EXTREME = 1e12


@dataclass(frozen=True)
class Row:
    """What is known about a name: its scale, or the reason to leave it alone."""

    names: str
    """Regular expression that is searched in the name's words, as in `_weight_decay_`."""
    use: Scale | str
    kinds: tuple[Kind, ...] = ("float", "int", "bool", "str")
    """Kinds to which a reason applies; a scale has its own."""

    def matches(self, words: str, declared: Declared) -> bool:
        """Tell whether the row speaks of this argument."""
        kinds = self.kinds if isinstance(self.use, str) else self.use.kinds
        # `WEIGHT_DECAY = 0` is an int to Python only
        loose = declared.kind == "int" and not declared.typed and "float" in kinds
        return (declared.kind in kinds or loose) and re.search(self.names, words) is not None


_NUMBERS: tuple[Kind, ...] = ("float", "int")
_WORDS: tuple[Kind, ...] = ("str", "bool")

ROWS = (
    # What only looks like one of the rows below.
    Row(r"_warm_?up_(ratio|frac|fraction|prop|proportion|pct)_", Linear(0.0, 0.3)),
    Row(r"_warm_?up_(steps|iters?|iterations|batches)_", SmallInt(0, 1000)),
    Row(r"_warm_?up_", SmallInt(0, 5)),
    Row(r"_(grad|gradient)?_?accum\w*_(steps?|iters?|batches)_", PowersOfTwo((1, 2, 4, 8))),
    Row(r"_(lr|learning_rate)_?(decay|gamma|factor|mult)_", Linear(0.1, 1.0, (0.9, 0.9999))),
    Row(r"_lora_(r|rank|alpha|dim)_", PowersOfTwo((4, 8, 16, 32, 64))),
    Row(r"_(test|eval|val|valid|validation|inference)_(batch|bs)", "used for evaluation only"),
    Row(r"_(batch_?size|bs)_", PowersOfTwo((16, 32, 64, 128, 256))),
    Row(r"_weight_decay_", LogFloat(100, 1e-6, 1e-1, (1e-6, 1e-1))),
    Row(r"_(min_samples_(split|leaf)|min_child_samples)_", SmallInt(2, 10)),
    # Left alone.
    Row(r"_(seeds?|random_state)_", "a seed; seeds are never tuned"),
    Row(
        r"_(epochs?|(max|num|n|total|train|training)_(steps|iters?|iterations|updates|episodes)"
        r"|iterations|iters|total_timesteps|timesteps|steps|patience|early_stopping\w*)_",
        "training length; kept fixed so that the trials can be compared",
    ),
    Row(
        r"_(devices?|gpus?|cuda|mps|cpu|tpu|xpu|accelerator|accel|rank|world_size|(num|n)_?nodes"
        r"|dist|distributed|backend|ddp|fsdp|nproc|master)_",
        "where it runs, not what is learned",
    ),
    Row(r"_(workers?|threads?|jobs|processes|prefetch\w*|pin|pin_memory)_", "speed of loading"),
    Row(r"_(port|host|address|addr|url|uri)_|_(token|key|password|secret)_$", "a connection"),
    Row(
        r"_(log|logging|print|save|saving|eval|evaluation|test|val|valid|validation|report|record"
        r"|checkpoint|ckpt|vis|display|plot|sample|dump|snapshot)_(\w+_)?(interval|freq|frequency"
        r"|every|period|steps?|n|iters?)_|_(every|interval|freq|frequency)_",
        "how often something is written",
    ),
    Row(
        r"_(verbose|verbosity|quiet|silent|debug|progress|tqdm|wandb|tensorboard|mlflow|log"
        r"|logging|profile|profiler|track|plot|show|dry|dryrun|render|capture|video|watch"
        r"|version|help)_",
        "output and debugging only",
    ),
    Row(
        r"_(name|tag|tags|project|entity|user|notes?|exp|experiment|id|comment|title|prefix"
        r"|suffix|author)_",
        "a name",
        _WORDS,
    ),
    Row(
        r"_(paths?|dirs?|directory|folder|files?|filename|root|checkpoint|ckpt|resume|load|save"
        r"|restore|output|out|export|cache|config|cfg|logdir|download|weights|pretrained|upload)_",
        "a file, or whether one is read or written",
        _WORDS,
    ),
    Row(
        r"_(data|dataset|split|task|env|classes|num_class|(in|out|input|output)_(channels?|dims?"
        r"|size|features?|shape)|(image|img|input|vocab|vocabulary|crop)_(size|width|height|dim)"
        r"|seq_len|seq_length|seqlen|(max|block|context|sequence)_(len|length|size|seq\w*)"
        r"|(test|train|val|valid|validation|holdout)_(size|frac|fraction|ratio|split|pct)"
        r"|(n|num|max)_(samples|examples|points|folds|train|test|val)|subset|limit|folds?)_",
        "part of the task, not of the model",
    ),
    Row(
        r"_(mode|stage|train|test|eval|evaluate|evaluation|predict|inference|only|interactive"
        r"|overwrite|force|skip)_",
        "what the script does, not how it learns",
        _WORDS,
    ),
    Row(
        r"_(amp|fp16|bf16|tf32|half|mixed|precision|dtype|compile|jit|deterministic|benchmark"
        r"|channels_last|offload|checkpointing|fused|foreach)_",
        "speed and arithmetic of the machine",
        ("str", "bool", "int"),
    ),
    # Optimisation.
    Row(r"_(lr|lrs|lrate|learning_?rate|eta|eta_min)\d*_", LogFloat(30, 1e-6, 1.0, (1e-5, 1e-1))),
    Row(
        r"_(wd|decay|l2|l1|reg|regularization|regularisation)_",
        LogFloat(100, 1e-6, 1e-1, (1e-6, 1e-1)),
    ),
    Row(r"_(mini_?)?batch_", PowersOfTwo((16, 32, 64, 128, 256))),
    Row(r"_(momentum|nesterov_momentum)_", Linear(0.0, 0.99)),
    Row(r"_(beta_?1|b1)_", Linear(0.5, 0.99)),
    Row(r"_(beta_?2|b2)_", Linear(0.9, 0.9999)),
    Row(r"_(ema|polyak|ema_decay)_", Linear(0.9, 0.9999)),
    Row(r"_tau_", LogFloat(10, 1e-4, 1.0, (1e-3, 1e-1))),
    Row(r"_(eps|epsilon)_", LogFloat(10, 1e-12, 1.0)),
    Row(
        r"_(clip\w*|max_norm|(max_)?grad(ient)?_(clip\w*|norm))_",
        LogFloat(10, 1e-2, 100.0, (0.1, 10.0)),
    ),
    Row(r"_gae_lambda_", Linear(0.8, 1.0)),
    Row(r"_gamma_", Linear(0.1, 1.0, (0.8, 0.9999))),
    # Regularisation.
    Row(r"_(drop\w*|p_?drop)_", Linear(0.0, 0.9)),
    Row(r"_keep_prob_", Linear(0.1, 1.0)),
    Row(r"_(label_)?smoothing_", Linear(0.0, 0.3)),
    Row(r"_(mix_?up|cut_?mix)(_alpha)?_", Linear(0.0, 1.0)),
    Row(r"_(temperature|temp)_", LogFloat(10, 1e-2, 100.0)),
    Row(r"_(subsample|colsample\w*|(feature|bagging)_fraction)_", Linear(0.1, 1.0)),
    Row(r"_(ratio|fraction|frac|prob|probability)_", Linear(0.0, 1.0)),
    # Architecture.
    Row(r"_((n|num)_)?(hidden_)?(layers?|depth|blocks?|hops|stages)_", SmallInt(1, 4)),
    Row(r"_heads?_", PowersOfTwo((1, 2, 4, 8))),
    Row(r"_(kernel|kernel_size|ksize|filter_size)_", Odd()),
    Row(
        r"_(hidden\w*|width|dims?|embed\w*|embd?|embedding\w*|d_model|d_ff|ffn?|fc\d*|mlp|channels?"
        r"|filters|units|features|latent\w*|nz|ngf|ndf|planes|neurons|nodes|projection)_",
        PowersOfTwo((32, 64, 128, 256)),
    ),
    Row(
        r"_((n_)?estimators|trees|boost_rounds?|leaves|num_leaves|max_bins?)_",
        LogInt(4, (50, 1000)),
    ),
    Row(r"_(neighbou?rs|n_components|n_clusters)_", LogInt(4, (2, 50))),
    Row(
        r"_(use|enable|with|norm|bn|batchnorm|layernorm|augment\w*|bias|residual|nesterov|amsgrad"
        r"|bidirectional|tie|standardi[sz]e|normali[sz]e)_",
        Switch(),
    ),
)

_GENERIC: dict[Kind, Scale] = {
    "float": LogFloat(10, 1e-12, _EXTREME),
    "int": LogInt(4),
    "bool": Switch(),
}


def propose(declared: Declared, *, known_only: bool = False) -> Proposal | Refusal:
    """Propose a range for one argument of a script.

    Args:
        declared: The argument.
        known_only: Whether a name that no row knows is left alone, as befits constants.
    """
    words = words_of(declared.name)
    known = next((row.use for row in ROWS if row.matches(words, declared)), None)
    if isinstance(known, str):
        return Refusal(known)
    if declared.choices:
        proposal = _chosen(declared)
    elif known is None and known_only:
        return Refusal("not a name known from training; add it by hand if it should be tuned")
    else:
        proposal = _laid(declared, known)
    if isinstance(proposal, Refusal):
        return proposal
    parameter = proposal.parameter.model_copy(update={"meaning": declared.meaning})
    return replace(proposal, parameter=parameter)


def _laid(declared: Declared, known: Scale | None) -> Proposal | Refusal:
    """Lay a range around the default by what is known of the name, else of the kind."""
    kind = declared.kind
    if not declared.typed and kind == "int" and known is not None and "float" in known.kinds:
        kind = "float"
    scale = known or _GENERIC.get(kind)
    if scale is None:
        return Refusal("text without a list of choices")
    default = _as_kind(declared.default, kind)
    if default is None and declared.default is not None:
        return Refusal(f"its default {declared.default!r} is not of its type")
    if isinstance(default, int | float) and abs(default) > _EXTREME:
        return Refusal("its default is too extreme for a range")
    return scale.propose(replace(declared, kind=kind, default=default))


def _chosen(declared: Declared) -> Proposal | Refusal:
    choices = [choice for choice in declared.choices if choice is not None]
    proposal = categorical(choices, declared.default)
    if isinstance(proposal, Refusal) or proposal.note is None:
        return proposal
    return replace(proposal, note=f"its default {declared.default!r} is none of its choices")


def is_seed(declared: Declared) -> bool:
    """Tell whether an argument takes the random seed."""
    number = declared.kind in {"int", "float"} and not declared.choices
    return number and is_seed_name(declared.name)


def _as_kind(value: Scalar, kind: Kind) -> Scalar:
    """Return a default as its kind, or None if it is not of that kind."""
    if kind in {"bool", "str"}:
        return value if kind_of(value) == kind else None
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    if kind == "float":
        return number
    return int(number) if number.is_integer() else None
