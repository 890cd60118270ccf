"""The syntax tree of a training script, with the look-ups that its readers need.

Nothing of a script is ever run or imported; values come from `ast.literal_eval` alone.
"""

from __future__ import annotations

import ast
import io
import math
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final, TypeGuard

from .script_declared import KINDS, Kind, kind_of
from .space import Scalar

_LARGEST_INTEGER = 2**53
_LONGEST_RANGE = 32
_LONGEST_TEXT = 200
_ENUMS = {"Enum", "StrEnum", "IntEnum"}


class Computed(Enum):
    """The type of `COMPUTED`."""

    COMPUTED = "computed"


COMPUTED: Final = Computed.COMPUTED
"""Stands for the value of an expression that only running the script would tell."""


@dataclass(frozen=True)
class Annotation:
    """What a type annotation says about a value."""

    kind: Kind | None = None
    choices: tuple[Scalar, ...] = ()
    details: tuple[ast.expr, ...] = ()
    """The arguments of `Annotated` after the type."""


@dataclass(frozen=True)
class Script:
    """A parsed script."""

    source: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def calls(self) -> list[ast.Call]:
        """Every call, in the order of the source."""
        found = [node for node in self.nodes if isinstance(node, ast.Call)]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset))

    @cached_property
    def functions(self) -> list[ast.FunctionDef]:
        """Every function, in the order of the source."""
        found = [node for node in self.nodes if isinstance(node, ast.FunctionDef)]
        return sorted(found, key=lambda node: node.lineno)

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """The classes at the top level."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """The names that get a value once, in a plain assignment at the top level."""
        times = Counter(self._bound_names())
        return {name: value for name, value, _ in assignments(self.tree.body) if times[name] == 1}

    def _bound_names(self) -> Iterator[str]:
        """Yield a global name for each place that binds it."""
        waiting: list[ast.AST] = list(self.tree.body)
        while waiting:
            match waiting.pop():
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                    pass  # names in there are its own
                case ast.Name(id=name, ctx=ast.Store()):
                    yield name
                case node:
                    waiting += ast.iter_child_nodes(node)
        for node in self.nodes:
            if isinstance(node, ast.Global):
                yield from node.names

    @cached_property
    def loops(self) -> dict[str, tuple[str, ...]]:
        """A loop's variable to the literal texts that it takes: `for phase in ["train", "val"]`."""
        found: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            match node:
                case ast.For(target=ast.Name(id=name), iter=ast.List() | ast.Tuple() as texts):
                    values = self._scalars(texts.elts) or ()
                    if all(isinstance(value, str) for value in values):
                        found[name] = tuple(str(value) for value in values)
        return found

    @cached_property
    def comments(self) -> dict[int, str]:
        """Line number to the comment at the end of that line of code."""
        comments = {}
        try:
            for token in tokenize.generate_tokens(io.StringIO(self.source).readline):
                if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
                    comments[token.start[0]] = token.string.lstrip("#: ")
        except (tokenize.TokenError, SyntaxError):  # comments are a courtesy
            pass
        return comments

    def imports(self, module: str) -> bool:
        """Tell whether the script imports a module, or from it or from a module below it."""
        for node in self.nodes:
            match node:
                case ast.Import(names=names):
                    if any(alias.name.split(".")[0] == module for alias in names):
                        return True
                case ast.ImportFrom(module=str() as name) if name.split(".")[0] == module:
                    return True
        return False

    def literal(self, node: ast.expr | None) -> object:
        """Return the value of a literal, or of a constant that holds one, or `COMPUTED`."""
        if isinstance(node, ast.Name):
            node = self.constants.get(node.id)
        return COMPUTED if node is None else literal(node)

    def scalar(self, node: ast.expr | None) -> Scalar | Computed:
        """Return a literal number, text, truth value or None, or `COMPUTED`."""
        value = self.literal(node)
        return value if is_scalar(value) else COMPUTED

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
        node = _unwrapped(node)
        if isinstance(node, ast.Name):
            if node.id in self.classes:
                return self.enumeration(node.id)
            node = _unwrapped(self.constants.get(node.id, node))
        match node:
            case ast.Dict(keys=keys):
                return self._scalars(keys)
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return self._scalars(elements)
            case ast.Call(func=ast.Name(id="range"), args=[_, *_] as ends):
                return self._range(ends)
        return None

    def _scalars(self, nodes: Sequence[ast.expr | None]) -> tuple[Scalar, ...] | None:
        """Return the distinct values, or None if one of them is computed."""
        distinct: dict[tuple[type, Scalar], None] = {}
        for node in nodes:
            value = self.scalar(node)
            if value is COMPUTED:
                return None
            distinct[type(value), value] = None
        return tuple(value for _, value in distinct)

    def _range(self, nodes: list[ast.expr]) -> tuple[Scalar, ...] | None:
        ends = [end for node in nodes if isinstance(end := self.scalar(node), int)]
        if len(ends) != len(nodes) or len(ends) > 3 or ends[2:] == [0]:
            return None
        values = range(*ends)
        return tuple(values) if len(values) <= _LONGEST_RANGE else None

    def enumeration(self, name: str) -> tuple[Scalar, ...] | None:
        """Return the values of an `Enum` class of the script, or None if it is not one."""
        node = self.classes.get(name)
        if node is None or not any(last_name(base) in _ENUMS for base in node.bases):
            return None
        return self._scalars([value for _, value, _ in assignments(node.body)]) or None

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
        values = self._scalars(parts) if outer == "Literal" else None
        return Annotation(kind_of(values[0]), values) if values else Annotation()


def assignments(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr, ast.stmt]]:
    """Yield (name, value, statement) for each assignment of a value to one plain name."""
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value, node
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value, node


def literal(node: ast.expr) -> object:
    """Return the value of a literal, or `COMPUTED`; a constant's name is not looked up."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return COMPUTED


def is_scalar(value: object) -> TypeGuard[Scalar]:
    """Tell whether a value can be a default or a choice: finite, printable, of ordinary size."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) <= _LARGEST_INTEGER
    if isinstance(value, str):
        return value.isprintable() and len(value) <= _LONGEST_TEXT
    return value is None


def keywords(call: ast.Call) -> dict[str, ast.expr]:
    """Return the keyword arguments of a call; what comes by `**` is not among them."""
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, otherwise an empty text."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def last_name(node: ast.expr) -> str:
    """Return `c` for `a.b.c`, `a.b.c(...)` or `c`, otherwise an empty text."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _unwrapped(node: ast.expr) -> ast.expr:
    while True:
        match node:
            case ast.Call(func=ast.Attribute(value=inner, attr="keys"), args=[]):
                node = inner
            case ast.Call(func=ast.Name(id="list" | "tuple" | "sorted"), args=[inner]):
                node = inner
            case _:
                return node
