"""Reads `argparse` declarations: each `add_argument` call of a script."""

from __future__ import annotations

import ast
from dataclasses import replace

from .script_declared import (
    KINDS,
    MISSING,
    Declarations,
    Declared,
    Kind,
    Remark,
    Script,
    is_scalar,
    keywords,
    last_name,
    one_line,
)
from .space import Scalar

# action -> how the flag is written for ScriptObjective, and the value without the flag
_FLAGS: dict[str, tuple[str, bool]] = {"store_true": ("{}/", False), "store_false": ("/{}", True)}
_SPOKEN_TRUTH = ("true", "false")


def read_argparse(script: Script) -> Declarations:
    """Return what a script declares by `add_argument`."""
    found = Declarations()
    for call in script.calls:
        match last_name(call.func):
            case "add_argument" if isinstance(call.func, ast.Attribute):
                argument = _argument(script, call)
                if argument is not None:
                    found.add(argument)
            case "add_subparsers":
                text = "The script has sub-commands; add the one to tune to `command`"
                found.unread.append(Remark(call.lineno, text))
            case "set_defaults":
                _set_defaults(script, call, found)
    return found


def _argument(script: Script, call: ast.Call) -> Declared | Remark | None:
    options = [script.text(argument) for argument in call.args]
    given = keywords(call)
    if any(keyword.arg is None for keyword in call.keywords) or None in options or not options:
        return Remark(call.lineno, "An argument's name or options are computed")
    named = [option for option in options if option is not None]
    option = _longest(named)
    if not is_scalar(option) or "/" in option or "=" in option or " " in option:
        return Remark(call.lineno, "An argument's name cannot be written on a command line")
    if not option.startswith("-"):
        return _positional(call, option, given)
    name = script.text(given.get("dest")) or option.lstrip("-").replace("-", "_")
    action = given.get("action")
    base = Declared(
        name=name,
        argument=option,
        kind="str",
        line=call.lineno,
        meaning=one_line(script.text(given.get("help"))),
        required=script.literal(given.get("required")) is True,
    )
    if "nargs" in given:
        return Remark(call.lineno, f"`{option}` takes several values (nargs){_needed(base)}")
    if action is None or script.text(action) == "store":
        return _value(script, base, given)
    return _flag(script, base, action, given)


def _longest(options: list[str]) -> str:
    return next((option for option in options if option.startswith("--")), options[0])


def _positional(call: ast.Call, name: str, given: dict[str, ast.expr]) -> Remark:
    nargs = given.get("nargs")
    if isinstance(nargs, ast.Constant) and nargs.value in ("?", "*"):
        return Remark(call.lineno, f"Positional argument `{name}` is optional and left out")
    text = f"Positional argument `{name}` has no option name; add its value to `command`"
    return Remark(call.lineno, text)


def _flag(
    script: Script, base: Declared, action: ast.expr, given: dict[str, ast.expr]
) -> Declared | Remark | None:
    word = script.text(action) or last_name(action)
    default = script.literal(given.get("default"))
    if word == "BooleanOptionalAction":
        if not base.argument.startswith("--"):
            return Remark(base.line, f"`{base.argument}` is switched by an action without `--`")
        argument = f"{base.argument}/--no-{base.argument[2:]}"
        known = default if isinstance(default, bool) else None
        return replace(base, argument=argument, kind="bool", default=known)
    if word in {"help", "version"}:
        return None
    if word not in _FLAGS:
        return Remark(base.line, f"`{base.argument}` has the action {word or 'computed'!r}")
    shape, without = _FLAGS[word]
    if "default" in given and default is not without:
        text = f"`{base.argument}` has a default that its action {word!r} does not change"
        return Remark(base.line, text)
    return replace(base, argument=shape.format(base.argument), kind="bool", default=without)


def _value(script: Script, base: Declared, given: dict[str, ast.expr]) -> Declared | Remark:
    option = base.argument
    kind, spoken = _kind(given.get("type"))
    if kind is None:
        return Remark(base.line, f"`{option}` has a type that cannot be read{_needed(base)}")
    if kind == "bool":
        text = f"`{option}` has `type=bool`, which takes every text but '' as true"
        return Remark(base.line, text + _needed(base))
    default = script.scalar(given["default"]) if "default" in given else None
    if default is MISSING:
        return Remark(base.line, f"`{option}` has a default that is computed{_needed(base)}")
    if kind == "str" and isinstance(default, int | float) and not spoken:
        text = f"`{option}` has no type, so that a value given to it would be text"
        return Remark(base.line, text + _needed(base))
    choices = script.choices(given["choices"]) if "choices" in given else ()
    if choices is None:
        return Remark(base.line, f"`{option}` has choices that are computed{_needed(base)}")
    if spoken:
        default, choices = str(default).lower(), _SPOKEN_TRUTH
    assert is_scalar(default)
    value: Scalar = default  # type: ignore[assignment]  # is_scalar has just told
    return replace(base, kind=kind, default=value, choices=choices)


def _kind(node: ast.expr | None) -> tuple[Kind | None, bool]:
    """Return the kind, and whether the value is a spoken truth value (`type=str2bool`)."""
    if node is None:
        return "str", False
    name = last_name(node)
    if "bool" in name.lower() and name != "bool":
        return "str", True
    return KINDS.get(name), False


def _needed(base: Declared) -> str:
    if not base.required:
        return ""
    return "; it is required: add it with its value to `command`"


def _set_defaults(script: Script, call: ast.Call, found: Declarations) -> None:
    for name, node in keywords(call).items():
        for i, declared in enumerate(found.declared):
            default = script.scalar(node)
            if declared.name != name or declared.kind == "bool" or default is MISSING:
                continue
            value: Scalar = default  # type: ignore[assignment]  # `scalar` returns nothing else
            found.declared[i] = replace(declared, default=value)
