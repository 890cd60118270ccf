"""Proposes a range for a parameter from its name, its kind and its default.

What is known about names is one table, `ROWS`: the first row that matches decides. A row either
gives a scale or the reason why such an argument is left alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Protocol

from .script_declared import Declared, Kind
from .space import Categorical, Float, Int, Parameter, Scalar

_EXTREME = 1e12


@dataclass(frozen=True)
class Proposal:
    """A parameter with a proposed range."""

    parameter: Parameter
    note: str | None = None
    """What a person should know about the range, if anything."""


@dataclass(frozen=True)
class Refusal:
    """Why an argument is left alone."""

    reason: str


class Scale(Protocol):
    """A rule that lays a range around a default."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of value for which the rule makes sense."""

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""


_NO_DEFAULT = Refusal("no default, and nothing is known about the name, so that no range follows")


@dataclass(frozen=True)
class LogFloat:
    """From the default divided by `factor` to the default times `factor`, logarithmic."""

    factor: float
    floor: float
    ceiling: float
    typical: tuple[float, float] | None = None
    """The range if the default is missing or 0."""
    kinds: tuple[Kind, ...] = ("float",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _number(declared.default)
        if default is not None and default < 0:
            return Refusal("its default is negative, which a logarithmic range cannot hold")
        if default:
            low = min(default, max(_round(default / self.factor), self.floor))
            high = max(default, min(_round(default * self.factor), self.ceiling))
            return _float(declared, low, high, log=True, default=default)
        if self.typical is None:
            return (
                Refusal("its default is 0, which gives no scale") if default == 0 else _NO_DEFAULT
            )
        note = "0 in the script, which a logarithmic range cannot hold" if default == 0 else None
        return _float(declared, *self.typical, log=True, default=None, note=note)


@dataclass(frozen=True)
class Linear:
    """A fixed range, widened to hold the default."""

    low: float
    high: float
    near_one: tuple[float, float] | None = None
    """The range if the default is 0.9 or more."""
    kinds: tuple[Kind, ...] = ("float",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _number(declared.default)
        low, high = self.low, self.high
        if default is not None:
            if self.near_one is not None and default >= 0.9:
                low, high = self.near_one
            low, high = min(low, default), max(high, default)
        return _float(declared, low, high, log=False, default=default)


@dataclass(frozen=True)
class LogInt:
    """From the default divided by `factor`, at least 1, to the default times `factor`."""

    factor: int = 4
    typical: tuple[int, int] | None = None
    kinds: tuple[Kind, ...] = ("int",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _integer(declared.default)
        if default is None:
            return (
                _NO_DEFAULT if self.typical is None else _int(declared, *self.typical, True, None)
            )
        if default <= 0:
            return Refusal(f"its default is {default}, which gives no scale")
        low, high = max(1, default // self.factor), default * self.factor
        return _int(declared, low, high, True, default)


@dataclass(frozen=True)
class PowersOfTwo:
    """The powers of two around the default; another default gets a logarithmic range."""

    typical: tuple[int, ...]
    kinds: tuple[Kind, ...] = ("int",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _integer(declared.default)
        if default is not None and (default <= 0 or default & (default - 1)):
            return LogInt().propose(declared)
        around = self.typical if default is None else _powers_around(default)
        low = 1 if declared.low is None else declared.low
        choices = [c for c in around if low <= c and (declared.high is None or c <= declared.high)]
        return _categorical(choices, default)


@dataclass(frozen=True)
class SmallInt:
    """Whole numbers from `low` to twice the default, at least to `least_high`."""

    low: int
    least_high: int
    factor: int = 2
    kinds: tuple[Kind, ...] = ("int",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _integer(declared.default)
        if default is not None and default < 0:
            return Refusal(f"its default is {default}, which gives no scale")
        low = self.low if default is None else min(self.low, default)
        high = max(self.least_high, self.factor * (default or 0))
        return _int(declared, low, high, False, default)


@dataclass(frozen=True)
class Odd:
    """Odd numbers near an odd default."""

    kinds: tuple[Kind, ...] = ("int",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _integer(declared.default) or 0
        if default < 1 or default % 2 == 0:
            return Refusal("its default is not an odd number")
        return _categorical([c for c in range(default - 2, default + 3, 2) if c >= 1], default)


@dataclass(frozen=True)
class Switch:
    """On or off."""

    kinds: tuple[Kind, ...] = ("bool",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = declared.default if isinstance(declared.default, bool) else None
        return _categorical([True, False], default)


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
    Row(r"_warm_?up(_rounds?|_epochs?)?_", SmallInt(0, 5)),
    Row(r"_warm_?up_", SmallInt(0, 1000)),
    Row(r"_(grad|gradient)?_?accum\w*_(steps?|iters?|batches)_", PowersOfTwo((1, 2, 4, 8))),
    Row(r"_(lr|learning_rate)_?(decay|gamma|factor|mult)_", Linear(0.1, 1.0, (0.9, 0.9999))),
    Row(r"_lora_(r|rank|alpha|dim)_", PowersOfTwo((4, 8, 16, 32, 64))),
    Row(r"_(test|eval|val|valid|validation|inference)_(batch|bs)", "used for evaluation only"),
    Row(r"_weight_decay_", LogFloat(100, 1e-6, 1e-1, (1e-6, 1e-1))),
    # Left alone.
    Row(r"_(seeds?|random_state)_", "a seed; seeds are never tuned"),
    Row(
        r"_(epochs?|(max|num|n|total|train|training)_(steps|iters?|iterations|updates|episodes)"
        r"|iterations|iters|total_timesteps|timesteps|steps|patience|early_stopping\w*)_",
        "training length; kept fixed so that the trials can be compared",
    ),
    Row(
        r"_(devices?|gpus?|cuda|mps|cpu|tpu|xpu|accelerator|accel|rank|world|nodes?|dist"
        r"|distributed|backend|ddp|fsdp|nproc|master)_",
        "where it runs, not what is learned",
    ),
    Row(r"_(workers?|threads?|jobs|processes|prefetch\w*|pin|pin_memory)_", "speed of loading only"),
    Row(r"_(port|host|address|addr|url|uri|token|key|password|secret)_", "a connection"),
    Row(
        r"_(log|logging|print|save|saving|eval|evaluation|test|val|valid|validation|report|record"
        r"|checkpoint|ckpt|vis|display|plot|sample|dump|snapshot)_(\w+_)?(interval|freq|frequency"
        r"|every|period|steps?|n|iters?)_|_(every|interval|freq|frequency)_",
        "how often something is written",
    ),
    Row(
        r"_(verbose|verbosity|quiet|silent|debug|progress|tqdm|wandb|tensorboard|mlflow|log"
        r"|logging|profile|profiler|track|plot|show|dry|dryrun|render|capture|video|watch|level"
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
    Row(r"_(wd|decay|l2|l1|reg|regularization|regularisation)_", LogFloat(100, 1e-6, 1e-1, (1e-6, 1e-1))),
    Row(r"_(batch|bs|mini_?batch)(_?size)?_", PowersOfTwo((16, 32, 64, 128, 256))),
    Row(r"_(momentum|nesterov_momentum)_", Linear(0.0, 0.99)),
    Row(r"_(beta_?1|b1)_", Linear(0.5, 0.99)),
    Row(r"_(beta_?2|b2)_", Linear(0.9, 0.9999)),
    Row(r"_(ema|polyak|ema_decay)_", Linear(0.9, 0.9999)),
    Row(r"_tau_", LogFloat(10, 1e-4, 1.0, (1e-3, 1e-1))),
    Row(r"_(eps|epsilon)_", LogFloat(10, 1e-12, 1.0)),
    Row(r"_(clip\w*|max_norm|(max_)?grad(ient)?_(clip\w*|norm))_", LogFloat(10, 1e-2, 100.0, (0.1, 10.0))),
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
    Row(r"_((n_)?estimators|trees|boost_rounds?|leaves|num_leaves|max_bins?)_", LogInt(4, (50, 1000))),
    Row(r"_(neighbou?rs|n_components|n_clusters)_", LogInt(4, (2, 50))),
    Row(
        r"_(use|enable|with|norm|bn|batchnorm|layernorm|augment\w*|bias|residual|nesterov|amsgrad"
        r"|bidirectional|tie|standardi[sz]e|normali[sz]e)_",
        Switch(),
    ),
)  # fmt: skip

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
    words = _words(declared.name)
    row = next((row for row in ROWS if row.matches(words, declared)), None)
    if row is not None and isinstance(row.use, str):
        return Refusal(row.use)
    kind = _kind_for(declared, row)
    default = _coerce(declared.default, kind)
    if declared.choices:
        return _chosen(declared)
    if default is None and declared.default is not None:
        return Refusal(f"its default {declared.default!r} is not of its type")
    if isinstance(default, int | float) and abs(default) > _EXTREME:
        return Refusal("its default is too extreme for a range")
    scale = row.use if row is not None and not isinstance(row.use, str) else None
    if scale is None and known_only:
        return Refusal("not a name known from training; add it by hand if it should be tuned")
    scale = scale or _GENERIC.get(kind)
    if scale is None:
        return Refusal("text without a list of choices")
    proposal = scale.propose(replace(declared, kind=kind, default=default))
    if isinstance(proposal, Refusal) or declared.meaning is None:
        return proposal
    return replace(proposal, parameter=_with_meaning(proposal.parameter, declared.meaning))


def is_seed(declared: Declared) -> bool:
    """Tell whether an argument takes the random seed."""
    seed = re.search(r"_(seed|random_state)_$", _words(declared.name)) is not None
    return seed and declared.kind in {"int", "float"} and not declared.choices


def _words(name: str) -> str:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return f"_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}_"


def _kind_for(declared: Declared, row: Row | None) -> Kind:
    if declared.typed or declared.kind != "int" or row is None or isinstance(row.use, str):
        return declared.kind
    return "float" if "float" in row.use.kinds else "int"


def _coerce(value: Scalar, kind: Kind) -> Scalar:
    """Return a default as its kind, or None if it is not of that kind."""
    if isinstance(value, str) and kind in {"int", "float"}:
        try:
            value = float(value)
        except ValueError:
            return None
    if kind == "bool" or isinstance(value, bool):
        return value if kind == "bool" and isinstance(value, bool) else None
    if kind == "str":
        return value if isinstance(value, str) else None
    if not isinstance(value, int | float) or abs(value) == float("inf") or value != value:
        return None
    if kind == "int":
        return int(value) if value == int(value) else None
    return float(value)


def _chosen(declared: Declared) -> Proposal | Refusal:
    choices = list(declared.choices)
    known = any(type(c) is type(declared.default) and c == declared.default for c in choices)
    proposal = _categorical(choices, declared.default if known else None)
    if isinstance(proposal, Refusal):
        return proposal
    stray = declared.default is not None and not known
    note = f"its default {declared.default!r} is none of its choices" if stray else None
    parameter = _with_meaning(proposal.parameter, declared.meaning)
    return Proposal(parameter, note)


def _with_meaning(parameter: Parameter, meaning: str | None) -> Parameter:
    return parameter.model_copy(update={"meaning": meaning})


def _categorical(choices: list[Scalar], default: Scalar) -> Proposal | Refusal:
    if len(choices) < 2:
        return Refusal("only one value is possible")
    known = any(type(c) is type(default) and c == default for c in choices)
    note = None if known or default is None else "its default breaks the script's own limits"
    return Proposal(Categorical(choices=choices, default=default if known else None), note)


def _float(
    declared: Declared,
    low: float,
    high: float,
    log: bool,
    default: float | None,
    note: str | None = None,
) -> Proposal | Refusal:
    low = low if declared.low is None else max(low, float(declared.low))
    high = high if declared.high is None else min(high, float(declared.high))
    if not low < high:
        return Refusal("the script's own limits leave no range around its default")
    if default is not None and not low <= default <= high:
        default, note = None, "its default breaks the script's own limits"
    return Proposal(Float(low=low, high=high, log=log, default=default), note)


def _int(
    declared: Declared, low: int, high: int, log: bool, default: int | None
) -> Proposal | Refusal:
    low = low if declared.low is None else max(low, int(declared.low))
    high = high if declared.high is None else min(high, int(declared.high))
    if not low < high:
        return Refusal("the script's own limits leave no range around its default")
    note = None
    if default is not None and not low <= default <= high:
        default, note = None, "its default breaks the script's own limits"
    return Proposal(Int(low=low, high=high, log=log and low > 0, default=default), note)


def _powers_around(default: int) -> list[Scalar]:
    return [
        power for power in (default // 4, default // 2, default, default * 2, default * 4) if power
    ]


def _number(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _integer(value: Scalar) -> int | None:
    return value if isinstance(value, int) else None


def _round(value: float) -> float:
    return float(f"{value:.1g}")
