"""Writes what the ledger holds as HTML, in which all of it is text and nothing is markup."""

from __future__ import annotations

import functools
import hashlib
import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from ..tables import number_text, plain, plain_lines, seconds_text

if TYPE_CHECKING:
    from .place import Place

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 60
"""Characters of a name or a value that stand in a table."""
_LONGEST_LINE = 600
"""Characters of a reason or a line of a log."""


def digest(what: object) -> str:
    """Return what differs whenever what is shown does."""
    return hashlib.blake2b(repr(what).encode(), digest_size=8).hexdigest()


def write(template: str, **values: Any) -> str:
    """Return a template filled in; every value is escaped."""
    return str(_environment().get_template(f"{template}.html.j2").render(values))


def message(text: str, kind: str = "hint") -> str:
    """Return one paragraph: a `hint`, or a `problem`."""
    return write("message", text=text, kind=kind)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cut": cut,
        "line": functools.partial(cut, most=_LONGEST_LINE),
        "number": _number,
        "seconds": lambda value: "" if value is None else seconds_text(value),
        "bytes": _bytes,
        "moment": lambda time: datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M:%S"),
        "words": lambda text: str(text).replace("_", " "),
        "share": lambda part: f"{100 * min(max(part, 0.0), 1.0):.0f}%",
        "link": link,
        "block": plain_lines,
        "paragraphs": _paragraphs,
        "markdown": _markdown,
    }
    return environment


def _paragraphs(text: str) -> Markup:
    """Return text as it was typed, line by line."""
    return Markup("<br>").join(plain_lines(text).split("\n"))


@functools.cache
def _reader() -> MarkdownIt:
    # Pictures would be fetched from wherever a model says, and links lead there.
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    return reader.disable(["image", "link", "autolink", "html_inline", "html_block", "reference"])


def _markdown(text: str) -> Markup:
    """Return a model's text with its headings, lists, tables and code; nothing in it can act."""
    return Markup(_reader().render(plain_lines(text)))


def cut(text: object, most: int = LONGEST) -> str:
    """Return text as one line of bounded length."""
    flat = plain(str(text)[: 4 * most])
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def link(place: Place, **changes: Any) -> str:
    """Return the address of a place, relative to the page."""
    return f"?{urlencode(place.but(**changes).query())}"


def _number(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number_text(value) if math.isfinite(value) else str(value)
    return cut(value)


def _bytes(count: int | None) -> str:
    if not count:
        return ""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def style() -> str:
    """Return the page's style sheet."""
    return (TEMPLATES / "page.css").read_text(encoding="utf-8")


def script(name: str) -> str:
    """Return a script of the page's own."""
    return (TEMPLATES / f"{name}.js").read_text(encoding="utf-8")
