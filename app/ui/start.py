"""The panel that begins a study: a script is read, its spec looked over, confirmed, started.

A script is never run or written here; the spec that is started is the one that was confirmed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from ...agent.worker import check_study, start_detached
from ...tools.errors import LuthierError
from ...tools.first_spec import draft_spec
from ...tools.recipes.data import SUFFIXES
from ...tools.spec import SpecError, StudySpec, read_spec
from ...tools.study import Study, open_or_create
from ..demo import demo_spec, open_demo
from ..report import describe
from .acts import plain_html
from .place import PanelName
from .together import AT_ONCE
from .watching import Watch
from .writing import message, write

if TYPE_CHECKING:
    from .guide import GuideForm

_MOST_SCRIPTS = 300
_DEPTH = 4
_SKIPPED = {"node_modules", "site-packages", "__pycache__", "build", "dist", "venv"}
_LONGEST_SPEC = 200_000


class Checked(NamedTuple):
    """A spec that was looked at."""

    spec: StudySpec | None
    page: str
    """What is to be said of it."""


class Starting:
    """Everything that the panel does, without its components."""

    def __init__(self, watch: Watch, project: Path) -> None:
        """Begin studies of the scripts in the folder `project` and beneath it."""
        self.watch = watch
        self.project = project.resolve()

    def scripts(self) -> list[str]:
        """Return the Python files of the project, those nearest to its root first."""
        return self._files((".py",))

    def tables(self) -> list[str]:
        """Return the data files of the project, those nearest to its root first."""
        return self._files(SUFFIXES)

    def _files(self, suffixes: tuple[str, ...]) -> list[str]:
        found = itertools.islice(_found(self.project, _DEPTH, suffixes), _MOST_SCRIPTS)
        paths = [os.path.relpath(path, self.project) for path in found]
        return sorted(paths, key=lambda path: (path.count(os.sep), path))

    def script(self, name: str) -> Path:
        """Return the script of that name in the project.

        Raises:
            SpecError: If there is none, or it lies elsewhere.
        """
        try:
            path = (self.project / name).resolve()
        except (OSError, ValueError):  # too long, or with a null byte in it
            raise SpecError("this is no path of a script") from None
        if not path.is_relative_to(self.project):
            raise SpecError(
                f"script {name!r} is not in {str(self.project)!r}; start `luthier ui` in its folder"
            )
        if path.suffix != ".py" or not path.is_file():
            raise SpecError(f"{name!r} is no Python file in {str(self.project)!r}")
        return path

    def draft(self, name: str) -> tuple[str, str]:
        """Return the spec that a script suggests, and what could not be read."""
        path = self.script(name)
        reading, text = draft_spec(path, path.parent)
        return text, write("reading", reading=reading, script=name)

    def check(self, text: str, script: str) -> Checked:
        """Look a spec over, without starting anything."""
        try:
            spec = self._read(text)
            folder = self._folder(script)
            plan = check_study(spec, folder)
        except LuthierError as error:
            return Checked(None, message(str(error), "problem"))
        page = write(
            "review",
            spec=spec,
            objective=describe(spec.objective),
            folder=folder,
            plan=plan,
            taken=self._taken(spec),
        )
        return Checked(spec, page)

    def start(self, text: str, script: str, confirmed: str) -> Study:
        """Store a spec as a study and start a worker for it.

        Args:
            text: The spec.
            script: The script's name in the project; trials run in its folder.
            confirmed: The content hash of the spec that a person confirmed.

        Raises:
            SpecError: If it is another spec than the confirmed one, or cannot be run.
            WorkerError: If the worker ended at once.
        """
        spec = self._read(text)
        if spec.content_hash() != confirmed:
            raise SpecError("the spec was changed since it was looked over; look it over again")
        folder = self._folder(script)
        check_study(spec, folder)
        record = open_or_create(self.watch.open_ledger(), spec, folder)
        return self._run(self.watch.study(record.name))

    def demo(self) -> Study:
        """Start the demo, or go on with it."""
        return self._run(open_demo(demo_spec()))

    def _run(self, study: Study) -> Study:
        if study.owner is None:
            start_detached(study.ledger, study.record, study.workspace)
        self.watch.forget()
        return study

    def _folder(self, script: str) -> Path:
        return self.script(script).parent if script else self.project

    def _read(self, text: str) -> StudySpec:
        if len(text) > _LONGEST_SPEC:
            raise SpecError(f"the spec has {len(text)} characters; {_LONGEST_SPEC} are the most")
        if not text.strip():
            raise SpecError("there is no spec yet: choose a script, or write one")
        return read_spec(text)

    def _taken(self, spec: StudySpec) -> str:
        names = [study.name for study in self.watch.studies()]
        if spec.name not in names:
            return ""
        same = self.watch.study(spec.name).spec.content_hash() == spec.content_hash()
        if same:
            return f"There is a study {spec.name!r} with this very spec: it goes on."
        return f"There is another study {spec.name!r} already: give this one another name."


def _found(folder: Path, depth: int, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of a folder that end so and of those beneath it, as deep as told."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: (entry.is_dir(), entry.name))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED or entry.is_symlink():
            continue
        if entry.is_dir():
            if depth > 1:
                yield from _found(Path(entry.path), depth - 1, suffixes)
        elif entry.name.endswith(suffixes):
            yield Path(entry.path)


class StartPanel:
    """The components of the panel."""

    name: PanelName = "start"
    title = "New study"

    def __init__(self, starting: Starting, guide: GuideForm) -> None:
        self._starting = starting
        self._guide = guide

    def build(self) -> None:
        """Lay out its components, in its tab, and wire those that concern nobody else."""
        with gr.Row(elem_classes="lu-controls lu-demo"):
            plain_html(value=write("welcome", project=self._starting.project))
            self.demo = gr.Button("Run the demo", size="md", scale=0, min_width=160)
        self._guide.build()
        with gr.Accordion("Or write the spec yourself", open=False, elem_id="lu-by-hand"):
            self._build_by_hand()

    def _build_by_hand(self) -> None:
        plain_html(value="<h3>1 · Choose a training script</h3>")
        self.script = gr.Dropdown(
            choices=self._starting.scripts(),
            value=None,
            label="Script",
            info="It is read, never run. A path in this folder may be typed, too.",
            allow_custom_value=True,
            elem_id="lu-script",
        )
        self._reading = plain_html()
        plain_html(value="<h3>2 · Look the spec over</h3>")
        self.spec = gr.Code(
            language="yaml", label="Spec (YAML)", lines=14, max_lines=28, elem_id="lu-spec"
        )
        self._review = plain_html("lu-review")
        plain_html(value="<h3>3 · Confirm and start</h3>")
        self.confirmed = gr.Textbox(visible="hidden")
        self.start = gr.Button(
            "Start this study", variant="primary", interactive=False, elem_id="lu-start"
        )
        checked: Any = [self._review, self.start, self.confirmed]
        self.script.change(self._draft, self.script, [self.spec, self._reading], **AT_ONCE)
        self.spec.change(
            self._check, [self.spec, self.script], checked, trigger_mode="always_last", **AT_ONCE
        )

    def _draft(self, script: str | None) -> tuple[Any, str]:
        if not script:
            return gr.skip(), ""
        try:
            return self._starting.draft(script)
        except LuthierError as error:
            return gr.skip(), message(str(error), "problem")

    def _check(self, text: str | None, script: str | None) -> tuple[str, Any, str]:
        if not (text or "").strip():
            return "", gr.Button(interactive=False), ""
        checked = self._starting.check(text or "", script or "")
        if checked.spec is None:
            return checked.page, gr.Button("Start this study", interactive=False), ""
        label = f"Start study {checked.spec.name}"
        return checked.page, gr.Button(label, interactive=True), checked.spec.content_hash()
