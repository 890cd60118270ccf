"""Guesses the metrics of a script from what it prints or reports.

A number that stands beside a word such as `acc` or `loss` in a printed line is a metric, and the
line becomes its `Metric.pattern`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from .metric_words import (
    COSTS,
    DIRECTIONS,
    PROGRESS,
    QUALIFIERS,
    SPLITS,
    Direction,
    Split,
    direction_of,
    label_words,
    metric_name,
    split_of,
    words_of,
)
from .script_declared import Remark
from .script_prints import Hole, Line, Output, find_outputs, printed_lines
from .script_source import Script, dotted, keywords, last_name

_LONGEST_PATTERN = 300
_RANK: dict[Split, int] = {"validation": 0, "test": 1, "unknown": 2, "training": 4}
_TRACKERS = {"wandb.log", "mlflow.log_metric", "mlflow.log_metrics", "self.log", "self.log_dict"}
_TRACKER_METHODS = {"add_scalar", "add_scalars", "set_postfix"}
_NOT_METRICS = {*PROGRESS, "epochs", "steps", "lr", "seed"}
_ON_STDERR = "goes through logging, which writes to standard error unless told otherwise"


@dataclass(frozen=True)
class GuessedMetric:
    """A number that a script seems to report."""

    name: str
    direction: Direction | None
    """None if the name does not tell."""
    split: Split
    line: int
    how: Literal["reported", "json", "printed", "logged"]
    pattern: str | None = None
    note: str | None = None

    @property
    def can_be_optimised(self) -> bool:
        """Whether the name tells a direction, and is not of a cost such as seconds."""
        return self.direction is not None and not COSTS & set(words_of(self.name))

    @property
    def preference(self) -> tuple[int, ...]:
        """Sort key: what is best to optimise comes first."""
        rank = _RANK[self.split]
        # a loss without a split is nearly always the training loss
        rank += self.split == "unknown" and self.direction == "minimize"
        once = self.how == "printed" and "{step}" not in (self.pattern or "")
        best = "best" in words_of(self.name)
        return not self.can_be_optimised, rank, best, once, self.direction == "minimize", self.line


def guess_metrics(script: Script) -> tuple[list[GuessedMetric], list[Remark]]:
    """Return the metrics, the best to optimise first, and what could not be read.

    `luthier.report` is preferred to JSON lines, and these to printed text.
    """
    remarks: list[Remark] = []
    reported = list(_reported(script, remarks))
    json_lines: list[GuessedMetric] = []
    printed: list[GuessedMetric] = []
    for output in find_outputs(script):
        payload = _json_payload(output)
        if output.to_stderr:
            text = "What is written to standard error is not read"
            remarks.append(Remark(output.call.lineno, text))
        elif payload is not None:
            json_lines += _json(script, payload, remarks)
        else:
            for line in printed_lines(script, output):
                printed += _in_line(line, output)
    if _logs_to_stdout(script):
        printed = [replace(metric, note=None) for metric in printed]
    found = reported or json_lines or printed
    return _distinct(found), remarks if found else [*remarks, *_tracked(script)]


def _logs_to_stdout(script: Script) -> bool:
    values = [v for call in script.calls for v in (*call.args, *keywords(call).values())]
    return any(dotted(value) == "sys.stdout" for value in values)


def _named(name: str, line: int, how: Literal["reported", "json"]) -> GuessedMetric:
    words = words_of(name)
    return GuessedMetric(name, direction_of(words), split_of(words), line, how)


def _reported(script: Script, remarks: list[Remark]) -> Iterator[GuessedMetric]:
    if not script.imports("luthier"):
        return
    for call in script.calls:
        if dotted(call.func) not in {"luthier.report", "report"}:
            continue
        if len(keywords(call)) < len(call.keywords):
            remarks.append(Remark(call.lineno, "Metrics are reported under computed names"))
        for name in keywords(call):
            if name != "step":
                yield _named(name, call.lineno, "reported")


def _json_payload(output: Output) -> ast.expr | None:
    match output.call.args:
        case [ast.Call(args=[payload, *_]) as inner] if last_name(inner) == "dumps":
            return payload
    return None


def _json(script: Script, payload: ast.expr, remarks: list[Remark]) -> Iterator[GuessedMetric]:
    if isinstance(payload, ast.Name):
        payload = _dict_called(script, payload.id) or payload
    keys: list[object] = []
    if isinstance(payload, ast.Dict):
        keys = [script.literal(key) for key in payload.keys]
    elif isinstance(payload, ast.Call) and dotted(payload.func) == "dict":
        keys = list(keywords(payload))
    names = [key for key in keys if isinstance(key, str)]
    if not keys or len(names) < len(keys):
        remarks.append(Remark(payload.lineno, "A JSON line is printed whose keys are computed"))
    for name in names:
        if re.fullmatch(r"\w[\w./@-]{0,99}", name) and name.lower() not in _NOT_METRICS:
            yield _named(name, payload.lineno, "json")


def _dict_called(script: Script, name: str) -> ast.Dict | None:
    """Return the literal dict that is assigned to a name anywhere, if there is exactly one."""
    found = [
        node.value
        for node in script.nodes
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]
    return found[0] if len(found) == 1 and isinstance(found[0], ast.Dict) else None


def _tracked(script: Script) -> Iterator[Remark]:
    for call in script.calls:
        if dotted(call.func) in _TRACKERS or last_name(call) in _TRACKER_METHODS:
            text = f"What goes to `{last_name(call)}` cannot be seen from outside; print it as well"
            yield Remark(call.lineno, text)


def _in_line(line: Line, output: Output) -> Iterator[GuessedMetric]:
    """Yield the metrics in one printed line."""
    said: list[str] = []
    for i, part in enumerate(line):
        if isinstance(part, str):
            said += words_of(part)
            continue
        words = [] if part.is_text else _label(line, i, part)
        direction = direction_of(words)
        pattern = _pattern(line, i)
        if direction is None or pattern is None:
            continue
        split = _first_split([words, said, part.words, words_of(output.function)])
        name = metric_name(words, split)
        note = _ON_STDERR if output.how == "logged" else None
        at = output.call.lineno
        yield GuessedMetric(name, direction, split, at, output.how, pattern, note)


def _label(line: Line, i: int, hole: Hole) -> list[str]:
    """Return the words that name a hole: those just before it, else its expression's."""
    before = line[i - 1] if i else ""
    if not isinstance(before, str) or not before.strip() or _qualifies(before):
        return []
    text = ""
    for part in line[:i]:
        text += part if isinstance(part, str) else " " if _qualifies(text) else ","
    label = label_words(re.split(r"[,;|()\[\]/]| - ", text.rstrip(" :=([*-"))[-1])
    if direction_of(label) is not None:
        return label
    if label or before.rstrip().endswith(("/", "(")):
        return []  # the text speaks of something else, whatever the expression is called
    return [word for word in dict.fromkeys(hole.words) if word in DIRECTIONS or word in SPLITS]


def _qualifies(text: str) -> bool:
    """Tell whether a number after the text belongs to a label: `accuracy on 100 images`."""
    return words_of(text)[-1:] != [] and words_of(text)[-1] in QUALIFIERS


def _first_split(sources: Iterable[Iterable[str]]) -> Split:
    splits = (split_of(words) for words in sources)
    return next((split for split in splits if split != "unknown"), "unknown")


def _pattern(line: Line, i: int) -> str | None:
    """Return the line up to hole `i` as a pattern, or None if no literal text anchors it."""
    step = _step_hole(line[:i])
    pattern = ""
    for j, part in enumerate(line[: i + 1]):
        if isinstance(part, str):
            pattern += part
            continue
        text = "{value}" if j == i else "{step}" if j == step else "*"
        # white space of the pattern already matches padding
        if part.is_padded and pattern and not pattern.endswith(" "):
            text = "*" + text
        if part.is_padded and j < i and not str(line[j + 1]).startswith(" "):
            text += "*"
        pattern += text
    pattern = re.sub(r"\*[* ]*\*", "*", pattern).strip(" *")
    literal = re.sub(r"\{value\}|\{step\}", "", pattern)
    return pattern if len(pattern) <= _LONGEST_PATTERN and re.search(r"\w", literal) else None


def _step_hole(line: Line) -> int | None:
    """Return the hole that counts epochs, or failing that steps."""
    ranks: dict[int, int] = {}
    for j, part in enumerate(line):
        before = line[j - 1] if j else ""
        if isinstance(part, str) or not isinstance(before, str) or part.is_fraction:
            continue
        if before.rstrip().endswith("/"):  # the total, as in `epoch 3/10`
            continue
        label = words_of(before)[-1:]
        for word in [*label, *part.words]:
            if word in PROGRESS and direction_of(label) is None:
                ranks[j] = min(ranks.get(j, len(PROGRESS)), PROGRESS.index(word))
    return min(ranks, key=lambda j: ranks[j]) if ranks else None


def _distinct(metrics: list[GuessedMetric]) -> list[GuessedMetric]:
    """Keep the best source of each name, and warn where the first choice tempts to overfit."""
    kept: dict[str, GuessedMetric] = {}
    for metric in sorted(metrics, key=lambda metric: metric.preference):
        kept.setdefault(metric.name, metric)
    first, *others = kept.values() if kept else [None]
    if first is None:
        return []
    if first.split in {"test", "training"}:
        warning = f"a {first.split} metric: tuning on it overfits it; print one on validation data"
        first = replace(first, note=f"{first.note}; {warning}" if first.note else warning)
    return [first, *others]
