"""What a panel is given to show, and what it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import gradio as gr
from gradio.components import Component

from ...tools.analysis import best_trials
from ...tools.records import TrialRecord
from ...tools.spec import StudySpec
from ...tools.study import Study
from ..live import Snapshot
from .place import PanelName, Place


@dataclass(frozen=True)
class Sight:
    """A study as it stands, and where in it a person is."""

    study: Study
    snapshot: Snapshot
    place: Place

    @property
    def spec(self) -> StudySpec:
        """The study's spec."""
        return self.snapshot.record.spec

    @property
    def trials(self) -> Sequence[TrialRecord]:
        """All its trials by number, without their curves."""
        return self.snapshot.trials

    @cached_property
    def best(self) -> list[TrialRecord]:
        """The best trials."""
        return best_trials(self.spec, self.trials)

    @property
    def version(self) -> tuple[int, int, str]:
        """Changes with whatever happens to the study."""
        return (self.snapshot.record.id, self.snapshot.record.version, self.snapshot.state)

    @property
    def history(self) -> tuple[int, int]:
        """Changes whenever a trial begins or ends."""
        return self.snapshot.record.id, self.snapshot.newest_event

    def trial(self, number: int | None) -> TrialRecord | None:
        """Return the trial of that number, None if there is none."""
        return next((trial for trial in self.trials if trial.number == number), None)


class Tab(Protocol):
    """What stands in a tab of its own."""

    name: PanelName
    title: str

    def build(self) -> None:
        """Lay out its components, in its tab."""


class Panel(Tab, Protocol):
    """A tab that shows a study."""

    inputs: list[Component]
    """Its controls, whose values it is given."""
    outputs: list[Component]
    """What it fills in."""
    acting: list[gr.HTML]
    """The parts in which something can be clicked."""

    def key(self, sight: Sight, *values: Any) -> Hashable:
        """Return what it shows depends on: it is filled in again only when that changes."""

    def render(self, sight: Sight, *values: Any) -> list[Any]:
        """Return a value for each output."""
