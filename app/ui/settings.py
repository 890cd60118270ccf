"""The panel of settings: the language model, and when a person is asked. It shows no key."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from ...agent.approvals import Policy, load_policy, store_policy
from ...agent.llm.settings import HOW_TO, is_offline, load_settings, store_settings
from ...tools.config_file import read_table
from ...tools.errors import LuthierError
from ...tools.workspace import Workspace
from .acts import plain_html
from .place import PanelName
from .together import Look
from .writing import message, write

_LEVELS = {
    "Always ask": "always",
    "Ask above so many device-seconds in one go": "above",
    "Go ahead within so many device-seconds in all": "within",
}
_MINUTES = 600.0


class SettingsPanel:
    """Settings are kept in the workspace's files; the environment comes before them."""

    name: PanelName = "settings"
    title = "Settings"

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def build(self) -> None:
        """Lay out its components, in its tab; `looks` fills them in."""
        in_effect = plain_html("lu-in-effect")
        with gr.Row(elem_classes="lu-controls"):
            endpoint = gr.Textbox(
                label="Endpoint",
                info="What comes before /chat/completions",
                placeholder="http://127.0.0.1:8080/v1",
                elem_id="lu-endpoint",
            )
            model = gr.Textbox(
                label="Model",
                elem_id="lu-model",
                info="Its name there",
            )
            key = gr.Textbox(
                label="Key",
                info="Is kept, and never shown again; empty leaves the one that is there",
                type="password",
                elem_id="lu-key",
            )
        with gr.Row(elem_classes="lu-controls"):
            forget = gr.Checkbox(False, label="Forget the key that is kept")
            offline = gr.Checkbox(label="Offline: use no language model", elem_id="lu-offline")
        with gr.Row(elem_classes="lu-controls"):
            level = gr.Radio(
                list(_LEVELS.items()),
                label="When a conversation may spend device time",
                info="What destroys something, or cannot be estimated, is always asked",
                elem_id="lu-level",
            )
            seconds = gr.Number(minimum=1, label="Device-seconds", elem_id="lu-level-seconds")
        with gr.Row():
            save = gr.Button("Save", variant="primary", elem_id="lu-save")
            test = gr.Button("Test the connection", elem_id="lu-test")
        said = plain_html("lu-saved")
        result = plain_html("lu-probe")
        options: dict[str, Any] = {"queue": False, "api_visibility": "private"}
        given = [endpoint, model, key, forget, offline, level, seconds]
        self.looks = Look(self._filled, [], [in_effect, endpoint, model, offline, level, seconds])
        save.click(self.save, given, [said, in_effect, key, forget], **options)
        test.click(self.test, None, result, **options)

    def _filled(self) -> list[Any]:
        policy = self._policy()
        return [
            self.page(),
            self._stored("base_url"),
            self._stored("model"),
            self._is_offline(),
            policy.level,
            policy.device_seconds or _MINUTES,
        ]

    def _stored(self, name: str) -> str:
        try:
            return str(read_table(self._workspace.folder / "config.toml", "llm").get(name, ""))
        except LuthierError:  # `page` tells of it
            return ""

    def _is_offline(self) -> bool:
        try:
            return is_offline(self._workspace)
        except LuthierError:
            return False

    def _policy(self) -> Policy:
        try:
            return load_policy(self._workspace)
        except LuthierError:
            return Policy()

    def page(self) -> str:
        """Return what is in effect."""
        try:
            settings, problem = load_settings(self._workspace), ""
            policy = load_policy(self._workspace)
        except LuthierError as error:
            settings, policy, problem = None, Policy(), str(error)
        return write(
            "settings",
            settings=settings,
            problem=problem,
            offline=self._is_offline(),
            policy=policy,
            environment=sorted(name for name in os.environ if name.startswith("LUTHIER_LLM_")),
            key=_key(self._workspace) if settings is not None and settings.api_key else "none",
            how_to=HOW_TO,
            folder=self._workspace.folder,
        )

    def save(
        self,
        endpoint: str,
        model: str,
        key: str,
        forget: bool,
        offline: bool,
        level: str,
        seconds: float | None,
    ) -> tuple[str, str, str, bool]:
        """Keep what was typed; return what came of it, what is in effect, and an empty key."""
        api_key = key.strip() or ("" if forget else None)
        try:
            policy = Policy(level, 0.0 if level == "always" else float(seconds or 0.0))  # type: ignore[arg-type]
            store_settings(
                self._workspace,
                base_url=endpoint.strip(),
                model=model.strip(),
                api_key=api_key,
                offline=offline,
            )
            store_policy(self._workspace, policy)
            load_settings(self._workspace)
        except LuthierError as error:
            return message(str(error), "problem"), self.page(), "", forget
        return (
            message("Saved; it counts from the next message and the next study on."),
            self.page(),
            "",
            False,
        )

    def test(self) -> str:
        """Try the endpoint out, and return what it can do."""
        from ...agent.llm.probe import probe

        try:
            settings = load_settings(self._workspace)
            found: list[Any] = [] if settings is None else probe(settings)
            problem = "" if settings is not None else "No language model is set up, or it is off."
        except LuthierError as error:
            found, problem = [], str(error)
        return write("probe", found=found, problem=problem)


def _key(workspace: Workspace) -> str:
    """Return where the key is, never the key."""
    for name in ("LUTHIER_LLM_API_KEY", "OPENAI_API_KEY"):
        if os.environ.get(name):
            return f"set in the environment ({name})"
    return f"set in {workspace.folder / 'secrets.toml'}"
