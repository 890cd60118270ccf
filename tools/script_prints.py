"""Reads what a script prints: each line as literal text and holes.

`print(f"epoch {epoch} acc={acc:.3f}")` prints the text `epoch `, a hole, ` acc=`, a hole.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .metric_words import words_of
from .script_source import Script, dotted, keywords, last_name

_PRINTS = {"print", "tqdm.write", "tqdm.tqdm.write", "click.echo", "typer.echo", "sys.stdout.write"}
_LOG_METHODS = {"info", "warning", "debug", "critical"}
_TERMINAL_CODE = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_PERCENT = re.compile(
    r"%(\((?P<key>\w+)\))?(?P<spec>[-+ 0#]*\d*(?:\.\d+)?)[hlL]?(?P<kind>[diouxXeEfFgGcrsa%])"
)


@dataclass(frozen=True)
class Hole:
    """A value in a printed line."""

    words: tuple[str, ...]
    """Words of the expression that fills it."""
    spec: str = ""
    """How it is formatted, as in an f-string."""
    variable: str | None = None
    """The variable that fills it, if it is no more than that."""

    @property
    def is_padded(self) -> bool:
        """Whether white space may stand before or after the value."""
        return re.match(r"(?:.?[<>^=])?[-+ ]?#?[1-9]", self.spec) is not None or " " in self.spec

    @property
    def is_text(self) -> bool:
        """Whether the value is certainly not a number."""
        return self.spec.endswith("s")

    @property
    def is_fraction(self) -> bool:
        """Whether the value is written with a decimal point."""
        return self.spec.lower().endswith(("e", "f", "g", "%"))


Line = list[str | Hole]


@dataclass(frozen=True)
class Output:
    """A call that writes text."""

    call: ast.Call
    how: Literal["printed", "logged"]
    function: str
    """The innermost function around it; empty at the top level and where the epochs pass."""

    @property
    def to_stderr(self) -> bool:
        """Whether the call itself says that it writes to standard error."""
        given = keywords(self.call)
        err = given.get("err")
        return dotted(given.get("file", self.call)) == "sys.stderr" or (
            isinstance(err, ast.Constant) and err.value is True
        )


def find_outputs(script: Script) -> list[Output]:
    """Return the calls that print or log, in the order of the source; not those on errors."""
    functions = {
        node: "" if _counts_epochs(function) else function.name
        for function in script.functions
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
    }
    handlers = [node for node in script.nodes if isinstance(node, ast.ExceptHandler)]
    on_errors = {node for handler in handlers for node in ast.walk(handler)}
    outputs = []
    for call in script.calls:
        name = dotted(call.func)
        owner = name.rpartition(".")[0].lower()
        how: Literal["printed", "logged"] | None = None
        if name in _PRINTS:
            how = "printed"
        elif last_name(call) in _LOG_METHODS and "log" in owner:
            how = "logged"
        if how is not None and call not in on_errors:
            outputs.append(Output(call, how, functions.get(call, "")))
    return outputs


def _counts_epochs(function: ast.FunctionDef) -> bool:
    """Tell whether a function holds the whole training, so that its name tells no split."""
    heads = [
        node.target if isinstance(node, ast.For) else node.test
        for node in ast.walk(function)
        if isinstance(node, ast.For | ast.While)
    ]
    return any("epoch" in _hole(head).words for head in heads)


def printed_lines(script: Script, output: Output) -> list[Line]:
    """Return the lines that a call writes, once for each value of a loop over literal texts."""
    lines = _lines(_arguments(script, output))
    return [chosen for line in lines for chosen in _unrolled(script, line)]


def _arguments(script: Script, output: Output) -> Line:
    call = output.call
    if output.how == "logged" and len(call.args) > 1:
        return _percent(script.text(call.args[0]), list(call.args[1:]))
    separator = script.text(keywords(call).get("sep"))
    line: Line = []
    for i, argument in enumerate(call.args):
        if i:
            line.append(" " if separator is None else separator)
        line += _parts(script, argument)
    return line


def _parts(script: Script, node: ast.expr) -> Line:
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.JoinedStr(values=values):
            return [_f_string_part(value) for value in values]
        case ast.BinOp(left=left, op=ast.Mod(), right=right) if script.text(left) is not None:
            values = list(right.elts) if isinstance(right, ast.Tuple) else [right]
            return _percent(script.text(left), values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_parts(script, left), *_parts(script, right)]
        case ast.Call(func=ast.Attribute(value=inner, attr="format")):
            return _formatted(script.text(inner), node)
        case ast.Dict(keys=keys, values=values):
            texts = [f"{', ' if i else '{'}{script.text(key)!r}: " for i, key in enumerate(keys)]
            return [p for pair in zip(texts, map(_hole, values), strict=True) for p in pair]
        case _:
            return [_hole(node)]


def _hole(node: ast.expr | None, spec: str = "", words: str = "") -> Hole:
    """Return the hole that an expression fills; `words` are for one that is unknown."""
    if node is None:
        return Hole(tuple(words_of(words)), spec)
    names = []
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str() as name):
                names.append(name)
    found = tuple(word for name in names[:20] for word in words_of(name))
    return Hole(found, spec, node.id if isinstance(node, ast.Name) else None)


def _f_string_part(node: ast.expr) -> str | Hole:
    if isinstance(node, ast.FormattedValue):
        spec = ""
        if isinstance(node.format_spec, ast.JoinedStr):
            # a computed width counts as one
            parts = [getattr(part, "value", None) for part in node.format_spec.values]
            spec = "".join(part if isinstance(part, str) else "9" for part in parts)
        return _hole(node.value, spec)
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _percent(text: str | None, values: list[ast.expr]) -> Line:
    if text is None:
        return []
    line: Line = []
    end = 0
    waiting = iter(values)
    for match in _PERCENT.finditer(text):
        line.append(text[end : match.start()])
        end = match.end()
        if match["kind"] == "%":
            line.append("%")
            continue
        kind = "" if match["kind"] in "rsa" else match["kind"]
        value = None if match["key"] else next(waiting, None)
        line.append(_hole(value, match["spec"].lstrip("-") + kind, match["key"] or ""))
    return [*line, text[end:]]


def _formatted(text: str | None, call: ast.Call) -> Line:
    if text is None:
        return []
    line: Line = []
    given = keywords(call)
    position = 0
    try:
        for literal, field, spec, _ in string.Formatter().parse(text):
            line.append(literal)
            if field is None:
                continue
            root = re.split(r"[.\[]", field, maxsplit=1)[0]
            value: ast.expr | None = given.get(root)
            if not root or root.isdecimal():
                index = int(root) if root else position
                value = call.args[index] if index < len(call.args) else None
                position += not root
            line.append(_hole(value, spec or "", field))
    except ValueError:  # not a format string
        return []
    return line


def _lines(parts: Line) -> Iterator[Line]:
    """Split at line ends; what a pattern cannot hold literally becomes the wildcard `*`."""
    line: Line = []
    for part in parts:
        if isinstance(part, Hole):
            line.append(part)
            continue
        first, *rest = re.split(r"[\r\n]+", part)
        _append(line, first)
        for text in rest:
            yield line
            line = []
            _append(line, text)
    yield line


def _append(line: Line, text: str) -> None:
    text = re.sub(r"\s+", " ", _TERMINAL_CODE.sub("*", text))
    text = re.sub(r"[*{}]+", "*", "".join(c if c.isprintable() else "*" for c in text))
    last = line[-1] if line else None
    if isinstance(last, str):
        line[-1] = last + text
    elif text:
        line.append(text)


def _unrolled(script: Script, line: Line) -> Iterator[Line]:
    """Put each text that a loop gives to a variable in place of the variable's hole."""
    for i, part in enumerate(line):
        texts = script.loops.get(part.variable or "", ()) if isinstance(part, Hole) else ()
        if texts:
            for text in texts:
                known: Line = []
                for other in [*line[:i], text, *line[i + 1 :]]:
                    if isinstance(other, str):
                        _append(known, other)
                    else:
                        known.append(other)
                yield known
            return
    yield line
