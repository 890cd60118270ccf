"""What a training script declares: its arguments, constants and variables as data."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .space import Scalar

Kind = Literal["float", "int", "bool", "str"]

KINDS: dict[str, Kind] = {
    "float": "float",
    "FLOAT": "float",
    "FloatRange": "float",
    "int": "int",
    "INT": "int",
    "IntRange": "int",
    "bool": "bool",
    "BOOL": "bool",
    "str": "str",
    "STRING": "str",
}
"""The last word of a type's name to its kind."""

TRUTH_WORDS = ("true", "false")
"""How a truth value is written that follows its option as text."""

_DEFAULT_IN_HELP = re.compile(r"\s?[(\[]\s?default[^()\[\]]*[)\]]", re.IGNORECASE)


class Remark(NamedTuple):
    """One sentence about one line of a script."""

    line: int
    text: str


@dataclass(frozen=True)
class Declared:
    """One argument, constant or variable of a script that takes a value."""

    name: str
    argument: str
    """How the value goes in, as `ScriptObjective.arguments` writes it."""
    kind: Kind
    line: int
    default: Scalar = None
    choices: tuple[Scalar, ...] = ()
    low: float | None = None
    high: float | None = None
    meaning: str | None = None
    required: bool = False
    typed: bool = True
    """Whether the script states the kind; otherwise it was read off the default."""

    @property
    def shown(self) -> str:
        """The argument as a person writes it: `--amp`, not `--amp/`."""
        return next(part for part in self.argument.split("/") if part)

    @property
    def needed(self) -> str:
        """What to add to the sentence that says why it is not tuned."""
        return "; it is required: add it with its value to `command`" if self.required else ""


@dataclass
class Declarations:
    """What one way of declaring arguments yields."""

    declared: list[Declared] = field(default_factory=list)
    unread: list[Remark] = field(default_factory=list)
    command: tuple[str, ...] = ()
    """Words that must follow the script in the command: a sub-command."""

    def add(self, found: Declared | Remark) -> None:
        """Sort one finding into what was read and what was not."""
        if isinstance(found, Remark):
            self.unread.append(found)
        elif any(found.name == other.name for other in self.declared):
            text = f"`{found.shown}` is declared twice; the first declaration was read"
            self.unread.append(Remark(found.line, text))
        else:
            self.declared.append(found)


def kind_of(value: object) -> Kind | None:
    """Return the kind of a literal value."""
    return KINDS.get(type(value).__name__)


def one_line(text: str | None, length: int = 120) -> str | None:
    """Make any text of a script one short printable line; None if nothing is left."""
    if text is None:
        return None
    # cut first: the text is a stranger's, and may be as long as the script
    text = text[: 20 * length].replace("%(default)s", "").replace("%%", "%")
    text = " ".join(printable(_DEFAULT_IN_HELP.sub("", text)).split()).rstrip(" ;,")
    return (text if len(text) <= length else text[: length - 1].rstrip() + "…") or None


def printable(text: str) -> str:
    """Return the text with a space for each control, format, private or separator character."""
    return "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
