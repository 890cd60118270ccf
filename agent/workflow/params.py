"""What of a workflow may be trained: typed parameters, and sets of them that never change.

Every value that somebody proposes is checked here, in code; a prompt only describes the checks.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from ...tools.errors import LuthierError

Kind = Literal["text", "json", "number", "code"]
Check = Callable[[Any], None]
"""Raises ValueError with one sentence for a value that must not be."""

IMPORTS = frozenset(
    {"collections", "functools", "itertools", "math", "numpy", "random", "re", "sklearn"}
    | {"statistics", "torch"}
)
"""Modules that trainable code may import: a rule for readers, not a border; `sandbox` is that."""
_LONGEST_TEXT = 6_000
_LONGEST_CODE = 8_000
_NAME = re.compile(r"[a-z][a-z0-9_.]{0,59}")
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\{[^{}]*\}", re.S)


class ParamError(LuthierError, ValueError):
    """A parameter that is declared wrongly, or a value that it cannot have."""


@dataclass(frozen=True)
class Param:
    """One trainable or frozen piece of a workflow; made by `text`, `json`, `number` or `code`."""

    name: str
    kind: Kind
    value: Any
    doc: str
    trainable: bool
    rule: str
    """Its checks in words, as a proposer is told."""
    parse: Callable[[Any], Any]
    """From decoded JSON to a value; raises ValueError."""

    @staticmethod
    def text(
        name: str,
        value: str,
        doc: str = "",
        *,
        most: int = _LONGEST_TEXT,
        trainable: bool = True,
        check: Check | None = None,
    ) -> Param:
        """Return a text whose placeholders stay the same.

        A placeholder is whatever stands in braces: `str.format` and template engines would read
        attributes there, and a text with others could reach further than the one it replaces.

        Args:
            name: Lower case, such as `prompt.draft`.
            value: The text.
            doc: What it is for.
            most: Characters that it may have.
            trainable: Whether it may be edited.
            check: A further check.

        Raises:
            ParamError: If the name or the value is none.
        """
        kept, *_ = braces = _braces(value)

        def parse(given: Any) -> str:
            if not isinstance(given, str):
                raise ValueError(f"must be a text, but is {_type(given)}")
            if len(given) > most:
                raise ValueError(f"has {len(given):,} characters, of which {most:,} are allowed")
            if _braces(given) != braces:
                raise ValueError(
                    f"must keep exactly the placeholders {', '.join(kept) or '(none)'}"
                )
            _written(given)
            return given

        rule = f"text of at most {most:,} characters"
        if kept:
            rule += f" with exactly the placeholders {', '.join(kept)}"
        return _made(name, "text", value, doc, trainable, rule, parse, check)

    @staticmethod
    def json(
        name: str,
        value: Any,
        schema: type[BaseModel],
        doc: str = "",
        *,
        trainable: bool = True,
        check: Check | None = None,
    ) -> Param:
        """Return JSON-like data that a pydantic model accepts as it stands, without conversions.

        Args:
            name: As of `text`.
            value: Data of the model's form, or an instance of it.
            schema: The model.
            doc: What it is for.
            trainable: Whether it may be edited.
            check: A further check, of the data.

        Raises:
            ParamError: If the name or the value is none.
        """

        def parse(given: Any) -> Any:
            text = _written(given)
            try:
                found = schema.model_validate_json(text, strict=True)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"]))
                raise ValueError(f"{where or 'the data'}: {first['msg']}") from None
            return found.model_dump(mode="json")

        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        rule = f"JSON of this schema: {_dump(schema.model_json_schema())}"
        return _made(name, "json", value, doc, trainable, rule, parse, check)

    @staticmethod
    def number(
        name: str,
        value: float,
        low: float,
        high: float,
        doc: str = "",
        *,
        trainable: bool = True,
        check: Check | None = None,
    ) -> Param:
        """Return a number in [low, high]; an integer stays one.

        Raises:
            ParamError: If the name, the range or the value is none.
        """
        whole = isinstance(value, int)

        def parse(given: Any) -> float:
            if isinstance(given, bool) or not isinstance(given, int if whole else int | float):
                raise ValueError(f"must be {'an integer' if whole else 'a number'}, not {given!r}")
            if not (math.isfinite(given) and low <= given <= high):
                raise ValueError(f"is {given!r}, outside of [{low:g}, {high:g}]")
            return given if whole else float(given)

        rule = f"{'integer' if whole else 'number'} in [{low:g}, {high:g}]"
        return _made(name, "number", value, doc, trainable, rule, parse, check)

    @staticmethod
    def code(
        name: str,
        value: str,
        doc: str = "",
        *,
        imports: frozenset[str] = IMPORTS,
        most: int = _LONGEST_CODE,
        trainable: bool = True,
        check: Check | None = None,
    ) -> Param:
        """Return the source of one Python function, whose name and arguments stay the same.

        It is only ever run in the sandbox.

        Args:
            name: As of `text`.
            value: The source; imports may stand before the function or in it.
            doc: What it is for.
            imports: Top-level modules that it may import.
            most: Characters that it may have.
            trainable: Whether it may be edited.
            check: A further check.

        Raises:
            ParamError: If the name or the value is none.
        """
        try:
            signature = signature_of(value)
        except ValueError as error:
            raise ParamError(f"parameter {name!r} {error}") from None

        def parse(given: Any) -> str:
            if not isinstance(given, str):
                raise ValueError(f"must be source code, but is {_type(given)}")
            if len(given) > most:
                raise ValueError(f"has {len(given):,} characters, of which {most:,} are allowed")
            if signature_of(given) != signature:
                raise ValueError(f"must define exactly `{signature}`, not `{signature_of(given)}`")
            foreign = sorted(_imported(given) - imports)
            if foreign:
                raise ValueError(f"imports {', '.join(foreign)}; allowed are {_list(imports)}")
            _written(given)
            return given

        rule = f"Python source that defines exactly `{signature}` and imports only {_list(imports)}"
        return _made(name, "code", value, doc, trainable, rule, parse, check)

    def shown(self) -> str:
        """Return the value as text."""
        return self.value if isinstance(self.value, str) else _dump(self.value, indent=1)


def _made(
    name: str,
    kind: Kind,
    value: Any,
    doc: str,
    trainable: bool,
    rule: str,
    parse: Callable[[Any], Any],
    check: Check | None,
) -> Param:
    def checked(given: Any) -> Any:
        found = parse(given)
        if check is not None:
            check(found)
        return found

    if not _NAME.fullmatch(name):
        raise ParamError(f"{name!r} is no name of a parameter; use lower case, as `prompt.draft`")
    try:
        return Param(name, kind, checked(value), doc, trainable, rule, checked)
    except ValueError as error:
        raise ParamError(f"parameter {name!r} {error}") from None


class ParamSet(Mapping[str, Any]):
    """Values by name, immutable; other values make another set."""

    def __init__(self, params: Iterator[Param] | list[Param] | tuple[Param, ...]) -> None:
        """Take parameters of different names.

        Raises:
            ParamError: If two have one name.
        """
        self.params: dict[str, Param] = {}
        for each in params:
            if each.name in self.params:
                raise ParamError(f"two parameters are named {each.name!r}; rename one")
            self.params[each.name] = each

    def __getitem__(self, name: str) -> Any:
        return self.params[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)

    @property
    def trainable(self) -> frozenset[str]:
        """The names of those that may be edited."""
        return frozenset(name for name, each in self.params.items() if each.trainable)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all names and values, in hex, shortened to 16 digits."""
        text = _dump(dict(self), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def but(self, values: Mapping[str, Any]) -> ParamSet:
        """Return the set with some values changed.

        Args:
            values: As data that `Param.parse` takes.

        Raises:
            ParamError: If a name is unknown or a value cannot be.
        """
        changed = []
        for name, value in values.items():
            if name not in self.params:
                raise ParamError(f"there is no parameter {name!r}; there are {_list(self)}")
            try:
                changed.append(replace(self.params[name], value=self.params[name].parse(value)))
            except ValueError as error:
                raise ParamError(f"parameter {name!r} {error}") from None
        return ParamSet(list((self.params | {each.name: each for each in changed}).values()))

    def changes(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that differ from another set's."""
        return {name: value for name, value in self.items() if value != before.get(name)}

    def diff(self, before: ParamSet) -> str:
        """Return a unified diff from another set of the same parameters to this one."""
        parts = list[str]()
        for name, each in self.params.items():
            old, new = before.params[name].shown(), each.shown()
            parts += difflib.unified_diff(
                old.splitlines(), new.splitlines(), f"a/{name}", f"b/{name}", lineterm=""
            )
        return "\n".join(parts)


def signature_of(source: str) -> str:
    """Return name and arguments of the one function that a source defines.

    Raises:
        ValueError: If it does not parse, or is not imports and one function.
    """
    try:
        body = ast.parse(source).body
        functions = [node for node in body if isinstance(node, ast.FunctionDef)]
        signatures = [f"{each.name}({ast.unparse(each.args)})" for each in functions]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"does not parse{line}: {getattr(error, 'msg', error)}") from None
    others = [n for n in body if not isinstance(n, ast.FunctionDef | ast.Import | ast.ImportFrom)]
    if others and others[0] is body[0] and _is_constant(body[0]):  # the docstring
        del others[0]
    if len(functions) != 1 or others or functions[0].decorator_list:
        raise ValueError("must be imports and one plain function, nothing beside them")
    return signatures[0]


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _imported(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").partition(".")[0])
    return found


def _braces(text: str) -> tuple[list[str], int, int]:
    """Return what stands in braces, and how many there are, which tells if some are nested."""
    return sorted(_PLACEHOLDER.findall(text)), text.count("{"), text.count("}")


def _written(data: Any) -> str:
    """Return data as JSON that any file and database takes.

    Raises:
        ValueError: If a number is not finite, or a text has half a character.
    """
    try:
        text = _dump(data, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has characters that are none in Unicode, such as half a pair") from None
    except ValueError:
        raise ValueError("has a number that is not finite") from None
    return text


def _dump(data: Any, **options: Any) -> str:
    return json.dumps(data, ensure_ascii=False, **options)


def _type(value: Any) -> str:
    return type(value).__name__


def _list(names: Any) -> str:
    return ", ".join(sorted(names))
