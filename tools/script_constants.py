"""Reads parameters that stand in the source: config classes, constants, environment variables."""

from __future__ import annotations

import ast
import re
from dataclasses import replace

from .script_declared import (
    KINDS,
    MISSING,
    Declarations,
    Declared,
    Kind,
    Remark,
    Script,
    assignments,
    dotted,
    is_scalar,
    keywords,
    kind_of,
    last_name,
    one_line,
)

_CONFIG_NAME = re.compile(r"(config|cfg|args|arguments|hparams|hyperparameters|settings)$", re.I)
_CONFIG_BASES = {"BaseModel", "BaseSettings"}
_FIELD_CALLS = {"field", "Field"}
_READERS = {"os.environ.get", "environ.get", "os.getenv", "getenv"}


def read_classes(script: Script) -> Declarations:
    """Return the fields of dataclasses and of other config classes at the top level."""
    found = Declarations()
    for node in script.classes.values():
        if not _is_config(node):
            continue
        for name, value, statement in assignments(node.body):
            declared = _field(script, node, name, value, statement)
            if isinstance(declared, Declared) and any(d.name == name for d in found.declared):
                declared = replace(declared, name=f"{node.name}_{name}".lower())
            found.add(declared)
    return found


def _is_config(node: ast.ClassDef) -> bool:
    if any(last_name(decorator) == "dataclass" for decorator in node.decorator_list):
        return True
    return _CONFIG_NAME.search(node.name) is not None and (
        not node.bases or any(last_name(base) in _CONFIG_BASES for base in node.bases)
    )


def _field(
    script: Script, owner: ast.ClassDef, name: str, value: ast.expr, statement: ast.stmt
) -> Declared | Remark:
    where = f"{owner.name}.{name}"
    meaning = script.comments.get(statement.lineno) or _docstring(owner, statement)
    if isinstance(value, ast.Call) and last_name(value) in _FIELD_CALLS:
        given = keywords(value)
        meaning = _field_help(script, given) or meaning
        default = given.get("default")
        if default is None and last_name(value) == "Field" and value.args:
            default = value.args[0]
        if default is None:
            return Remark(statement.lineno, f"`{where}` has no literal default")
        value = default
    declared = _literal(script, where, value, statement, one_line(meaning))
    if isinstance(declared, Declared):
        setter = _set_elsewhere(script, owner.name, name)
        if setter is not None:
            return Remark(setter, f"`{where}` is set again where {owner.name} is made")
        return replace(declared, name=name)
    return declared


def _field_help(script: Script, given: dict[str, ast.expr]) -> str | None:
    for key in ("description", "help"):
        if key in given:
            return script.text(given[key])
    metadata = script.literal(given.get("metadata"))
    text = metadata.get("help") if isinstance(metadata, dict) else None
    return text if isinstance(text, str) else None


def _docstring(owner: ast.ClassDef, statement: ast.stmt) -> str | None:
    following = owner.body[owner.body.index(statement) + 1 :][:1]
    match following:
        case [ast.Expr(value=ast.Constant(value=str() as text))]:
            return text
    return None


def _set_elsewhere(script: Script, owner: str, name: str) -> int | None:
    for call in script.calls:
        if dotted(call.func) == owner and name in keywords(call):
            return call.lineno
    return None


def _literal(
    script: Script, where: str, value: ast.expr, statement: ast.stmt, meaning: str | None
) -> Declared | Remark:
    try:
        # a name would be replaced where it is defined, not here, so only a literal counts
        default = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return Remark(statement.lineno, f"`{where}` is computed")
    if not is_scalar(default):
        return Remark(statement.lineno, f"`{where}` holds several values or an unusual one")
    annotated = isinstance(statement, ast.AnnAssign)
    noted = (
        script.annotation(statement.annotation) if isinstance(statement, ast.AnnAssign) else None
    )
    kind: Kind | None = (noted.kind if noted else None) or kind_of(default)
    if kind is None:
        return Remark(statement.lineno, f"`{where}` is None and has no readable type")
    return Declared(
        name=where,
        argument=where,
        kind=kind,
        line=statement.lineno,
        default=default,
        choices=noted.choices if noted else (),
        meaning=meaning,
        typed=annotated,
    )


def read_constants(script: Script) -> Declarations:
    """Return the constants at the top level.

    A lower-case name counts too where it is assigned once; whether it is a hyperparameter is
    told by its name (`ranges.propose`, `known_only`).
    """
    found = Declarations()
    for name, value, statement in script.assignments:
        loud = name.isupper()
        if name.startswith("_") or not (loud or name.islower()):
            continue
        if name not in script.constants:
            if loud:
                text = f"`{name}` is assigned more than once"
                found.unread.append(Remark(statement.lineno, text))
            continue
        meaning = one_line(script.comments.get(statement.lineno))
        declared = _literal(script, name, value, statement, meaning)
        if isinstance(declared, Declared):
            found.add(replace(declared, name=name.lower()))
        elif loud:
            found.unread.append(declared)
    return found


def read_environment(script: Script) -> Declarations:
    """Return the environment variables that a script reads with a default."""
    found = Declarations()
    wrapped: dict[ast.expr, Kind] = {}
    for call in script.calls:
        kind = KINDS.get(dotted(call.func))
        if kind in {"int", "float"} and call.args:
            wrapped[call.args[0]] = kind
        if dotted(call.func) in _READERS and call.args:
            declared = _variable(script, call, wrapped.get(call, "str"))
            found.add(declared)
    return found


def _variable(script: Script, call: ast.Call, kind: Kind) -> Declared | Remark:
    name = script.text(call.args[0])
    if name is None or not name.isidentifier():
        return Remark(call.lineno, "The name of an environment variable is computed")
    node = call.args[1] if len(call.args) > 1 else keywords(call).get("default")
    default = None if node is None else script.scalar(node)
    if default is MISSING:
        return Remark(call.lineno, f"`{name}` has a default that is computed")
    return Declared(
        name=name.lower(),
        argument=name,
        kind=kind,
        line=call.lineno,
        default=default,  # type: ignore[arg-type]  # `scalar` returns nothing else
        meaning=one_line(script.comments.get(call.lineno)),
    )
