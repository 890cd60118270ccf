"""Reads parameters that stand in the source: config classes, constants, environment variables."""

from __future__ import annotations

import ast
import re
from dataclasses import replace

from .script_declared import KINDS, Declarations, Declared, Kind, Remark, kind_of, one_line
from .script_source import (
    COMPUTED,
    Annotation,
    Script,
    assignments,
    dotted,
    is_scalar,
    keywords,
    last_name,
    literal,
)

_CONFIG_NAME = re.compile(r"(config|cfg|args|arguments|hparams|hyperparameters|settings)$", re.I)
_CONFIG_BASES = {"BaseModel", "BaseSettings"}
_FIELD_CALLS = {"field", "Field"}
_ENVIRONMENT_READERS = {"os.environ.get", "environ.get", "os.getenv", "getenv"}


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
    declared = _literal(script, where, value, statement, meaning)
    setter = _set_elsewhere(script, owner.name, name)
    if isinstance(declared, Remark) or setter is None:
        return declared if isinstance(declared, Remark) else replace(declared, name=name)
    return Remark(setter, f"`{where}` may be set again where {owner.name} is made")


def _field_help(script: Script, given: dict[str, ast.expr]) -> str | None:
    metadata = script.literal(given.get("metadata"))
    text = metadata.get("help") if isinstance(metadata, dict) else None
    return script.text(given.get("description")) or (text if isinstance(text, str) else None)


def _docstring(owner: ast.ClassDef, statement: ast.stmt) -> str | None:
    match owner.body[owner.body.index(statement) + 1 :][:1]:
        case [ast.Expr(value=ast.Constant(value=str() as text))]:
            return text
    return None


def _set_elsewhere(script: Script, owner: str, name: str) -> int | None:
    """Return the line of a call of the class that may give the field another value."""
    for call in script.calls:
        unnamed = call.args or any(keyword.arg is None for keyword in call.keywords)
        if dotted(call.func) == owner and (unnamed or name in keywords(call)):
            return call.lineno
    return None


def _literal(
    script: Script, where: str, value: ast.expr, statement: ast.stmt, meaning: str | None
) -> Declared | Remark:
    # a name would be replaced where it is defined, not here, so only a literal counts
    default = literal(value)
    if default is COMPUTED:
        return Remark(statement.lineno, f"`{where}` is computed")
    if not is_scalar(default):
        return Remark(statement.lineno, f"`{where}` holds several values or an unusual one")
    annotation = Annotation()
    if isinstance(statement, ast.AnnAssign):
        annotation = script.annotation(statement.annotation)
    kind = annotation.kind or kind_of(default)
    if kind is None:
        return Remark(statement.lineno, f"`{where}` is None and has no readable type")
    return Declared(
        name=where,
        argument=where,
        kind=kind,
        line=statement.lineno,
        default=default,
        choices=annotation.choices,
        meaning=one_line(meaning),
        typed=isinstance(statement, ast.AnnAssign),
    )


def read_constants(script: Script) -> Declarations:
    """Return the constants at the top level.

    A lower-case name counts too where it is assigned once; whether it is a hyperparameter is
    told by its name (`ranges.propose`, `known_only`).
    """
    found = Declarations()
    for name, value, statement in assignments(script.tree.body):
        if name.startswith("_") or not (name.isupper() or name.islower()):
            continue
        declared = _literal(script, name, value, statement, script.comments.get(statement.lineno))
        if name not in script.constants:
            declared = Remark(statement.lineno, f"`{name}` is assigned more than once")
        if isinstance(declared, Declared):
            found.add(replace(declared, name=name.lower()))
        elif name.isupper():  # other lower-case names are ordinary variables
            found.add(declared)
    return found


def read_environment(script: Script) -> Declarations:
    """Return the environment variables that a script reads; without a default they are remarks."""
    found = Declarations(unread=_without_default(script))
    kinds: dict[ast.expr, Kind] = {
        call.args[0]: kind
        for call in script.calls
        if call.args and (kind := KINDS.get(dotted(call.func))) in {"int", "float"}
    }
    for call in script.calls:
        if dotted(call.func) in _ENVIRONMENT_READERS and call.args:
            found.add(_variable(script, call, kinds.get(call, "str")))
    return found


def _without_default(script: Script) -> list[Remark]:
    return [
        Remark(node.lineno, f"`{name}` is read without a default; give it in `environment`")
        for node in script.nodes
        if isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and dotted(node.value) in {"os.environ", "environ"}
        and (name := script.text(node.slice)) is not None
        and name.isidentifier()
    ]


def _variable(script: Script, call: ast.Call, kind: Kind) -> Declared | Remark:
    name = script.text(call.args[0])
    if name is None or not name.isidentifier():
        return Remark(call.lineno, "The name of an environment variable is computed")
    node = call.args[1] if len(call.args) > 1 else keywords(call).get("default")
    default = None if node is None else script.scalar(node)
    if default is COMPUTED:
        return Remark(call.lineno, f"`{name}` has a default that is computed")
    return Declared(
        name=name.lower(),
        argument=name,
        kind=kind,
        line=call.lineno,
        default=default,
        meaning=one_line(script.comments.get(call.lineno)),
    )
