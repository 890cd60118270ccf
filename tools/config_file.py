"""Tables of the workspace's TOML files, read and changed; what else stands in them is kept."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import LuthierError


class ConfigFileError(LuthierError, ValueError):
    """A file that is no TOML, or cannot be read or written."""


def read_table(path: Path, name: str) -> dict[str, Any]:
    """Return a table of a TOML file, empty if there is none.

    Raises:
        ConfigFileError: If the file cannot be read, or has something else of that name.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get(name, {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        # The text of the error could hold a part of a secret.
        raise ConfigFileError(f"{path} cannot be read as TOML; mend it or remove it") from None
    if not isinstance(table, dict):
        raise ConfigFileError(f"`{name}` in {path} is no table; begin it with a line `[{name}]`")
    return table


def write_table(path: Path, name: str, values: Mapping[str, Any], *, mode: int = 0o644) -> None:
    """Change values of a table of a TOML file; None removes one.

    The file is replaced whole, so nobody sees half of it, and is never readable by more than `mode`
    lets.

    Raises:
        ConfigFileError: If it cannot be read or written, or has something else of that name.
    """
    import tomlkit

    read_table(path, name)
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(old)
        table = document.setdefault(name, tomlkit.table())
        for key, value in values.items():
            if value is not None:
                table[key] = value
            else:
                table.pop(key, None)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(tomlkit.dumps(document))
        Path(temporary).replace(path)
    except OSError as error:
        raise ConfigFileError(f"{path} cannot be written: {error.strerror}") from None
