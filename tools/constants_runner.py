"""Runs a script with some of its constants replaced; nothing is written to disk.

    LUTHIER_CONSTANTS='{"LR": 0.01, "Config.width": 64}' python constants_runner.py train.py ARGS...

`LR` is a name that the script assigns at its top level, `Config.width` a field of a class there (a
dataclass, say; `field(default=...)` too). The first assignment gets the new value, and the script
runs as `__main__` under its own name, with its own line numbers. Without the variable the script
runs as it is. Only this process sees the new values: a child that imports the script afresh (the
`spawn` start method of multiprocessing) sees the file's own.

This file needs nothing but the standard library (Python 3.8 or newer), so that the script can run
in any environment.
"""

import ast
import json
import os
import sys
import types
from typing import Any, Dict, List, Optional  # noqa: UP035  (the file runs on Python 3.8)


class ConstantsError(Exception):
    """The constants cannot be set; the message is one sentence."""


def main(arguments: List[str]) -> None:  # noqa: UP006
    """Run the script that the first argument names, with the other arguments as its own.

    Raises:
        ConstantsError: If the script or a constant is not there, or cannot be replaced.
    """
    if not arguments:
        raise ConstantsError("give the script to run: constants_runner.py SCRIPT [ARGUMENTS...]")
    path = arguments[0]
    tree = _parse(path)
    for name, value in _constants().items():
        _replace(tree, path, name, value)
    code = compile(tree, path, "exec", dont_inherit=True)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=os.path.abspath(path), __cached__=None)  # noqa: PTH100
    sys.argv = arguments
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(path))  # noqa: PTH120
    # pickle and multiprocessing look classes up in sys.modules
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _parse(path: str) -> ast.Module:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return ast.parse(file.read(), path)
    except OSError as error:
        raise ConstantsError(f"cannot read script {path!r}: {error.strerror}") from None
    except SyntaxError as error:
        raise ConstantsError(f"{path}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise ConstantsError(f"cannot read script {path!r}: {error}") from None


def _constants() -> Dict[str, Any]:  # noqa: UP006
    text = os.environ.get("LUTHIER_CONSTANTS", "{}")
    try:
        constants = json.loads(text)
    except ValueError as error:
        raise ConstantsError(f"LUTHIER_CONSTANTS is not JSON: {error}") from None
    if not isinstance(constants, dict):
        raise ConstantsError("LUTHIER_CONSTANTS must be an object of names and values")
    for name, value in constants.items():
        if isinstance(value, (dict, list)):
            raise ConstantsError(
                f"the value of {name!r} must be a number, text, true, false or null"
            )
    return constants


def _replace(tree: ast.Module, path: str, name: str, value: Any) -> None:
    owner, _, short = name.rpartition(".")
    body: Optional[List[ast.stmt]] = tree.body  # noqa: UP006, UP045
    if owner:
        classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
        body = next((node.body for node in classes if node.name == owner), None)
    statement = next((node for node in body or [] if _target(node) == short), None)
    if statement is None:
        where = f"class {owner!r}" if owner else "its top level"
        raise ConstantsError(f"{path} assigns no constant {name!r}: it must stand at {where}")
    if not _put(statement, value):
        line = statement.lineno
        raise ConstantsError(f"{path}, line {line}: {name!r} is not a literal and stays as it is")


def _target(node: ast.stmt) -> Optional[str]:  # noqa: UP045
    targets: List[ast.expr] = []  # noqa: UP006
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    if len(targets) == 1 and isinstance(targets[0], ast.Name):
        return targets[0].id
    return None


def _put(statement: Any, value: Any) -> bool:
    """Put a value in place of a statement's literal; tell whether there was one."""
    old = statement.value
    if _is_literal(old):
        statement.value = ast.copy_location(ast.Constant(value), old)
        return True
    if not isinstance(old, ast.Call) or _last_name(old.func) not in ("field", "Field"):
        return False
    for keyword in old.keywords:
        if keyword.arg == "default" and _is_literal(keyword.value):
            keyword.value = ast.copy_location(ast.Constant(value), keyword.value)
            return True
    if _last_name(old.func) == "Field" and old.args and _is_literal(old.args[0]):
        old.args[0] = ast.copy_location(ast.Constant(value), old.args[0])
        return True
    return False


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ConstantsError as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
