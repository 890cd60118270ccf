"""Reads `click` options, and what `click` and `typer` commands have in common."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from .script_declared import (
    KINDS,
    TRUTH_WORDS,
    Declarations,
    Declared,
    Kind,
    Remark,
    kind_of,
    one_line,
)
from .script_source import COMPUTED, Script, dotted, is_scalar, keywords, last_name
from .space import Scalar

_TRAINING_WORDS = ("train", "fit", "main", "run")
_SEVERAL = ("multiple", "nargs", "count")


def read_click(script: Script) -> Declarations:
    """Return what a script declares by `@click.option`."""
    commands = {
        function: decorators
        for function in script.functions
        if (decorators := [d for d in function.decorator_list if isinstance(d, ast.Call)])
        and any(dotted(d.func) in {"click.option", "option"} for d in decorators)
    }
    chosen = training_command(list(commands))
    if chosen is None:
        return Declarations()
    found = Declarations(
        unread=commands_passed_over(chosen, list(commands)), command=_sub_command(script, chosen)
    )
    for decorator in commands[chosen]:
        match dotted(decorator.func):
            case "click.option" | "option":
                found.add(_option(script, decorator))
            case "click.argument" | "argument":
                name = script.text(decorator.args[0]) if decorator.args else None
                found.add(positional(decorator.lineno, name or "?"))
    return found


def training_command(functions: Sequence[ast.FunctionDef]) -> ast.FunctionDef | None:
    """Return the command whose name speaks of training, failing that the first one."""
    for word in _TRAINING_WORDS:
        for function in functions:
            if word in function.name.lower():
                return function
    return functions[0] if functions else None


def commands_passed_over(
    chosen: ast.FunctionDef, functions: Sequence[ast.FunctionDef]
) -> list[Remark]:
    """Say which commands were not read."""
    return [
        Remark(other.lineno, f"The command `{other.name}` was not read; `{chosen.name}` was")
        for other in functions
        if other is not chosen
    ]


def positional(line: int, name: str) -> Remark:
    """Say that an argument has no option."""
    text = f"Positional argument `{name}` has no option name; add its value to `command`"
    return Remark(line, text)


def command_word(script: Script, decorator: ast.expr, function: ast.FunctionDef) -> str:
    """Return the word by which a command is called."""
    name = None
    if isinstance(decorator, ast.Call):
        node = decorator.args[0] if decorator.args else keywords(decorator).get("name")
        name = script.text(node)
    return (
        name if name is not None and name.isprintable() else function.name.lower().replace("_", "-")
    )


def _sub_command(script: Script, function: ast.FunctionDef) -> tuple[str, ...]:
    """Return the command's word if it hangs on a group."""
    for decorator in function.decorator_list:
        name = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if name.endswith(".command") and name != "click.command":
            return (command_word(script, decorator, function),)
    return ()


class Options(NamedTuple):
    """The words by which one option is declared."""

    option: str
    off: str | None
    """The option that switches it off."""
    name: str | None
    """The name of the function's parameter, if it is stated."""


def options(words: list[str]) -> Options | None:
    """Sort the declaring words; the long option is preferred. None if there is no option."""
    dashed = [word for word in words if word.startswith("-")]
    if not dashed:
        return None
    option = max(dashed, key=lambda word: (word.startswith("--"), "/" in word))
    on, _, off = (part.strip() for part in option.partition("/"))
    return Options(on, off or None, next((word for word in words if word.isidentifier()), None))


def _option(script: Script, call: ast.Call) -> Declared | Remark:
    words = [script.text(argument) for argument in call.args]
    given = keywords(call)
    named = options([word for word in words if word is not None])
    if named is None or None in words or not is_scalar(named.option):
        return Remark(call.lineno, "An option's name is computed")
    for several in _SEVERAL:
        if several in given:
            return Remark(call.lineno, f"`{named.option}` takes several values ({several})")
    base = Declared(
        name=named.name or named.option.lstrip("-").lower().replace("-", "_"),
        argument=named.option,
        kind="str",
        line=call.lineno,
        meaning=one_line(script.text(given.get("help"))),
        required=script.literal(given.get("required")) is True,
    )
    if named.off is not None or script.literal(given.get("is_flag")) is True:
        return _flag(script, base, named.off, given)
    return _valued(script, base, given.get("type"), given.get("default"))


def _flag(
    script: Script, base: Declared, off: str | None, given: dict[str, ast.expr]
) -> Declared | Remark:
    if "flag_value" in given:
        return Remark(base.line, f"`{base.argument}` is a flag with a value of its own")
    default = script.literal(given.get("default"))
    known = default if isinstance(default, bool) else None if off else False
    if known and off is None:
        return Remark(base.line, f"`{base.argument}` is a flag that is always on")
    return replace(base, argument=f"{base.argument}/{off or ''}", kind="bool", default=known)


def _valued(
    script: Script, base: Declared, type_node: ast.expr | None, default_node: ast.expr | None
) -> Declared | Remark:
    default = None if default_node is None else script.scalar(default_node)
    if default is COMPUTED:
        return Remark(base.line, f"`{base.argument}` has a default that is computed{base.needed}")
    kind: Kind | None = kind_of(default) or "str"
    choices: tuple[Scalar, ...] | None = ()
    low = high = None
    if type_node is not None:
        kind = KINDS.get(last_name(type_node))
    if isinstance(type_node, ast.Call) and last_name(type_node) == "Choice":
        node = type_node.args[0] if type_node.args else keywords(type_node).get("choices")
        kind, choices = "str", None if node is None else script.choices(node)
    elif isinstance(type_node, ast.Call):
        low, high = _limits(script, type_node)
    if kind is None or choices is None:
        return Remark(base.line, f"`{base.argument}` has a type that cannot be read{base.needed}")
    if kind == "bool":  # without a flag it is a word that follows the option
        word = str(default).lower()
        default, kind, choices = word if word in TRUTH_WORDS else None, "str", TRUTH_WORDS
    return replace(base, kind=kind, default=default, choices=choices, low=low, high=high)


def _limits(script: Script, call: ast.Call) -> tuple[float | None, float | None]:
    given = dict(zip(("min", "max"), call.args, strict=False)) | keywords(call)
    return script.number(given.get("min")), script.number(given.get("max"))
