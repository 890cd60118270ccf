"""Reads `argparse` declarations: each `add_argument` call of a script."""

from __future__ import annotations

import ast
from dataclasses import replace

from .script_declared import KINDS, TRUTH_WORDS, Declarations, Declared, Kind, Remark, one_line
from .script_source import COMPUTED, Script, is_scalar, keywords, last_name

# action -> how the flag is written for ScriptObjective, and the value without the flag
_FLAGS: dict[str, tuple[str, bool]] = {"store_true": ("{}/", False), "store_false": ("/{}", True)}


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
            case "add_mutually_exclusive_group":
                text = "Some arguments exclude each other; keep one of them"
                found.unread.append(Remark(call.lineno, text))
            case "set_defaults":
                _set_defaults(script, call, found)
    return found


def _argument(script: Script, call: ast.Call) -> Declared | Remark | None:
    options = [script.text(argument) for argument in call.args]
    given = keywords(call)
    if len(given) < len(call.keywords) or None in options or not options:
        return Remark(call.lineno, "An argument's name or options are computed")
    named = [option for option in options if option is not None]
    option = next((option for option in named if option.startswith("--")), named[0])
    if not is_scalar(option) or any(c in option for c in "/= "):
        return Remark(call.lineno, "An argument's name cannot be written on a command line")
    if not option.startswith("-"):
        return _positional(call, option, given)
    dest = script.scalar(given.get("dest"))
    base = Declared(
        name=dest if isinstance(dest, str) and dest else option.lstrip("-").replace("-", "_"),
        argument=option,
        kind="str",
        line=call.lineno,
        meaning=one_line(script.text(given.get("help"))),
        required=script.literal(given.get("required")) is True,
    )
    if "nargs" in given and script.literal(given["nargs"]) != "?":
        return Remark(call.lineno, f"`{option}` takes several values (nargs){base.needed}")
    action = given.get("action")
    if action is None or script.text(action) == "store":
        return _value(script, base, given)
    return _flag(script, base, action, given)


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
    if word in {"help", "version"}:
        return None
    if word == "BooleanOptionalAction" and base.argument.startswith("--"):
        argument = f"{base.argument}/--no-{base.argument[2:]}"
        known = default if isinstance(default, bool) else None
        return replace(base, argument=argument, kind="bool", default=known)
    if word not in _FLAGS:
        return Remark(base.line, f"`{base.argument}` has an action that cannot be read")
    shape, without = _FLAGS[word]
    if "default" in given and default is not without:
        text = f"`{base.argument}` has a default that its action {word!r} does not change"
        return Remark(base.line, text)
    return replace(base, argument=shape.format(base.argument), kind="bool", default=without)


def _value(script: Script, base: Declared, given: dict[str, ast.expr]) -> Declared | Remark:
    def unread(reason: str) -> Remark:
        return Remark(base.line, f"`{base.argument}` has {reason}{base.needed}")

    if _spoken_truth(given.get("type")):
        return _truth(script, base, given.get("default"))
    kind = _kind(given.get("type"))
    if kind is None:
        return unread("a type that cannot be read")
    if kind == "bool":
        return unread("`type=bool`, which takes every text but '' as true")
    default = script.scalar(given["default"]) if "default" in given else None
    if default is COMPUTED:
        return unread("a default that is computed")
    choices = script.choices(given["choices"]) if "choices" in given else ()
    if choices is None:
        return unread("choices that are computed")
    if kind == "str" and any(isinstance(value, int | float) for value in (default, *choices)):
        return unread("no type, so that a value given to it would be text")
    return replace(base, kind=kind, default=default, choices=choices)


def _kind(node: ast.expr | None) -> Kind | None:
    return "str" if node is None else KINDS.get(last_name(node))


def _spoken_truth(node: ast.expr | None) -> bool:
    """Tell whether a type reads words as truth: `str2bool`, `lambda x: bool(strtobool(x))`."""
    names = (
        [] if node is None else [last_name(n) for n in ast.walk(node) if isinstance(n, ast.expr)]
    )
    return any("bool" in name.lower() and name != "bool" for name in names)


def _truth(script: Script, base: Declared, node: ast.expr | None) -> Declared | Remark:
    default = script.literal(node)
    word = str(default).lower()
    known = word if word in TRUTH_WORDS else None
    return replace(base, default=known, choices=TRUTH_WORDS)


def _set_defaults(script: Script, call: ast.Call, found: Declarations) -> None:
    for name, node in keywords(call).items():
        default = script.scalar(node)
        for i, declared in enumerate(found.declared):
            if declared.name == name and declared.kind != "bool" and default is not COMPUTED:
                found.declared[i] = replace(declared, default=default)
