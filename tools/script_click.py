"""Reads `click` options and `typer` parameters."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import NamedTuple

from .script_declared import (
    KINDS,
    MISSING,
    Annotation,
    Declarations,
    Declared,
    Kind,
    Remark,
    Script,
    dotted,
    is_scalar,
    keywords,
    kind_of,
    last_name,
    one_line,
)
from .space import Scalar

_TRAINING_WORDS = ("train", "fit", "main", "run")


def read_click(script: Script) -> Declarations:
    """Return what a script declares by `@click.option`."""
    commands = {
        function: decorators
        for function in script.functions
        if (decorators := [d for d in function.decorator_list if isinstance(d, ast.Call)])
        and any(dotted(d.func) in {"click.option", "option"} for d in decorators)
    }
    chosen = _training(list(commands))
    if chosen is None:
        return Declarations()
    found = Declarations(command=_click_command(script, chosen))
    _tell_of_others(found, chosen, list(commands))
    for decorator in commands[chosen]:
        match dotted(decorator.func):
            case "click.option" | "option":
                found.add(_click_option(script, decorator))
            case "click.argument" | "argument":
                name = script.text(decorator.args[0]) if decorator.args else None
                found.unread.append(_positional(decorator.lineno, name))
    return found


def _training(functions: list[ast.FunctionDef]) -> ast.FunctionDef | None:
    for word in _TRAINING_WORDS:
        for function in functions:
            if word in function.name.lower():
                return function
    return functions[0] if functions else None


def _tell_of_others(
    found: Declarations, chosen: ast.FunctionDef, functions: list[ast.FunctionDef]
) -> None:
    for function in functions:
        if function is not chosen:
            text = f"The command `{function.name}` was not read; `{chosen.name}` was"
            found.unread.append(Remark(function.lineno, text))


def _positional(line: int, name: str | None) -> Remark:
    text = f"Positional argument `{name}` has no option name; add its value to `command`"
    return Remark(line, text)


def _command_word(script: Script, decorator: ast.expr, function: ast.FunctionDef) -> str:
    name = None
    if isinstance(decorator, ast.Call):
        node = decorator.args[0] if decorator.args else keywords(decorator).get("name")
        name = script.text(node)
    name = name or function.name.lower().replace("_", "-")
    return name if is_scalar(name) else function.name


def _click_command(script: Script, function: ast.FunctionDef) -> tuple[str, ...]:
    """Return the sub-command's name if the command hangs on a group."""
    for decorator in function.decorator_list:
        name = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if name.endswith(".command") and name != "click.command":
            return (_command_word(script, decorator, function),)
    return ()


class _Options(NamedTuple):
    option: str
    off: str | None
    name: str | None


def _options(words: list[str]) -> _Options | None:
    """Split parameter declarations: the longest option, its negation, the name."""
    options = [word for word in words if word.startswith("-")]
    name = next((word for word in words if word.isidentifier()), None)
    if not options:
        return None
    option = max(options, key=lambda word: (word.startswith("--"), "/" in word))
    on, _, off = (part.strip() for part in option.partition("/"))
    return _Options(on, off or None, name)


def _click_option(script: Script, call: ast.Call) -> Declared | Remark:
    words = [script.text(argument) for argument in call.args]
    given = keywords(call)
    options = _options([word for word in words if word is not None])
    if options is None or None in words or not is_scalar(options.option):
        return Remark(call.lineno, "An option's name is computed")
    for several in ("multiple", "nargs", "count"):
        if several in given:
            return Remark(call.lineno, f"`{options.option}` takes several values ({several})")
    base = Declared(
        name=options.name or options.option.lstrip("-").lower().replace("-", "_"),
        argument=options.option,
        kind="str",
        line=call.lineno,
        meaning=one_line(script.text(given.get("help"))),
        required=script.literal(given.get("required")) is True,
    )
    if options.off is not None or script.literal(given.get("is_flag")) is True:
        if "flag_value" in given:
            return Remark(call.lineno, f"`{options.option}` is a flag with a value of its own")
        default = script.literal(given.get("default"))
        without = None if options.off else False
        known = default if isinstance(default, bool) else without
        if options.off is None and known:
            return Remark(call.lineno, f"`{options.option}` is a flag that is always on")
        argument = f"{options.option}/{options.off or ''}"
        return replace(base, argument=argument, kind="bool", default=known)
    return _valued(script, base, given.get("type"), given.get("default"))


def _valued(
    script: Script, base: Declared, type_node: ast.expr | None, default_node: ast.expr | None
) -> Declared | Remark:
    default = None if default_node is None else script.scalar(default_node)
    if default is MISSING:
        return Remark(base.line, f"`{base.argument}` has a default that is computed")
    kind: Kind | None = kind_of(default) or "str"
    choices: tuple[Scalar, ...] | None = ()
    low = high = None
    if type_node is not None:
        kind = "str" if last_name(type_node) == "Choice" else KINDS.get(last_name(type_node))
    if isinstance(type_node, ast.Call):
        given = keywords(type_node)
        inner = list(type_node.args)
        if last_name(type_node) == "Choice":
            node = inner[0] if inner else given.get("choices")
            choices = None if node is None else script.choices(node)
        else:
            low, high = _limits(script, inner, given)
    if kind is None or choices is None:
        return Remark(base.line, f"`{base.argument}` has a type that cannot be read")
    value: Scalar = default  # type: ignore[assignment]  # `scalar` returns nothing else
    found = replace(base, kind=kind, default=value, choices=choices, low=low, high=high)
    return _spoken(found) if kind == "bool" else found


def _spoken(found: Declared) -> Declared:
    """Turn a truth value that follows its option into one of two words, which click reads."""
    default = str(found.default).lower() if isinstance(found.default, bool) else None
    return replace(found, kind="str", choices=("true", "false"), default=default)


def _limits(
    script: Script, inner: list[ast.expr], given: dict[str, ast.expr]
) -> tuple[float | None, float | None]:
    low = given.get("min") or (inner[0] if inner else None)
    high = given.get("max") or (inner[1] if len(inner) > 1 else None)
    return script.number(low), script.number(high)


def read_typer(script: Script) -> Declarations:
    """Return what a script declares by the parameters of its typer commands."""
    if not _imports(script, "typer"):
        return Declarations()
    run = {
        last_name(call.args[0])
        for call in script.calls
        if dotted(call.func) in {"typer.run", "run"} and call.args
    }
    commands: list[ast.FunctionDef] = []
    words: dict[str, str] = {}
    grouped = False
    for function in script.functions:
        grouped |= any(last_name(d) == "callback" for d in function.decorator_list)
        for decorator in function.decorator_list:
            if last_name(decorator) == "command":
                commands.append(function)
                words[function.name] = _command_word(script, decorator, function)
        if function.name in run:
            commands.append(function)
    chosen = _training(commands)
    if chosen is None:
        return Declarations()
    needs_word = chosen.name in words and (grouped or len(commands) > 1)
    found = Declarations(command=(words[chosen.name],) if needs_word else ())
    _tell_of_others(found, chosen, commands)
    for argument, default in _parameters(chosen):
        parameter = _typer_parameter(script, argument, default)
        if parameter is not None:
            found.add(parameter)
    return found


def _imports(script: Script, module: str) -> bool:
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Import) and any(a.name == module for a in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == module:
            return True
    return False


def _parameters(function: ast.FunctionDef) -> list[tuple[ast.arg, ast.expr | None]]:
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    blank: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    pairs = list(zip(plain, [*blank, *arguments.defaults], strict=True))
    return pairs + list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))


def _typer_parameter(
    script: Script, argument: ast.arg, default: ast.expr | None
) -> Declared | Remark | None:
    annotation = script.annotation(argument.annotation)
    if argument.annotation is not None and last_name(argument.annotation) == "Context":
        return None
    info = next((d for d in [default, *annotation.details] if _is_info(d)), None)
    if isinstance(info, ast.Call) and last_name(info) == "Argument":
        return _positional(argument.lineno, argument.arg)
    if default is None and info is None:
        return _positional(argument.lineno, argument.arg)
    words: list[ast.expr] = []
    if isinstance(info, ast.Call):
        words = list(info.args)
        if info is default:
            default = words.pop(0) if words else keywords(info).get("default")
    if isinstance(default, ast.Constant) and default.value is Ellipsis:
        default = None
    given = keywords(info) if isinstance(info, ast.Call) else {}
    return _typer_option(script, argument, annotation, default, words, given)


def _is_info(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Call) and last_name(node) in {"Option", "Argument"}


def _typer_option(
    script: Script,
    argument: ast.arg,
    annotation: Annotation,
    default: ast.expr | None,
    words: list[ast.expr],
    given: dict[str, ast.expr],
) -> Declared | Remark:
    texts = [script.text(word) for word in words]
    options = _options([text for text in texts if text is not None])
    value = _typer_default(script, default)
    if None in texts or value is MISSING:
        return Remark(argument.lineno, f"`{argument.arg}` has a default or name that is computed")
    kind = annotation.kind or (kind_of(value) if argument.annotation is None else None)
    if kind is None:
        return Remark(argument.lineno, f"`{argument.arg}` has a type that cannot be read")
    option = options.option if options else "--" + argument.arg.lower().replace("_", "-")
    if kind == "bool":
        off = options.off if options else f"--no-{option[2:]}"
        if off is None and value is not False:
            return Remark(argument.lineno, f"`{option}` is a flag that is always on")
        option = f"{option}/{off or ''}"
    return Declared(
        name=argument.arg,
        argument=option,
        kind=kind,
        line=argument.lineno,
        default=value,  # type: ignore[arg-type]  # `scalar` returns nothing else
        choices=annotation.choices,
        low=script.number(given.get("min")),
        high=script.number(given.get("max")),
        meaning=one_line(script.text(given.get("help"))),
        required=default is None,
    )


def _typer_default(script: Script, node: ast.expr | None) -> Scalar | object:
    """Return a literal default, or the value of an enumeration's member."""
    if node is None:
        return None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = script.classes.get(node.value.id)
        members = [] if owner is None else owner.body
        for member in members:
            match member:
                case ast.Assign(targets=[ast.Name(id=node.attr)], value=value):
                    return script.scalar(value)
    return script.scalar(node)
