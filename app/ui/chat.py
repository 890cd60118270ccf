"""The conversation, on the left of everything: what was said and done, and what waits for a word.

It looks at the database and at what the server has under way; nothing is answered in here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from ...agent.dialogue import study_started
from ...agent.llm.settings import load_settings
from ...agent.wording import lines
from ...tools.budget import Meter
from ...tools.errors import LuthierError
from ..tables import number_text, plain_lines, seconds_text
from .acts import Act, act_html, plain_html
from .talking import UPLOADS, Live, Talks, View
from .watching import Watch
from .writing import cut, digest, message, write

_TICK_SECONDS = 0.4
_LONGEST_ANSWER = 6_000
"""Characters of a tool's answer that a card holds."""
_MOST_TURNS = 400
"""Turns that the page shows; the database has them all."""
EXAMPLES = (
    "Tune train.py: highest val_acc within 20 trials",
    "What can you do?",
    "How is it going?",
    "Why did the last trial fail?",
)
_EFFECTS = {"spends": "Spend device time?", "destroys": "End what runs?"}


class Shown(NamedTuple):
    """What a browser has of the conversation already."""

    said: str = ""
    live: str = ""
    asks: str = ""
    status: str = ""
    list: str = ""
    started: str = ""
    """The study that the last tool started, if it did."""


class ChatColumn:
    """The conversation's part of the page."""

    def __init__(self, talks: Talks, watch: Watch) -> None:
        self.talks = talks
        self._watch = watch

    def build(self) -> None:
        """Lay out its components."""
        with gr.Row(elem_classes="lu-talks"):
            self.list = gr.Dropdown(
                choices=[],
                show_label=False,
                label="Conversation",
                container=False,
                elem_id="lu-conversations",
                min_width=160,
            )
            self.new = gr.Button("New", size="sm", min_width=70, scale=0)
        with gr.Column(elem_id="lu-talk"):
            self.said = act_html("lu-said")
            self.live = act_html("lu-live")
            self.asks = act_html("lu-asks")
        self.box = gr.MultimodalTextbox(
            show_label=False,
            label="Message",
            placeholder="Say what to tune, or ask",
            file_count="multiple",
            file_types=list(UPLOADS),
            max_plain_text_length=20_000,
            elem_id="lu-box",
        )
        self.status = plain_html("lu-status")
        self.timer = gr.Timer(_TICK_SECONDS, active=False)
        self.seen = gr.Textbox(visible="hidden")
        self.outputs = [
            self.said,
            self.live,
            self.asks,
            self.status,
            self.list,
            self.timer,
            self.seen,
        ]

    def filled(
        self, id: str | None, study: str | None, seen: str, problem: str = ""
    ) -> tuple[list[Any], str | None]:
        """Return a value for each output, and a study that has just been started, if one has.

        What the browser has already is left.
        """
        before = _read_shown(seen)
        values: list[Any] = [gr.skip()] * len(self.outputs)
        try:
            view, live = self._look(id)
            after = Shown(
                self._said(view),
                self._live(live, problem, view),
                self._asks(view),
                self._status(study),
                json.dumps(self._choices(id)),
                _started(view) if view is not None else "",
            )
            values[5] = gr.Timer(active=live.busy)
        except LuthierError as error:
            after = Shown(live=message(str(error), "problem"), list="[]")
            values[5] = gr.Timer(active=False)
        digests = Shown(*map(digest, after))
        for at, (new, old) in enumerate(zip(digests[:4], before[:4], strict=True)):
            if new != old:
                values[at] = after[at]
        if digests.list != before.list:
            values[4] = gr.Dropdown(choices=[tuple(c) for c in json.loads(after.list)], value=id)
        values[6] = json.dumps(digests)
        fresh = bool(before.started) and digests.started != before.started
        return values, after.started or None if fresh else None

    def _look(self, id: str | None) -> tuple[View | None, Live]:
        if id is None:
            return None, Live()
        talk = self.talks.talk(id)
        talk.look_for_news()
        live = talk.live  # before the database: what it had said is there by then
        return self.talks.view(id), live

    def _said(self, view: View | None) -> str:
        items = [] if view is None else list(_items(view))
        return write(
            "chat",
            items=items[-_MOST_TURNS:],
            left_out=max(0, len(items) - _MOST_TURNS),
            model=self._model(),
            examples=EXAMPLES,
        )

    def _model(self) -> str | None:
        try:
            settings = load_settings(self.talks.desk.workspace)
        except LuthierError:
            return None
        return None if settings is None else settings.model

    def _live(self, live: Live, problem: str, view: View | None) -> str:
        idle = view is not None and not live.busy and not view.pending and bool(view.turns)
        return write("chat_live", live=live, problem=problem or live.problem, may_repeat=idle)

    def _asks(self, view: View | None) -> str:
        pending = [] if view is None else view.pending
        asked = [
            {
                "id": approval.id,
                "digest": approval.digest,
                "title": _EFFECTS.get(approval.effect, "Go ahead?"),
                "tool": approval.tool,
                "lines": "\n".join(
                    [
                        *lines({k: v for k, v in approval.arguments.items() if v is not None}),
                        *lines(approval.shown),
                    ]
                ),
            }
            for approval in pending
        ]
        return write("asks", asked=asked)

    def _status(self, study: str | None) -> str:
        if study is None:
            return ""
        snapshot = self._watch.look(study)
        states = [trial.state for trial in snapshot.trials]
        meters = snapshot.meters
        return write(
            "status",
            study=study,
            running=states.count("running"),
            waiting=states.count("waiting"),
            trials=_of(meters.trials),
            device=_of(meters.device_seconds, seconds_text),
            tokens=_of(meters.tokens),
            dollars=_of(meters.dollars),
        )

    def _choices(self, id: str | None) -> list[tuple[str, str]]:
        choices = [(cut(words, 48), each) for each, words in self.talks.spoken()]
        if id is not None and id not in {each for _, each in choices}:
            choices.insert(0, ("New conversation", id))
        return choices

    def say(self, id: str | None, given: Mapping[str, Any]) -> str:
        """Answer what a person typed or dropped; return the conversation's id.

        Raises:
            LuthierError: If a file cannot be used; nothing is said then.
        """
        files = [self.talks.take_in(Path(path)) for path in given.get("files") or ()]
        words = str(given.get("text") or "").strip()
        text = "\n".join(filter(None, [words, *(f"I have put {file} here." for file in files)]))
        if not text:
            raise UsageError("there is nothing to send yet: type what you want, or drop a file")
        id = id or self.talks.begin()
        self.talks.talk(id).do(lambda dialogue: dialogue.send(text))
        return id

    def act(self, id: str, act: Act) -> str | None:
        """Do what was clicked; return a text for the box, None to leave the box.

        Raises:
            LuthierError: If that cannot be decided, or not any more.
        """
        talk = self.talks.talk(id)
        number, _, rest = act.argument.partition(":")
        words = rest.partition(":")[2].strip()
        match act.kind:
            case "approve":
                digest = rest.partition(":")[0]
                talk.do(lambda dialogue: dialogue.approve(int(number), digest))
            case "change":
                if "=" not in words:
                    raise UsageError("write what to change as NAME=VALUE, such as trials=10")
                talk.do(lambda dialogue: dialogue.send(f"/edit {int(number)} {words}"))
            case "reject":
                talk.do(lambda dialogue: dialogue.send(f"/reject {int(number)} {words}"))
            case "stop_talk":
                talk.stop()
            case "again":
                text = self._last_words(id)
                talk.do(lambda dialogue: dialogue.send(text))
            case "undo":
                talk.do(lambda dialogue: dialogue.send("/undo"))
            case "reword":
                return self._last_words(id)
            case _:
                raise UsageError(f"this page knows nothing called {act.kind!r}; reload it")
        return None

    def _last_words(self, id: str) -> str:
        said = [data["text"] for kind, data in self.talks.view(id).turns if kind == "person"]
        if not said:
            raise UsageError("nothing was said yet")
        return str(said[-1])


class UsageError(LuthierError, ValueError):
    """Something was asked for in a way that makes no sense."""


def _started(view: View) -> str:
    """Return the study that the last tool of a conversation started, nothing if it did not."""
    last = next(((kind, data) for kind, data in reversed(view.turns) if kind == "tool"), None)
    return (last and study_started(*last)) or ""


def _items(view: View) -> Any:
    """Yield what a person sees of each turn."""
    for kind, data in view.turns:
        match kind:
            case "person":
                yield {"kind": "person", "text": data["text"]}
            case "text":
                yield {"kind": "luthier", "text": data["text"], "by": data["by"]}
            case "tool":
                yield {
                    "kind": "tool",
                    "tool": data["tool"],
                    "failed": data["failed"],
                    "seconds": data.get("seconds"),
                    "asked": _pretty(data["arguments"]),
                    "answer": _pretty(_json(data["answer"]) or data["answer"]),
                }
            case "decision":
                reason = f": {data['reason']}" if data["reason"] else ""
                text = f"Number {data['approval']} was {data['state']} by you{reason}"
                yield {"kind": "note", "text": text}
            case "undone":
                text = f"You took back “{cut(data['text'], 60)}”. What was started goes on."
                yield {"kind": "note", "text": text}
            case "interrupted":
                yield {"kind": "problem", "text": data["reason"]}


def _pretty(data: Any) -> str:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, indent=1)
    text = plain_lines(text)
    return text if len(text) <= _LONGEST_ANSWER else f"{text[:_LONGEST_ANSWER]}…"


def _json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text[text.index("{") :])
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _of(meter: Meter, text: Callable[[float], str] = number_text) -> str:
    if not meter.spent and meter.cap is None:
        return ""
    cap = "" if meter.cap is None else f" of {text(float(meter.cap))}"
    return f"{text(float(meter.spent))}{cap}"


def _read_shown(seen: str) -> Shown:
    try:
        data = json.loads(seen or "[]")
        return Shown(*map(str, data)) if len(data) == len(Shown._fields) else Shown()
    except (ValueError, TypeError):
        return Shown()
