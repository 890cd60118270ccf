"""The guide to a first study: what is tuned, what is good, the space, the budget; then a plan.

The form goes from the browser to here and back, so nothing of a tab is kept. What comes of it is
a draft of the toolbox, and a plan that waits in a conversation like any other one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from pydantic import TypeAdapter, ValidationError

from ...agent.approvals import Approvals
from ...agent.toolbox.box import Toolbox
from ...agent.toolbox.declaring import Answer
from ...agent.toolbox.desk import Desk
from ...tools.errors import LuthierError
from ...tools.metric_words import direction_of, words_of
from ...tools.recipes.data import BUNDLED, SUFFIXES
from ...tools.script import read_script
from ...tools.section import Seconds
from ...tools.space import Categorical, Parameter
from ...tools.spec import StudySpec
from .acts import act_html, act_of
from .place import read_text
from .start import Starting
from .talking import Talks
from .together import PLACED, Look
from .writing import write

_STEPS = 4
_TRIALS = "50"
_MOST_TRIALS = 100_000
_MOST_FIELDS = 2_000


@dataclass
class Form:
    """The guide as it is filled in."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    """Field to what is wrong with it."""
    open: int = 1
    """How many of its steps are laid open."""
    choices: dict[str, list[str]] = field(default_factory=dict)
    """Field to what may be typed into it."""
    known_metrics: dict[str, str] = field(default_factory=dict)
    """Metric that the script prints to its direction."""
    spec: StudySpec | None = None
    """What the steps so far come to."""
    draft: str = ""
    """The key of the last draft."""

    def get(self, name: str) -> str:
        """Return what stands in a field, without the space around it."""
        return self.values.get(name, "").strip()

    def usually(self, name: str, value: str) -> str:
        """Return what stands in a field; if nothing does, `value` from now on."""
        if not self.get(name):
            self.values[name] = value
        return self.get(name)

    @property
    def is_script(self) -> bool:
        """Whether a script is tuned, and no network trained on data."""
        return self.get("source").endswith(".py")


class _Wrong(Exception):
    """What is wrong with a field."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class Guide:
    """Goes from a form to a draft; it starts nothing."""

    def __init__(self, desk: Desk) -> None:
        """Guide through what lies in the desk's project."""
        self._desk = desk

    def walk(self, values: Mapping[str, str], steps: int) -> Form:
        """Check the first steps of a form, as far as they are right.

        Args:
            values: Field to what a person wrote into it.
            steps: How many, 0 to 4.

        Returns:
            The form, with the first errors beside their fields, and the draft if all four are
            right.
        """
        form = Form(dict(values))
        walked: list[Callable[[Form], None]] = [self._source, self._aim, self._space, self._budget]
        for step in walked[:steps]:
            try:
                step(form)
            except _Wrong as wrong:
                form.errors[wrong.field] = str(wrong)
            if form.errors:
                break
            form.open = min(form.open + 1, _STEPS)
        return form

    def _call(self, field: str, tool: str, **arguments: Any) -> Answer:
        """Call a tool; what it refuses is wrong with a field."""
        try:
            approvals = Approvals(self._desk.conversations, "", self._desk.person)
            given = {name: value for name, value in arguments.items() if value not in ("", None)}
            result = Toolbox(self._desk, approvals).call(tool, given)
        except LuthierError as error:
            raise _Wrong(field, str(error)) from None
        if result.failed:
            raise _Wrong(field, str(result.answer["error"]))
        return result.answer

    def _source(self, form: Form) -> None:
        source = form.get("source")
        if form.is_script:
            read = self._call("source", "look_at_script", script=source)
            if not read["parameters"]:
                raise _Wrong(
                    "source",
                    f"no parameter of {source!r} could be read; write a spec by hand, below",
                )
            form.known_metrics = {m["name"]: m["direction"] for m in read["metrics"]}
            form.choices["metric"] = list(form.known_metrics)
            guess = read_script(self._desk.path(source)).objective
            if guess is not None and guess.name in form.known_metrics:
                form.usually("metric", guess.name)  # a proposal, which the next step shows
        elif source in BUNDLED:
            form.usually("target", "target")
        elif source.endswith(SUFFIXES):
            seen = self._call("source", "look_at_data", data=source)
            form.choices["target"] = list(seen.get("described", {}))
        else:
            kinds = ", ".join(SUFFIXES)
            raise _Wrong(
                "source",
                f"name a training script (.py), a data file ({kinds}), or one of "
                f"{', '.join(BUNDLED)}",
            )

    def _aim(self, form: Form) -> None:
        if form.is_script:
            self._metric(form)
        elif form.get("source") not in BUNDLED and form.choices["target"]:
            target, columns = form.get("target"), form.choices["target"]
            if target not in columns:
                wrong = f"there is no column {target!r}" if target else "say what to predict"
                raise _Wrong("target", f"{wrong}; the columns are {', '.join(columns)}")
        form.draft, form.spec = self._drafted(form, "metric" if form.is_script else "target")

    def _metric(self, form: Form) -> None:
        known = form.known_metrics
        metric = form.get("metric")
        if not metric:
            raise _Wrong("metric", "say which metric decides" + _among(known))
        if metric not in known and not form.get("pattern"):
            raise _Wrong(
                "metric",
                f"the script does not print {metric!r}{_among(known)}; or say below in which line",
            )
        guessed = known.get(metric) or direction_of(words_of(metric)) or ""
        if form.usually("direction", guessed if guessed.endswith("mize") else "") not in (
            "maximize",
            "minimize",
        ):
            raise _Wrong("direction", f"say whether {metric!r} should be large or small")

    def _drafted(
        self, form: Form, field: str, trials: int | None = 50, time: str = "", name: str = ""
    ) -> tuple[str, StudySpec]:
        """Draft a study of what was said so far."""
        known = form.get("metric") in form.known_metrics
        if form.is_script:
            answer = self._call(
                field,
                "draft_from_script",
                script=form.get("source"),
                metric=form.get("metric"),
                direction=form.get("direction"),
                pattern="" if known else form.get("pattern"),
                trials=trials,
                wall_time=time,
                name=name,
            )
        else:
            answer = self._call(
                field,
                "draft_from_data",
                data=form.get("source"),
                target=form.get("target"),
                task=form.usually("task", "classification"),
                model=form.usually("model", "mlp"),
                trials=trials,
                wall_time=time,
                name=name,
            )
        draft = self._desk.conversations.draft(answer["draft"])
        assert draft is not None
        return draft.key, draft.spec

    def _space(self, form: Form) -> None:
        assert form.spec is not None
        if form.get("of") != form.get("source"):  # the ranges of another script make no sense
            form.values = {k: v for k, v in form.values.items() if ":" not in k}
        kept: dict[str, Parameter] = {}
        for name, parameter in form.spec.space.items():
            if form.values.get(f"tune:{name}", "on"):
                try:
                    kept[name] = _narrowed(name, parameter, form)
                except _Wrong as wrong:
                    form.errors[wrong.field] = str(wrong)
        if not kept and not form.errors:
            raise _Wrong("space", "nothing would be tuned; tick at least one parameter")
        if not form.errors and kept != form.spec.space:
            form.draft = self._with_space(form.draft, kept, "space")

    def _with_space(self, draft: str, space: Mapping[str, Parameter], field: str) -> str:
        data = {n: p.model_dump(mode="json", exclude_defaults=True) for n, p in space.items()}
        typed = {name: {"type": space[name].type} | form for name, form in data.items()}
        before = self._desk.conversations.draft(draft)
        assert before is not None
        changes: dict[str, Any] = {"space": typed}
        if before.spec.objective.kind == "script":
            forms = before.spec.objective.arguments
            changes["objective.arguments"] = {n: f for n, f in forms.items() if n in space}
        answer = self._call(field, "change_draft", draft=draft, changes=changes)
        return str(answer["draft"])

    def _budget(self, form: Form) -> None:
        assert form.spec is not None
        drafted_space = self._desk.conversations.draft(form.draft)
        assert drafted_space is not None
        text, time = form.get("trials"), form.get("time")
        if not time:
            text = form.usually("trials", _TRIALS)
        trials = int(text) if text.isdecimal() and len(text) < 9 else 0
        if text and not 1 <= trials <= _MOST_TRIALS:
            raise _Wrong(
                "trials", f"write a whole number from 1 to {_MOST_TRIALS:,}, but got {text!r}"
            )
        if time:
            try:
                TypeAdapter(Seconds).validate_python(time)
            except ValidationError:
                raise _Wrong("time", f"write a time as 30m, 2h or 90s, but got {time!r}") from None
        field = "name" if form.get("name") else "time" if time else "trials"
        form.draft, form.spec = self._drafted(form, field, trials or None, time, form.get("name"))
        if drafted_space.spec.space != form.spec.space:
            form.draft = self._with_space(form.draft, drafted_space.spec.space, field)


def _among(known: Mapping[str, str]) -> str:
    return f"; it prints {', '.join(known)}" if known else "; none could be read"


def _narrowed(name: str, parameter: Parameter, form: Form) -> Parameter:
    """Return a parameter with the range that a person wrote."""
    data = parameter.model_dump()
    if isinstance(parameter, Categorical):
        chosen = [
            choice
            for at, choice in enumerate(parameter.choices)
            if form.values.get(f"choice:{name}:{at}", "on")
        ]
        if not chosen:
            raise _Wrong(f"low:{name}", "tick at least one value, or leave the parameter out")
        if len(chosen) == len(parameter.choices):
            return parameter
        data["choices"] = chosen
        if parameter.default not in chosen:
            data["default"] = None
        return Categorical.model_validate(data)
    number = int if parameter.type == "int" else float
    for end in ("low", "high"):
        text = form.get(f"{end}:{name}")
        if text:
            try:
                data[end] = number(text)
            except ValueError:
                kind = "a whole number" if number is int else "a number, such as 1e-4"
                raise _Wrong(f"{end}:{name}", f"write {kind}, but got {text!r}") from None
    data["log"] = bool(form.values.get(f"log:{name}", "on" if parameter.log else ""))
    default = parameter.default
    if default is not None and not data["low"] <= default <= data["high"]:
        data["default"] = None
    try:
        return type(parameter).model_validate(data)
    except ValidationError as error:
        reason = str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        raise _Wrong(f"high:{name}", reason) from None


def written(form: Form, said: str = "") -> str:
    """Return the form as HTML."""
    return write("guide", form=form, said=said, space={} if form.spec is None else form.spec.space)


class GuideForm:
    """The guide in its tab."""

    def __init__(self, guide: Guide, starting: Starting, talks: Talks) -> None:
        self._guide = guide
        self._starting = starting
        self._talks = talks

    def build(self) -> None:
        """Lay it out; `looks` fills it in."""
        self._html = act_html("lu-guide")
        self.looks = Look(lambda: [written(self._listed(Form({})))], [], [self._html])

    def wire(self, place: gr.Textbox) -> None:
        """Let it follow what a person does; `place` is where the tab is."""
        self._html.click(
            self.on_act,
            place,
            [self._html, place],
            **PLACED,
        )

    def on_act(self, event: gr.EventData, place: str) -> list[Any]:
        """Check what was filled in; after the last step, let the plan wait for a yes."""
        here = read_text(place)
        step, _, text = act_of(event).argument.partition(":")
        form = self._listed(self._guide.walk(_read(text), int(step) if step in "1234" else 0))
        if step != "4" or form.errors:
            return [written(form), gr.skip()]
        try:
            id = self._conversation(here.conversation)
            self._talks.talk(id).do(lambda dialogue: dialogue.send(f"/start {form.draft}"))
        except LuthierError as error:
            form.errors["plan"] = str(error)
            return [written(form), gr.skip()]
        return [written(form, form.draft), here.but(conversation=id).since(here)]

    def _listed(self, form: Form) -> Form:
        form.choices["source"] = [*self._starting.scripts(), *self._starting.tables(), *BUNDLED]
        return form

    def _conversation(self, id: str | None) -> str:
        """Return the conversation in which the plan waits: this one, unless something waits there.

        What waits would be refused if another study was asked for.
        """
        if id is not None:
            talk = self._talks.talk(id)
            if not talk.live.busy and not self._talks.view(id).pending:
                return id
        return self._talks.begin()


def _read(text: str) -> dict[str, str]:
    """Return the fields that a browser sent."""
    try:
        data = json.loads(text or "{}")
    except ValueError:
        data = {}
    if not isinstance(data, dict):
        data = {}
    return {str(name): str(value) for name, value in list(data.items())[:_MOST_FIELDS]}
