"""Reads the parameters of `typer` commands."""

from __future__ import annotations

import ast

from .script_click import (
    command_word,
    commands_passed_over,
    options,
    positional,
    training_command,
)
from .script_declared import Declarations, Declared, Remark, kind_of, one_line
from .script_source import (
    COMPUTED,
    Annotation,
    Computed,
    Script,
    assignments,
    dotted,
    keywords,
    last_name,
)
from .space import Scalar


def read_typer(script: Script) -> Declarations:
    """Return what a script declares by the parameters of its typer commands."""
    if not script.imports("typer"):
        return Declarations()
    run = {
        last_name(call.args[0])
        for call in script.calls
        if dotted(call.func) in {"typer.run", "run"} and call.args
    }
    words = {
        function: command_word(script, decorator, function)
        for function in script.functions
        for decorator in function.decorator_list
        if last_name(decorator) == "command"
    }
    commands = [f for f in script.functions if f in words or f.name in run]
    chosen = training_command(commands)
    if chosen is None:
        return Declarations()
    grouped = len(commands) > 1 or any(
        last_name(decorator) == "callback"
        for f in script.functions
        for decorator in f.decorator_list
    )
    found = Declarations(unread=commands_passed_over(chosen, commands))
    if grouped and chosen in words:
        found.command = (words[chosen],)
    for argument, default in _parameters(chosen):
        parameter = _parameter(script, argument, default)
        if parameter is not None:
            found.add(parameter)
    return found


def _parameters(function: ast.FunctionDef) -> list[tuple[ast.arg, ast.expr | None]]:
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    blank: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    pairs = list(zip(plain, [*blank, *arguments.defaults], strict=True))
    return pairs + list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))


def _parameter(
    script: Script, argument: ast.arg, default: ast.expr | None
) -> Declared | Remark | None:
    annotation = script.annotation(argument.annotation)
    if argument.annotation is not None and last_name(argument.annotation) == "Context":
        return None
    info = next((call for d in [default, *annotation.details] if (call := _info(d))), None)
    if (default is None and info is None) or (info and last_name(info) == "Argument"):
        return positional(argument.lineno, argument.arg)
    if info is None:
        return _option(script, argument, annotation, default, [], {})
    words, given = list(info.args), keywords(info)
    if info is default:  # `lr: float = typer.Option(0.1, "--lr")`, not `Annotated`
        default = words.pop(0) if words else given.get("default")
    if isinstance(default, ast.Constant) and default.value is Ellipsis:
        default = None
    return _option(script, argument, annotation, default, words, given)


def _info(node: ast.expr | None) -> ast.Call | None:
    if isinstance(node, ast.Call) and last_name(node) in {"Option", "Argument"}:
        return node
    return None


def _option(
    script: Script,
    argument: ast.arg,
    annotation: Annotation,
    default: ast.expr | None,
    words: list[ast.expr],
    given: dict[str, ast.expr],
) -> Declared | Remark:
    texts = [script.text(word) for word in words]
    named = options([text for text in texts if text is not None])
    value = _default(script, default)
    if None in texts or value is COMPUTED:
        return Remark(argument.lineno, f"`{argument.arg}` has a default or name that is computed")
    kind = annotation.kind or (kind_of(value) if argument.annotation is None else None)
    if kind is None:
        return Remark(argument.lineno, f"`{argument.arg}` has a type that cannot be read")
    option = named.option if named else "--" + argument.arg.lower().replace("_", "-")
    if kind == "bool":
        off = named.off if named else f"--no-{option[2:]}"
        if off is None and value is not False:
            return Remark(argument.lineno, f"`{option}` is a flag that is always on")
        option = f"{option}/{off or ''}"
    return Declared(
        name=argument.arg,
        argument=option,
        kind=kind,
        line=argument.lineno,
        default=value,
        choices=annotation.choices,
        low=script.number(given.get("min")),
        high=script.number(given.get("max")),
        meaning=one_line(script.text(given.get("help"))),
        required=default is None,
    )


def _default(script: Script, node: ast.expr | None) -> Scalar | Computed:
    """Return a literal default, or the value of an enumeration's member."""
    match node:
        case None:
            return None
        case ast.Attribute(value=ast.Name(id=owner), attr=member) if owner in script.classes:
            values = {name: value for name, value, _ in assignments(script.classes[owner].body)}
            return script.scalar(values.get(member))
        case _:
            return script.scalar(node)
