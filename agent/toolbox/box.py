"""The toolbox: finds, validates, guards and runs calls of tools.

Whatever calls a tool goes through `Toolbox.call`, and what spends or destroys does not begin there
without an approval of exactly its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...tools.errors import LuthierError
from ...tools.space import did_you_mean
from ..approvals import Approval, Approvals
from . import drafting, explaining, looking, remembering, running
from .declaring import Answer, Tool, ToolError, bounded, visible
from .desk import Desk

TOOLS: tuple[type[Tool], ...] = (
    looking.LookAtMachine,
    looking.LookAtScript,
    looking.LookAtData,
    looking.ListStudies,
    drafting.DraftFromScript,
    drafting.DraftFromData,
    drafting.ChangeDraft,
    drafting.ShowDraft,
    running.StartStudy,
    running.BranchStudy,
    running.ResumeStudy,
    running.PauseStudy,
    running.StopStudy,
    running.StopTrial,
    running.ProposeTrials,
    running.EnqueueTrial,
    running.RetryTrials,
    running.ConfirmBest,
    explaining.StudyStatus,
    explaining.BestTrials,
    explaining.ShowTrial,
    explaining.CompareTrials,
    explaining.ReadCurve,
    explaining.ParameterImportance,
    explaining.StudyReviews,
    explaining.WriteReport,
    explaining.ExportWinner,
    remembering.Preferences,
)
_BY_NAME = {tool.tool_name(): tool for tool in TOOLS}
GUARDED = frozenset({"spends", "destroys"})
"""The effects that need an approval."""


class ToolPolicy(BaseModel):
    """Which tools a model is offered, and what it is told of them; how they are guarded is not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    told: dict[str, str] = Field(default_factory=dict)
    """A tool's name to what is said of it instead of its docstring."""
    left_out: tuple[str, ...] = ()
    """Tools that are not offered."""

    @model_validator(mode="after")
    def _check(self) -> ToolPolicy:
        for name in (*self.told, *self.left_out):
            if name not in _BY_NAME:
                raise ValueError(
                    f"there is no tool {visible(name)!r}" + did_you_mean(name, _BY_NAME)
                )
        return self


def declared(policy: ToolPolicy | None = None) -> list[dict[str, Any]]:
    """Return the tools as chat endpoints take them."""
    policy = policy or ToolPolicy()
    return [
        {
            "type": "function",
            "function": {
                "name": tool.tool_name(),
                "description": tool.description(policy.told.get(tool.tool_name())),
                "parameters": tool.declaration(),
            },
        }
        for tool in TOOLS
        if tool.tool_name() not in policy.left_out
    ]


@dataclass(frozen=True)
class Result:
    """What a call came to."""

    answer: Answer
    failed: bool = False

    @property
    def text(self) -> str:
        """The answer as JSON of bounded size."""
        return bounded(self.answer)


class Toolbox:
    """The tools of one conversation."""

    def __init__(self, desk: Desk, approvals: Approvals) -> None:
        """Lay them out."""
        self.desk = desk
        self.approvals = approvals

    def parse(self, name: str, arguments: Mapping[str, Any]) -> Tool:
        """Validate a call.

        Raises:
            ToolError: If there is no such tool, or its arguments are wrong; with the valid ones.
        """
        tool = _BY_NAME.get(name)
        if tool is None:
            raise ToolError(f"there is no tool {visible(name)!r}" + did_you_mean(name, _BY_NAME))
        try:
            return self._settled(tool.model_validate(dict(arguments)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(visible(part) for part in first["loc"])
            reason = visible(str(first["msg"]).removeprefix("Value error, "), 200)
            given = visible(repr(first["input"]), 80)
            fields = ", ".join(tool.model_fields)
            raise ToolError(
                f"{name}: {place or 'the arguments'}: {reason}, but got {given}; "
                f"its arguments are {fields}"
            ) from None

    def _settled(self, tool: Tool) -> Tool:
        """Name the study that a call means by none, so that nobody approves what may change."""
        if getattr(tool, "study", "") is not None:
            return tool
        return tool.model_copy(update={"study": self.desk.study(None).name})

    def consent(self, name: str, arguments: Mapping[str, Any], call: str) -> Approval | None:
        """Return the approval that a call needs, as it stands; it is asked for the first time.

        Args:
            name: The tool's name.
            arguments: Its arguments.
            call: Names this call; the same one is never asked about twice.

        Returns:
            None if it needs none.

        Raises:
            LuthierError: If the call makes no sense, so that there is nothing to approve.
        """
        tool = self.parse(name, arguments)
        if tool.effect not in GUARDED:
            return None
        canonical = _canonical(tool)
        known = self.approvals.find(call, name, canonical)
        if known is not None:
            return known
        tool.check(self.desk)
        estimate = tool.estimate(self.desk)
        shown = tool.shown(self.desk) | {"estimate": estimate.to_dict()}
        return self.approvals.ask(
            call, name, canonical, tool.effect, shown, estimate.device_seconds
        )

    def edit(self, id: int, changes: Mapping[str, Any], person: str) -> Approval:
        """Approve other arguments than those that were asked for.

        Args:
            id: The pending approval's.
            changes: Argument to its new value; the others stay.
            person: Who decides.

        Raises:
            LuthierError: If the new call makes no sense, or the approval is not theirs to decide;
                the approval is then still pending.
        """
        asked = self.approvals.get(id)
        tool = self.parse(asked.tool, asked.arguments | dict(changes))
        tool.check(self.desk)
        estimate = tool.estimate(self.desk)
        shown = tool.shown(self.desk) | {"estimate": estimate.to_dict()}
        return self.approvals.replace(id, _canonical(tool), shown, estimate.device_seconds, person)

    def call(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """Run a call; what a person or a model did wrong is an answer, no exception.

        What spends or destroys uses up an approval of exactly these arguments, or does not begin.
        """
        try:
            tool = self.parse(name, arguments)
            if tool.effect in GUARDED and self.approvals.use(name, _canonical(tool)) is None:
                raise ToolError(f"{name} {self.approvals.why_not(name, _canonical(tool))}")
            return Result(tool.run(self.desk))
        except LuthierError as error:
            return Result({"error": visible(error, 1000)}, failed=True)


def _canonical(tool: Tool) -> dict[str, Any]:
    return tool.model_dump(mode="json")
