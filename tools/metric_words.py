"""What the words of a metric's name tell: its direction, and the data that it is measured on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Direction = Literal["maximize", "minimize"]
Split = Literal["validation", "test", "training", "unknown"]

_MAXIMIZE = """
    acc accuracy top1 top5 f1 auc auroc auprc rocauc score r2 bleu rouge iou miou dice
    reward return returns precision recall psnr ssim ap map ndcg mrr specificity sensitivity
    elo winrate elbo
"""
_MINIMIZE = """
    loss error err rmse mae mse mape smape perplexity ppl bpb bpc bpd nll fid wer cer time seconds
    latency kl ece brier regret distance
"""
DIRECTIONS: dict[str, Direction] = {word: "maximize" for word in _MAXIMIZE.split()}
DIRECTIONS |= {word: "minimize" for word in _MINIMIZE.split()}
"""A word of a metric's name to what is wanted of it."""

SPLITS: dict[str, Split] = {
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "evaluate": "validation",
    "validate": "validation",
    "heldout": "validation",
    "test": "test",
    "testing": "test",
    "train": "training",
    "training": "training",
}
"""A word of a metric's name to the data that it is measured on."""

COSTS = {"time", "seconds", "latency"}
"""Words of a metric that says what training costs, not what it gains."""

PROGRESS = ("epoch", "ep", "step", "iter", "iteration", "round", "generation")
"""Words for a number that counts, the best to count by first."""

QUALIFIERS = {"on", "of", "for", "the", "at", "after", "in", *PROGRESS}
"""Words before a number that belongs to a label: `accuracy on 100 images: 0.9`."""

_FILLERS = QUALIFIERS | set(
    "average avg mean current final overall is was model network set images samples data".split()
)
_PREFIXES = {"validation": "val", "test": "test", "training": "train", "unknown": ""}


def words_of(text: str) -> list[str]:
    """Return the lower-case words of a text or name, without numbers: `valAcc_1` gives val, acc."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.findall(r"[a-z][a-z0-9]*", text.lower().replace("_", " "))


def split_of(words: Iterable[str]) -> Split:
    """Return the data that words speak of; the last one decides."""
    return next((SPLITS[word] for word in reversed(list(words)) if word in SPLITS), "unknown")


def direction_of(words: Iterable[str]) -> Direction | None:
    """Return what is wanted of a metric with these words, None if they do not tell."""
    direction: Direction | None = None
    negated = False
    for word in words:
        negated |= word in {"neg", "negative"}
        direction = DIRECTIONS.get(word, DIRECTIONS.get(word.rstrip("0123456789"), direction))
    if negated and direction is not None:
        return "maximize" if direction == "minimize" else "minimize"
    return direction


def label_words(text: str) -> list[str]:
    """Return the words of a label that can stand in a metric's name."""
    words = [word for word in words_of(text) if word not in _FILLERS]
    if len(words) <= 3:
        return words
    return [word for word in words if word in SPLITS or direction_of([word])]


def metric_name(words: Iterable[str], split: Split) -> str:
    """Return a metric's name, such as `val_acc`."""
    return "_".join(filter(None, [_PREFIXES[split], *(w for w in words if w not in SPLITS)]))
