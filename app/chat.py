"""`luthier chat`: the conversation in a terminal; and `luthier mcp`, the same tools for agents."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.text import Text as Line

from .tables import plain, plain_lines
from .terminal import fail, out

if TYPE_CHECKING:
    from ..agent.approvals import Approval
    from ..agent.dialogue import Dialogue
    from ..agent.events import Event
    from ..tools.study import Study

app = typer.Typer()
Ask = Callable[[str], str]
"""Asks the person for a line; EOFError when there is none any more."""

_TOKEN = "LUTHIER_MCP_TOKEN"
_SHORTEST_TOKEN = 16
_QUESTION = "[y]es, [n]o, or NAME=VALUE ... to change it> "


@app.command()
def chat(
    go_on: Annotated[
        bool, typer.Option("--continue", "-c", help="Go on with your last conversation.")
    ] = False,
    allow: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(metavar="FOLDER", help="A folder outside this one that may be read."),
    ] = None,
    offline: Annotated[bool, typer.Option(help="Without a language model.")] = False,
) -> None:
    """Talk to Luthier: say what to tune, approve it, ask how it goes."""
    from ..agent.dialogue import Dialogue
    from ..agent.llm.line import Line as LineToModel
    from ..agent.llm.settings import load_settings
    from ..agent.toolbox.desk import find_desk

    desk = find_desk(allowed=tuple(allow or ()), write_report=write_report_page)
    settings = None if offline else load_settings(desk.workspace)
    line = None if settings is None else LineToModel(settings)
    before = desk.conversations.latest(desk.person) if go_on else None
    dialogue = Dialogue(desk, line=line, conversation=before)
    try:
        talk(dialogue, out(), input)
    finally:
        dialogue.close()
        if line is not None:
            line.close()


@app.command()
def mcp(
    http: Annotated[
        bool, typer.Option("--http", help="Serve HTTP on this machine instead of stdio.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    allow: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(metavar="FOLDER", help="A folder outside this one that may be read."),
    ] = None,
) -> None:
    """Let other agents use Luthier's tools, over the Model Context Protocol."""
    token = os.environ.get(_TOKEN, "")
    if http and len(token) < _SHORTEST_TOKEN:
        fail(
            f"over HTTP whoever knows {_TOKEN} can start programs; set it to at least "
            f"{_SHORTEST_TOKEN} characters, which the agent sends as a bearer token"
        )
    if find_spec("mcp") is None:
        fail("`luthier mcp` needs the package mcp: pip install 'luthier[mcp]'")
    from ..agent.toolbox.desk import find_desk
    from .mcp_server import make_server, run_http, run_stdio

    desk = find_desk(allowed=tuple(allow or ()), write_report=write_report_page)
    if http:
        run_http(make_server(desk), port, token)
    else:
        run_stdio(make_server(desk))


def write_report_page(study: Study) -> Path:
    """Write a study's report, and return its page."""
    from .reading import write_report_of

    path: Path = write_report_of(study).html
    return path


def talk(dialogue: Dialogue, console: Console, ask: Ask) -> None:
    """Talk until the person has nothing more to say."""
    if dialogue.line is None:
        console.print(
            "No language model is set up (luthier doctor says how), so I know commands and the "
            "commonest wishes: /help lists them. Ctrl-D ends.",
            soft_wrap=True,
        )
    else:
        model = plain(dialogue.line.settings.model)
        console.print(f"I think with {model}. /help, Ctrl-D ends.", markup=False)
    try:
        _decide_all(dialogue, console, ask)
        while True:
            show(dialogue.news(), console)
            text = ask("> ").strip()
            if not text:
                continue
            try:
                show(dialogue.send(text), console)
            except KeyboardInterrupt:
                console.print("\nInterrupted; what runs goes on. Ctrl-D ends.")
            _decide_all(dialogue, console, ask)
    except (EOFError, KeyboardInterrupt):
        console.print()


def _decide_all(dialogue: Dialogue, console: Console, ask: Ask) -> None:
    """Ask the person about all that waits for them, what comes of it included."""
    while pending := dialogue.pending():
        _decide(dialogue, pending[0], console, ask)


def _decide(dialogue: Dialogue, approval: Approval, console: Console, ask: Ask) -> None:
    from ..agent.wording import asked

    console.print(plain_lines(asked(approval)), markup=False, highlight=False, style="yellow")
    answer = ask(_QUESTION).strip()
    if answer.lower() in ("y", "yes"):
        show(dialogue.approve(approval.id, approval.digest), console)
    elif answer.lower() in ("", "n", "no"):
        show(dialogue.reject(approval.id, ask("Why not? ").strip()), console)
    else:
        command = (
            f"/edit {approval.id} {answer}" if "=" in answer else f"/reject {approval.id} {answer}"
        )
        show(dialogue.send(command), console)


def show(events: Iterator[Event], console: Console) -> None:
    """Print what happens."""
    from ..agent.events import Interrupted, Text, ToolAnswered, ToolCalled

    open_line = False
    for event in events:
        if isinstance(event, Text) and event.by == "planner":
            # A piece may be the end of a line alone.
            piece = "\n".join(map(plain, event.text.split("\n")))
            console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
            open_line = True
            continue
        if open_line:
            console.print()
            open_line = False
        match event:
            case Text():
                console.print(
                    plain_lines(event.text), markup=False, highlight=False, soft_wrap=True
                )
            case ToolCalled():
                arguments = plain(json.dumps(event.arguments, ensure_ascii=False))
                console.print(Line(f"  {plain(event.tool)} {arguments}", style="dim"))
            case ToolAnswered() if event.failed:
                console.print(Line(f"  {plain(event.answer)[:300]}", style="dim red"))
            case Interrupted():
                console.print(Line(plain(event.reason), style="yellow"), soft_wrap=True)
