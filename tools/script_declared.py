"""What a script declares: its arguments as data, and the literals of its source.

Nothing of a script is ever run or imported; values come from `ast.literal_eval` alone.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from .space import Scalar

Kind = Literal["float", "int", "bool", "str"]

KINDS: dict[str, Kind] = {
    name: kind
    for kind, names in {
        "float": ("float", "FLOAT", "FloatRange"),
        "int": ("int", "INT", "IntRange"),
        "bool": ("bool", "BOOL"),
        "str": ("str", "STRING"),
    }.items()
    for name in names
}  # type: ignore[assignment]  # mypy widens the keys of a literal dict to str
"""The last word of a type's name to its kind."""

MISSING = object()
"""What `Script.literal` returns for an expression that has to be computed."""

MEANING_LENGTH = 120
_LARGEST_INTEGER = 2**53
_DEFAULT_IN_HELP = re.compile(r"\s*[(\[]\s*default\b[^)\]]*(?:\([^)]*\)\w?)?[^)\]]*[)\]]", re.I)
_NOT_LITERAL = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


class Remark(NamedTuple):
    """One sentence about one line of a script."""

    line: int
    text: str


@dataclass(frozen=True)
class Declared:
    """One argument, constant or variable of a script that takes a value."""

    name: str
    argument: str
    """How the value goes in, as `ScriptObjective.arguments` writes it."""
    kind: Kind
    line: int
    default: Scalar = None
    choices: tuple[Scalar, ...] = ()
    low: float | None = None
    high: float | None = None
    meaning: str | None = None
    required: bool = False
    typed: bool = True
    """Whether the script states the kind; otherwise it was read off the default."""

    @property
    def shown(self) -> str:
        """The argument as a person writes it: `--amp`, not `--amp/`."""
        return next(part for part in self.argument.split("/") if part)


@dataclass
class Declarations:
    """What one way of declaring arguments yields."""

    declared: list[Declared] = field(default_factory=list)
    unread: list[Remark] = field(default_factory=list)
    command: tuple[str, ...] = ()
    """Words that must follow the script in the command: a sub-command."""

    def add(self, found: Declared | Remark) -> None:
        """Sort one finding into what was read and what was not."""
        if isinstance(found, Remark):
            self.unread.append(found)
        elif any(found.name == other.name for other in self.declared):
            text = f"`{found.shown}` is declared twice; the first declaration was read"
            self.unread.append(Remark(found.line, text))
        else:
            self.declared.append(found)


@dataclass(frozen=True)
class Annotation:
    """What a type annotation says about a value."""

    kind: Kind | None = None
    choices: tuple[Scalar, ...] = ()
    details: tuple[ast.expr, ...] = ()
    """The arguments of `Annotated` after the type."""


@dataclass(frozen=True)
class Script:
    """A parsed script with the look-ups that every reader needs."""

    source: str
    tree: ast.Module

    @cached_property
    def assignments(self) -> list[tuple[str, ast.expr, ast.stmt]]:
        """The plain assignments to one name at the top level, in order."""
        return list(assignments(self.tree.body))

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """The names that are assigned exactly once at the top level."""
        names = [name for name, _, _ in self.assignments]
        return {name: node for name, node, _ in self.assignments if names.count(name) == 1}

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """The classes at the top level."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def calls(self) -> list[ast.Call]:
        """Every call, in the order of the source."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset))

    @cached_property
    def functions(self) -> list[ast.FunctionDef]:
        """Every function, in the order of the source."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]
        return sorted(found, key=lambda node: node.lineno)

    @cached_property
    def comments(self) -> dict[int, str]:
        """Line number to the comment at its end."""
        comments = {}
        try:
            for token in tokenize.generate_tokens(io.StringIO(self.source).readline):
                if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
                    comments[token.start[0]] = token.string.lstrip("#: ")
        except (tokenize.TokenError, SyntaxError):  # comments are a courtesy
            pass
        return comments

    def literal(self, node: ast.expr | None) -> object:
        """Return the value of a literal, or of a constant that holds one, or `MISSING`."""
        if isinstance(node, ast.Name):
            node = self.constants.get(node.id)
        if node is None:
            return MISSING
        try:
            return ast.literal_eval(node)
        except _NOT_LITERAL:
            return MISSING

    def scalar(self, node: ast.expr | None) -> Scalar | object:
        """Return a literal number, text, truth value or None, or `MISSING`."""
        value = self.literal(node)
        return value if is_scalar(value) else MISSING

    def text(self, node: ast.expr | None) -> str | None:
        """Return a literal text, or None."""
        value = self.literal(node)
        return value if isinstance(value, str) else None

    def number(self, node: ast.expr | None) -> float | None:
        """Return a literal finite number, or None."""
        value = self.scalar(node)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def choices(self, node: ast.expr) -> tuple[Scalar, ...] | None:
        """Return the values of a literal list, the keys of a literal dict, or None.

        `list(...)`, `sorted(...)`, `tuple(...)`, `range(...)` and `.keys()` around them are seen
        through; so is a constant's name.
        """
        match node:
            case ast.Call(func=ast.Attribute(value=inner, attr="keys"), args=[]):
                return self.choices(inner)
            case ast.Call(func=ast.Name(id="list" | "tuple" | "sorted"), args=[inner]):
                return self.choices(inner)
            case ast.Call(func=ast.Name(id="range"), args=[_, *_]):
                return self._range(node)
            case ast.Name(id=name) if name in self.classes:
                return self.enumeration(name)
            case ast.Name(id=name) if name in self.constants:
                inner = self.constants[name]
                return None if isinstance(inner, ast.Name) else self.choices(inner)
            case ast.Dict(keys=keys) if None not in keys:
                values = [self.scalar(key) for key in keys]
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                values = [self.scalar(element) for element in elements]
            case _:
                return None
        return None if MISSING in values else _distinct(values)

    def _range(self, node: ast.Call) -> tuple[Scalar, ...] | None:
        ends = [self.scalar(argument) for argument in node.args]
        if not all(isinstance(end, int) for end in ends) or len(ends) > 3 or ends[2:] == [0]:
            return None
        values = range(*ends)  # type: ignore[arg-type]
        return tuple(values) if len(values) <= 32 else None

    def enumeration(self, name: str) -> tuple[Scalar, ...] | None:
        """Return the values of an `Enum` class of the script, or None if it is not one."""
        node = self.classes.get(name)
        if node is None or not any(last_name(b) in _ENUMS for b in node.bases):
            return None
        values = [self.scalar(value) for _, value, _ in assignments(node.body)]
        return None if MISSING in values or not values else _distinct(values)

    def annotation(self, node: ast.expr | None) -> Annotation:
        """Read a type annotation: plain types, Optional, Literal, Annotated, enumerations."""
        match node:
            case ast.Name(id=name) if name in self.classes:
                return Annotation("str", self.enumeration(name) or ())
            case ast.Name() | ast.Attribute():
                return Annotation(KINDS.get(last_name(node)))
            case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
                return self.annotation(left)
            case ast.BinOp(left=ast.Constant(value=None), op=ast.BitOr(), right=right):
                return self.annotation(right)
            case ast.Subscript(value=outer, slice=inner):
                return self._subscript(last_name(outer), inner)
            case _:
                return Annotation()

    def _subscript(self, outer: str, inner: ast.expr) -> Annotation:
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if outer == "Optional":
            return self.annotation(inner)
        if outer == "Annotated" and parts:
            base = self.annotation(parts[0])
            return Annotation(base.kind, base.choices, tuple(parts[1:]))
        values = [self.scalar(part) for part in parts]
        if outer != "Literal" or not values or MISSING in values:
            return Annotation()
        return Annotation(kind_of(values[0]), _distinct(values))


_ENUMS = {"Enum", "StrEnum", "IntEnum"}


def assignments(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr, ast.stmt]]:
    """Yield (name, value, statement) for each assignment of a value to one plain name."""
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value, node
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value, node


def keywords(call: ast.Call) -> dict[str, ast.expr]:
    """Return the keyword arguments of a call; what comes by `**` is not among them."""
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, otherwise an empty text."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def last_name(node: ast.expr) -> str:
    """Return `c` for `a.b.c`, `a.b.c(...)` or `c`, otherwise an empty text."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_scalar(value: object) -> bool:
    """Tell whether a value can be a default or a choice: finite, printable, of ordinary size."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) <= _LARGEST_INTEGER
    return value is None or (isinstance(value, str) and value.isprintable())


def kind_of(value: object) -> Kind | None:
    """Return the kind of a literal value."""
    return KINDS.get(type(value).__name__)


def one_line(text: str | None, length: int = MEANING_LENGTH) -> str | None:
    """Make any text of a script one short printable line; None if nothing is left."""
    if not text:
        return None
    text = _DEFAULT_IN_HELP.sub("", text).replace("%%", "%")
    visible = (" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 20 * length])
    line = " ".join("".join(visible).split()).rstrip(" ;,")
    return (line if len(line) <= length else line[: length - 1].rstrip() + "…") or None


def _distinct(values: list[Scalar | object]) -> tuple[Scalar, ...]:
    distinct: list[Scalar] = []
    for value in values:
        assert value is None or isinstance(value, bool | int | float | str)
        if not any(type(value) is type(other) and value == other for other in distinct):
            distinct.append(value)
    return tuple(distinct)
