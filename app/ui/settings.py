"""The panel of settings: which language model is set up, and what it can do. It shows no key."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from ...agent.llm.settings import HOW_TO, load_settings
from ...tools.errors import LuthierError
from ...tools.workspace import Workspace
from .acts import plain_html
from .place import PanelName
from .writing import write


class SettingsPanel:
    """Settings are made in the environment or in the workspace's files, and shown here."""

    name: PanelName = "settings"
    title = "Settings"

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def build(self) -> None:
        """Lay out its components, in its tab."""
        plain_html(value=self.page)
        test = gr.Button("Test the connection", size="md")
        result = plain_html()
        test.click(self.test, None, result, queue=False, api_visibility="private")

    def page(self) -> str:
        """Return what is set up."""
        try:
            settings, problem = load_settings(self._workspace), ""
        except LuthierError as error:
            settings, problem = None, str(error)
        return write(
            "settings",
            settings=settings,
            problem=problem,
            key=_key(self._workspace) if settings is not None and settings.api_key else "none",
            how_to=HOW_TO,
            folder=self._workspace.folder,
        )

    def test(self) -> str:
        """Try the endpoint out, and return what it can do."""
        from ...agent.llm.probe import probe

        try:
            settings = load_settings(self._workspace)
            found: list[Any] = [] if settings is None else probe(settings)
            problem = "" if settings is not None else "No language model is set up."
        except LuthierError as error:
            found, problem = [], str(error)
        return write("probe", found=found, problem=problem)


def _key(workspace: Workspace) -> str:
    """Return where the key is, never the key."""
    for name in ("LUTHIER_LLM_API_KEY", "OPENAI_API_KEY"):
        if os.environ.get(name):
            return f"set in the environment ({name})"
    return f"set in {workspace.folder / 'secrets.toml'}"
