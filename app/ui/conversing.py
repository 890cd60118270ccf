"""What happens when something is said, clicked or done in the conversation of the page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...tools.errors import LuthierError
from .acts import act_of
from .chat import ChatColumn
from .place import Place, read_text
from .talking import Talks
from .together import PLACED
from .watching import Watch


class Conversing:
    """The conversation's events; the server keeps nothing of a tab here either."""

    def __init__(self, talks: Talks, watch: Watch) -> None:
        self.chat = ChatColumn(talks, watch)

    def wire(self, blocks: gr.Blocks, timer: gr.Timer, place: gr.Textbox, tabs: gr.Tabs) -> None:
        """Let the conversation follow what a person does, and the timer.

        Args:
            blocks: The page.
            timer: Ticks while nothing is under way, too.
            place: Where the tab is.
            tabs: The panels' tabs.
        """
        chat = self.chat
        options: dict[str, Any] = {
            **PLACED,
            "outputs": [*chat.outputs, place, chat.box, tabs],
        }
        inputs = [place, chat.seen]
        for happens in (blocks.load, timer.tick, chat.timer.tick):
            happens(self._on_look, inputs, **options)
        chat.box.submit(self._on_say, [*inputs, chat.box], **options)
        chat.new.click(self._on_new, inputs, **options)
        chat.list.input(self._on_conversation, [*inputs, chat.list], **options)
        for part in (chat.said, chat.live, chat.asks):
            part.click(self._on_act, inputs, **options)

    # What happens. Each returns a value for every output.

    def _on_look(self, place: str, seen: str) -> list[Any]:
        here = read_text(place)
        try:
            id = here.conversation or self.chat.talks.latest()
        except LuthierError as error:
            return self._filled(here, here, seen, str(error))
        return self._filled(here, here.but(conversation=id), seen)

    def _on_say(self, place: str, seen: str, given: dict[str, Any]) -> list[Any]:
        here = read_text(place)
        try:
            id = self.chat.say(here.conversation, given)
        except LuthierError as error:
            return self._filled(here, here, seen, str(error))
        return self._filled(here, here.but(conversation=id), seen, box="")

    def _on_new(self, place: str, seen: str) -> list[Any]:
        here = read_text(place)
        return self._filled(here, here.but(conversation=self.chat.talks.begin()), "")

    def _on_conversation(self, place: str, seen: str, id: str) -> list[Any]:
        here = read_text(place)
        return self._filled(here, here.but(conversation=id), "")

    def _on_act(self, event: gr.EventData, place: str, seen: str) -> list[Any]:
        here, act = read_text(place), act_of(event)
        if act.kind == "example":
            return self._filled(here, here, seen, box=act.argument)
        try:
            box = self.chat.act(here.conversation or "", act)
        except (LuthierError, ValueError) as error:
            return self._filled(here, here, seen, str(error))
        return self._filled(here, here, seen, box=box)

    def _filled(
        self, came: Place, here: Place, seen: str, problem: str = "", box: str | None = None
    ) -> list[Any]:
        values, started = self.chat.filled(here.conversation, here.study, seen, problem)
        tabs, written = gr.skip(), gr.skip()
        if started is not None:
            here = here.elsewhere().but(study=started)
            tabs = gr.Tabs(selected=here.panel)
        if box is not None:
            written = {"text": box, "files": []}
        place = here.since(came) if here != came else gr.skip()
        return [*values, place, written, tabs]
