"""What a tool is: typed arguments with a docstring, what it does to the world, a small answer."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...tools.errors import LuthierError
from ...tools.section import Section

if TYPE_CHECKING:
    from .desk import Desk

Effect = Literal["looks", "notes", "spends", "destroys"]
"""`looks` changes nothing; `notes` writes what costs nothing and can be undone; `spends` takes
device time; `destroys` ends what runs. The last two need a person's approval."""

MOST_CHARACTERS = 6000
"""Of one answer as JSON."""
LONGEST_NAME = 100
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})

Answer = dict[str, Any]
"""JSON-ready."""


class ToolError(LuthierError, ValueError):
    """A call that was refused; the sentence goes to whoever made it, model or person."""


@dataclass(frozen=True)
class Estimate:
    """What a call will take at most, as far as is known."""

    trials: int | None = None
    device_seconds: float | None = None
    """None if nobody can tell yet."""
    wall_seconds: float | None = None
    """Time by the clock; None if nobody can tell yet."""
    dollars: float | None = None
    """None if devices have no price here."""

    def to_dict(self) -> Answer:
        """Return what is known of it."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return {n: v if isinstance(v, int) else number(v) for n, v in known.items()}


class Tool(Section):
    """One call of a tool: a subclass is the declaration, an instance has the arguments.

    The class's docstring and those of its fields are what a model reads.
    """

    effect: ClassVar[Effect] = "looks"

    @classmethod
    def tool_name(cls) -> str:
        """The class's name in lower case, with underscores."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def declaration(cls) -> Answer:
        """Return the JSON schema of the arguments; the description is given apart."""
        schema = cls.model_json_schema()
        schema.pop("description", None)
        plain: Answer = _plain(schema)
        return plain

    @classmethod
    def description(cls, told: str | None = None) -> str:
        """Return what a model reads of it; that a person is asked stands there, whatever is `told`.

        Args:
            told: What is said of it; by default its docstring.
        """
        text = " ".join((told or cls.__doc__ or "").split())
        needs = {"spends": "Spends device time", "destroys": "Ends what runs"}.get(cls.effect)
        return f"{text} {needs}: a person is asked first." if needs else text

    def check(self, desk: Desk) -> None:
        """Refuse what cannot work, before anybody is asked to approve it.

        Raises:
            LuthierError: With the valid values.
        """

    def estimate(self, desk: Desk) -> Estimate:
        """Return what it will take."""
        return Estimate()

    def shown(self, desk: Desk) -> Answer:
        """Return what a person is shown besides the arguments when asked to approve."""
        return {}

    def run(self, desk: Desk) -> Answer:
        """Do it.

        Raises:
            LuthierError: If it cannot be done.
        """
        raise NotImplementedError


def _plain(schema: Any) -> Any:
    """Leave out what costs tokens and tells nothing: titles made of names, "or null" by default."""
    if isinstance(schema, list):
        return [_plain(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("anyOf", [])[1:] == [{"type": "null"}] and schema.get("default", 0) is None:
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        schema = schema["anyOf"][0] | rest
    return {
        key: _plain(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def visible(text: object, most: int = LONGEST_NAME) -> str:
    """Return a stranger's text as one short line without characters that nobody sees."""
    cut = str(text)[: 4 * most]
    line = " ".join("".join(" " if unicodedata.category(c) in _UNSEEN else c for c in cut).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def quoted(text: object, most: int = 300) -> Answer:
    """Return a text of a file, a log or a script, marked as such."""
    return {"quoted": visible(text, most)}


def number(value: float | None) -> float | str | None:
    """Return a number with six significant digits; one that JSON does not have becomes text."""
    if value is None:
        return None
    return float(f"{value:.6g}") if value - value == 0 else str(value)


def plain_values(values: Mapping[str, Any]) -> Answer:
    """Return values that a script or its person named, each short and visible."""

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(inner) for inner in value]
        if isinstance(value, float):
            return number(value)
        return value if isinstance(value, int | None) else visible(value)

    return {visible(name): one(value) for name, value in values.items()}


def bounded(answer: Mapping[str, Any], most: int = MOST_CHARACTERS) -> str:
    """Return an answer as JSON that is not too long: its lists and texts are cut until it fits."""
    for items, characters in ((60, 1000), (30, 500), (15, 250), (8, 120), (4, 60), (2, 30)):
        text = json.dumps(_cut(answer, items, characters), ensure_ascii=False, default=str)
        if len(text) <= most:
            return text
    return json.dumps({"error": "the answer is too long; ask for less of it"})


def _cut(value: Any, items: int, characters: int) -> Any:
    if isinstance(value, str) and len(value) > characters:
        return value[: characters - 1] + "…"
    if isinstance(value, Mapping):
        kept = {_cut(str(k), items, characters): v for k, v in list(value.items())[:items]}
        left = len(value) - len(kept)
        cut = {key: _cut(inner, items, characters) for key, inner in kept.items()}
        return cut | ({"…": f"{left} more"} if left > 0 else {})
    if isinstance(value, list | tuple):
        cut_list = [_cut(inner, items, characters) for inner in value[:items]]
        return [*cut_list, f"… {len(value) - items} more"] if len(value) > items else cut_list
    return value
