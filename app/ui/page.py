"""The page: its layout, and what happens when something is clicked or has changed.

The tab's place and what it has been shown travel with every request, so the server keeps nothing
of a tab: it can be killed and started again in the middle of everything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from ...agent.toolbox.desk import Desk
from ...tools.analysis import counts
from ...tools.errors import LuthierError
from ...tools.ledger import StudyNotFoundError
from ...tools.workspace import Workspace
from ..chat import write_report_page
from ..live import news_text
from .acts import act_html, act_of, plain_html
from .analysis import AnalysisPanel
from .approvals import ApprovalsPanel
from .branching import SpacePanel
from .budget import BudgetPanel, forecast
from .clicks import decide, move
from .conversing import Conversing
from .curves import CurvesPanel
from .export import ExportPanel
from .guide import Guide, GuideForm
from .place import APART, PANELS, Place, read_place, read_text
from .settings import SettingsPanel
from .sight import Panel, Sight, Tab
from .start import Starting, StartPanel
from .talking import Talks
from .together import PLACED, Look, together
from .trials import TrialsPanel
from .watching import Watch
from .workflows import Patches, WorkflowsPanel
from .writing import digest, message, write

_TICK_SECONDS = 1.5
_FILTERED = (
    "(...given) => { window.luthierFilter(given[2], given[3]); "
    "return [window.luthierPlace(), ...given.slice(1)]; }"
)
"""The filters of the trials are the first controls; they stand in the URL, too."""
_EMPTY = (
    "There is no study in this workspace yet. Say in the conversation which script to tune, or "
    "begin one under “New study”; the demo is there, too."
)


class Page:
    """The page of one workspace."""

    def __init__(self, workspace: Workspace, project: Path) -> None:
        """Prepare a page; `build` lays it out.

        Args:
            workspace: Where the ledger is; it need not be there yet.
            project: The folder whose scripts can be tuned.
        """
        self.watch = Watch(workspace)
        self.starting = Starting(self.watch, project)
        self.panels: list[Panel] = [
            TrialsPanel(),
            CurvesPanel(),
            AnalysisPanel(),
            BudgetPanel(),
            ExportPanel(),
        ]
        self._last: dict[str, tuple[str, list[Any]]] = {}
        self.space_panel = SpacePanel(self.watch)
        self.workflows_panel = WorkflowsPanel(Patches(workspace, self.starting))
        self.settings_panel = SettingsPanel(workspace)
        desk = Desk(workspace, project, write_report=write_report_page)
        talks = Talks(desk)
        self.conversing = Conversing(talks, self.watch)
        self.guide = GuideForm(Guide(desk), self.starting, talks)
        self.approvals_panel = ApprovalsPanel(self.conversing.chat, self.watch)
        self.start_panel = StartPanel(self.starting, self.guide)

    def build(self) -> gr.Blocks:
        """Lay the page out and wire it."""
        blocks: gr.Blocks
        with gr.Blocks(title="Luthier", analytics_enabled=False, fill_width=True) as blocks:
            self._place = gr.Textbox(visible="hidden", elem_id="lu-place")
            self._seen = gr.Textbox(visible="hidden")
            with gr.Row(elem_classes="lu-top"):
                plain_html(value="<p class='lu-brand'>Luthier</p>")
                self._study = gr.Dropdown(
                    choices=[],
                    show_label=False,
                    label="Study",
                    min_width=220,
                    elem_id="lu-study",
                    container=False,
                )
                self.approvals_panel.build_badge()
            self._notice = plain_html("lu-notice")
            with gr.Row(elem_id="lu-halves"):
                with gr.Column(scale=2, min_width=320, elem_id="lu-chat"):
                    self.conversing.chat.build()
                with gr.Column(scale=5, min_width=320):
                    tabs = self._build_panels()
            timer = gr.Timer(_TICK_SECONDS)
            self._wire(blocks, tabs, timer)
            self.guide.wire(self._place)
            self.conversing.wire(blocks, timer, self._place, self._tabs)
        return blocks

    def _build_panels(self) -> dict[str, gr.Tab]:
        self._head = act_html("lu-head")
        tabs: dict[str, gr.Tab] = {}
        with gr.Tabs(elem_id="lu-tabs") as self._tabs:
            shown: list[Tab] = [
                *self.panels,
                self.space_panel,
                self.start_panel,
                self.workflows_panel,
                self.approvals_panel,
                self.settings_panel,
            ]
            for panel in shown:
                with gr.Tab(panel.title, id=panel.name) as tabs[panel.name]:
                    panel.build()
        return tabs

    def _wire(self, blocks: gr.Blocks, tabs: dict[str, gr.Tab], timer: gr.Timer) -> None:
        self._controls = [control for panel in self.panels for control in panel.inputs]
        self._shared = [self._notice, self._place, self._seen, self._study, self._tabs, self._head]
        self._outputs = [*self._shared, *(out for panel in self.panels for out in panel.outputs)]
        inputs = [self._place, self._seen, *self._controls]
        options: dict[str, Any] = {**PLACED, "outputs": self._outputs}
        for name, tab in tabs.items():
            tab.select(self._going_to(name), inputs, **options)
        self._study.input(self._on_study, [*inputs, self._study], **options)
        for panel in self.panels:
            here = {"js": _FILTERED} if isinstance(panel, TrialsPanel) else {}
            for control in panel.inputs:
                control.input(  # type: ignore[attr-defined]
                    self._on_tick, inputs, **{**options, **here}
                )
        acting = [part for panel in self.panels for part in panel.acting]
        for part in (self._head, self.approvals_panel.badge, *acting):
            part.click(self._on_act, inputs, **options)
        exporting = next(panel for panel in self.panels if isinstance(panel, ExportPanel))
        exporting.make.click(
            self._on_export(exporting), inputs, **{**options, "show_progress": "minimal"}
        )
        start = self.start_panel
        start.start.click(
            self._on_start, [*inputs, start.spec, start.script, start.confirmed], **options
        )
        start.demo.click(self._on_demo, inputs, **options)
        space = self.space_panel
        space.start.click(
            self._on_branch,
            [*inputs, space.parent, space.grid, space.branch_name, space.confirmed],
            **options,
        )
        gr.on(
            [tabs[space.name].select, self._study.input],
            space.fill,
            [self._place, space.parent],
            trigger_mode="once",  # two at a time would both find it empty, and undo an edit
            **{**options, "outputs": space.filled},
        )
        self._wire_looks(blocks, tabs, timer, inputs)
        self._place.change(None, self._place, None, js="window.luthierGo")

    def _wire_looks(
        self,
        blocks: gr.Blocks,
        tabs: dict[str, gr.Tab],
        timer: gr.Timer,
        inputs: list[Component],
    ) -> None:
        """Fill the page in as it opens, and let it follow what happens."""
        trials = next(panel for panel in self.panels if isinstance(panel, TrialsPanel))
        space, workflows = self.space_panel, self.workflows_panel
        filters = Look(lambda place: trials.filters(read_text(place)), [self._place], trials.inputs)
        at_space = [self._place, space.parent]
        opening = [
            Look(self._on_load, inputs, self._outputs),
            filters,
            Look(space.fill, at_space, space.filled),
            self.approvals_panel.looks,
            self.guide.looks,
            workflows.looks,
            self.settings_panel.looks,
        ]
        following = [
            Look(self._on_tick, inputs, self._outputs),
            Look(space.follow, at_space, space.filled),
            self.approvals_panel.looks,
            workflows.follows(self._place),
        ]
        together(blocks.load, opening, PLACED)
        together(timer.tick, following, PLACED)
        together(tabs[workflows.name].select, [workflows.looks])

    # What a person or the timer does. Each returns a value for every output.

    def _on_load(self, place: str, seen: str, *values: Any) -> list[Any]:
        came = read_text(place)
        try:
            empty = not self.watch.studies()
        except LuthierError as error:
            return self._filled(came, came, "", values, str(error))
        here = came
        if empty and came.study is None and came.panel not in APART:
            here = came.but(panel="start")
        tabs = here.panel if here.panel != Place().panel else None
        return self._filled(came, here, "", values, tabs=tabs)

    def _on_tick(self, place: str, seen: str, *values: Any) -> list[Any]:
        here = read_text(place)
        return self._filled(here, here, seen, values, quiet=True)

    def _going_to(self, name: str) -> Callable[..., list[Any]]:
        def go(place: str, seen: str, *values: Any) -> list[Any]:
            if not seen:  # as the page opens, gradio selects its first tab; the URL knows better
                return [gr.skip()] * len(self._outputs)
            came = read_text(place)
            here = read_place({**came.model_dump(), "panel": name})
            # Others may be under way, so what the tab shows is not known: all is filled in.
            return self._filled(came, here, "", values, quiet=True)

        return go

    def _on_study(self, place: str, seen: str, *values: Any) -> list[Any]:
        *controls, name = values
        came = read_text(place)
        panel = "trials" if came.panel in APART else came.panel
        here = read_place({**came.elsewhere().model_dump(), "panel": panel, "study": name})
        return self._filled(came, here, "", controls, tabs=here.panel)

    def _on_act(self, event: gr.EventData, place: str, seen: str, *values: Any) -> list[Any]:
        here, act = read_text(place), act_of(event)
        moved = move(here, act)
        if moved is not None:
            tabs = moved.panel if moved.panel != here.panel else None
            return self._filled(here, moved, "", values, tabs=tabs)
        try:
            said, problem = decide(self.watch, here, act), ""
        except (LuthierError, ValueError) as error:
            said, problem = "", str(error)
        return self._filled(here, here, "", values, problem, said)

    def _on_export(self, panel: ExportPanel) -> Callable[..., list[Any]]:
        def export(place: str, seen: str, *values: Any) -> list[Any]:
            here = read_text(place)
            try:
                panel.write(self.watch.study(here.study or ""))
            except LuthierError as error:
                return self._filled(here, here, seen, values, str(error))
            return self._filled(here, here, seen, values, quiet=True)

        return export

    def _on_start(self, place: str, seen: str, *values: Any) -> list[Any]:
        *controls, text, name, confirmed = values
        return self._begin(
            read_text(place),
            seen,
            controls,
            lambda: self.starting.start(text or "", name or "", confirmed or "").name,
        )

    def _on_branch(self, place: str, seen: str, *values: Any) -> list[Any]:
        *controls, parent, rows, name, confirmed = values
        return self._begin(
            read_text(place),
            seen,
            controls,
            lambda: self.space_panel.begin(parent, rows, name, confirmed),
        )

    def _on_demo(self, place: str, seen: str, *values: Any) -> list[Any]:
        return self._begin(read_text(place), seen, values, lambda: self.starting.demo().name)

    def _begin(self, here: Place, seen: str, values: Any, begin: Callable[[], str]) -> list[Any]:
        try:
            name = begin()
        except LuthierError as error:
            return self._filled(here, here, seen, values, str(error))
        said = f"Study {name} runs in a process of its own; closing this page changes nothing."
        begun = here.elsewhere().but(study=name)
        return self._filled(here, begun, "", values, said=said, tabs="trials")

    # What is shown.

    def _filled(
        self,
        came: Place,
        here: Place,
        seen: str,
        values: Any,
        problem: str = "",
        said: str = "",
        *,
        tabs: str | None = None,
        quiet: bool = False,
    ) -> list[Any]:
        """Return a value for every output; those that show already what they should are left.

        Args:
            came: Where the browser was.
            here: Where it shall be.
            seen: What it has been shown.
            values: Those of the panels' controls.
            problem: What went wrong, to be told.
            said: What was done, to be told.
            tabs: The tab to change to.
            quiet: Leave what was told before.
        """
        shown = _read_seen(seen)
        filled: list[Any] = [gr.skip()] * len(self._outputs)
        if not quiet:
            filled[0] = message(problem, "problem") if problem else message(said) if said else ""
        if tabs is not None:
            filled[4] = gr.Tabs(selected=tabs)
        try:
            here = here.but(study=here.study or self.watch.first_shown())
            self._fill_list(here, shown, filled)
            self._fill_study(here, shown, filled, values)
        except LuthierError as error:
            gone = isinstance(error, StudyNotFoundError)
            hint = "choose another study above, or begin one" if gone else "it is tried again"
            self._tell(f"{error}; {hint}.", shown, filled)
        if here != came:
            filled[1] = here.since(came)
        after = json.dumps(shown)
        if after != seen:
            filled[2] = after
        return filled

    def _tell(self, text: str, shown: dict[str, str], filled: list[Any]) -> None:
        """Say instead of a study what is the matter; what was shown of it last stays."""
        if shown.get("head") != digest(text):
            shown["head"] = digest(text)
            filled[5] = message(text, "problem")

    def _fill_list(self, here: Place, shown: dict[str, str], filled: list[Any]) -> None:
        listed = self.watch.studies()
        lists = digest((listed, here.study))
        if shown.get("list") != lists:
            shown["list"] = lists
            choices = [(f"{study.name} – {study.state}", study.name) for study in listed]
            names = [study.name for study in listed]
            filled[3] = gr.Dropdown(
                choices=choices, value=here.study if here.study in names else None
            )

    def _fill_study(
        self, here: Place, shown: dict[str, str], filled: list[Any], values: Any
    ) -> None:
        if here.study is None:
            empty = message(_EMPTY)
            if shown.get("head") != digest(empty):
                shown["head"] = digest(empty)
                filled[5] = empty
            return
        study = self.watch.study_named(here.study)
        sight = Sight(study, self.watch.look(here.study), here)
        head = _head(sight) if here.panel not in APART else ""
        if shown.get("head") != digest(head):
            shown["head"] = digest(head)
            filled[5] = head
        first, at = 0, len(self._shared)
        for panel in self.panels:
            given = values[first : first + len(panel.inputs)]
            if panel.name == here.panel:
                shows = digest((here, panel.key(sight, *given)))
                if shown.get(panel.name) != shows:
                    shown[panel.name] = shows
                    filled[at : at + len(panel.outputs)] = self._rendered(
                        panel, shows, sight, given
                    )
            first, at = first + len(panel.inputs), at + len(panel.outputs)

    def _rendered(self, panel: Panel, shown: str, sight: Sight, given: Any) -> list[Any]:
        """Fill a panel in; tabs that look at the same thing share it."""
        known, values = self._last.get(panel.name, ("", []))
        if known != shown:
            values = panel.render(sight, *given)
            self._last[panel.name] = shown, values
        return values


def _head(sight: Sight) -> str:
    """Return how the study is: its state, what is spent, what is best, what to know."""
    snapshot = sight.snapshot
    record, meter = snapshot.record, snapshot.meters.trials
    notes = [record.reason] if record.reason and snapshot.state != "finished" else []
    if snapshot.state == "interrupted":
        notes.append("Its worker died. Nothing is lost: “Go on” starts another one.")
    notes += dict.fromkeys(map(news_text, snapshot.news))
    cap = "" if meter.cap is None else f" of {meter.cap:g}"
    return write(
        "head",
        record=record,
        now_is=snapshot.state,
        owner=sight.study.owner,
        can_go_on=snapshot.state != "finished",
        running=sum(trial.state == "running" for trial in snapshot.trials),
        done=meter.spent / meter.cap if meter.cap else 0.0,
        trials_text=f"{meter.spent:g}{cap} trials",
        forecast=forecast(sight),
        counts=counts(snapshot.trials),
        best=sight.best,
        values={n: sight.best[0].metrics[n] for n in sight.spec.objectives} if sight.best else {},
        notes=notes,
        place=sight.place,
    )


def _read_seen(seen: str) -> dict[str, str]:
    try:
        data = json.loads(seen or "{}")
    except ValueError:
        data = {}
    return {k: str(data[k]) for k in ("list", "head", *PANELS) if k in data}
