"""Serves the page: on this machine only, unless there is a password."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from pathlib import Path

from ...tools.errors import LuthierError
from ...tools.workspace import Workspace

USER = "luthier"
PASSWORD = "LUTHIER_UI_PASSWORD"
_SHORTEST_PASSWORD = 8


class ServerError(LuthierError, ValueError):
    """The page cannot be served as asked."""


def check_address(host: str, password: str | None) -> None:
    """See that nobody but this machine's people is let in without a password.

    Raises:
        ServerError: If others could come in.
    """
    if password is not None and len(password) < _SHORTEST_PASSWORD:
        raise ServerError(f"{PASSWORD} is shorter than {_SHORTEST_PASSWORD} characters")
    if password is None and not _is_loopback(host):
        raise ServerError(
            f"{host!r} can be reached from other machines, and who reaches it can run programs; "
            f"set {PASSWORD} (the user is {USER!r}), or leave --host out and use an SSH tunnel"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    workspace: Workspace, project: Path, *, host: str, port: int | None, password: str | None
) -> None:
    """Serve the page of a workspace until the process is interrupted.

    Raises:
        ServerError: If the address needs a password, or is taken.
    """
    check_address(host, password)
    _be_private(workspace)
    import gradio as gr

    from .page import Page
    from .writing import style

    def let_in(user: str, given: str) -> bool:
        asked, right = f"{user}\n{given}".encode(), f"{USER}\n{password}".encode()
        return secrets.compare_digest(asked, right)

    workspace.reports.mkdir(parents=True, exist_ok=True)
    blocks = Page(workspace, project).build()
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            auth=None if password is None else let_in,
            allowed_paths=[str(workspace.reports)],
            max_file_size="200mb",
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=gr.themes.Default(
                font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
            ),
            css=style(),
            head=_scripts(),
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise ServerError(f"{host}:{port or 'any'} cannot be used: {error}") from None
    print(f"Luthier is at {blocks.local_url} (Ctrl-C ends the page, not the studies)", flush=True)
    blocks.block_thread()


def _scripts() -> str:
    """Return the scripts that keep the place in the URL, and the newest words in sight.

    They also have the browser read what draws figures, by far the largest part of the page, once it
    has nothing else to do: gradio would begin when the first figure is to be seen.
    """
    import gradio as gr

    from .writing import script

    folder = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    figures = [f"assets/{path.name}" for path in sorted(folder.glob("PlotlyPlot-*.js"))]
    early = script("early").replace("FIGURES", json.dumps(figures))
    return f"<script>{script('place')}{script('chat')}{early}</script>"


def _be_private(workspace: Workspace) -> None:
    """Tell gradio, before it is imported, to send nothing and to write nothing elsewhere.

    Workers inherit this environment: nothing may stand in it that a trial should not see.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.folder / "cache" / "ui")
    for name in ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "GRADIO_ROOT_PATH", "GRADIO_NUM_WORKERS"):
        os.environ.pop(name, None)
