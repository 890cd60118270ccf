"""Conversations in a project folder, with a simulated model behind the real client, or without."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.dialogue import Dialogue
from luthier.agent.events import ApprovalNeeded, Event, Text, ToolAnswered
from luthier.agent.llm.line import Line
from luthier.agent.llm.settings import Settings
from luthier.agent.toolbox.desk import Desk, find_desk
from luthier.app.chat import write_report_page
from luthier.evals.advisers.faults import Schedule, never
from luthier.evals.advisers.mind import Mind
from luthier.evals.advisers.server import Server, serve

TRAIN = """\
import argparse, random
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01, help="learning rate")
p.add_argument("--width", type=int, default=64)
p.add_argument("--seed", type=int, default=1)
args = p.parse_args()
luck = random.Random(args.seed).gauss(0, 0.001)
for epoch in range(1, 4):
    val_acc = 1 - abs(args.lr - 0.02) - 0.1 / epoch + luck
    print(f"epoch {epoch} val_loss={1 - val_acc:.4f} val_acc={val_acc:.4f}")
"""
TUNE = "tune train.py, maximise val_acc, 20 trials"

Talk = Callable[..., Dialogue]


def words(events: list[Event]) -> str:
    """Return what was said, without the pieces that it came in."""
    return "".join(event.text for event in events if isinstance(event, Text))


def tools(events: list[Event]) -> list[str]:
    """Return which tools were called."""
    return [event.tool for event in events if isinstance(event, ToolAnswered)]


def asked(events: list[Event]) -> Any:
    """Return the one approval that is needed."""
    (found,) = [event.approval for event in events if isinstance(event, ApprovalNeeded)]
    return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A project with a training script; workers that a test leaves are ended."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(TRAIN, encoding="utf-8")
    desk = replace(find_desk(project, tmp_path / "home"), write_report=write_report_page)
    yield desk
    for study in desk.ledger.studies():
        owner = desk.ledger.owner(study)
        if owner is not None:
            os.kill(owner.pid, signal.SIGKILL)
    desk.ledger.close()


@pytest.fixture
def talk(desk: Desk) -> Iterator[Talk]:
    """Begin a conversation, with a mind behind a real endpoint or without one."""
    with ExitStack() as stack:

        def begin(
            mind: Mind | None = None,
            faults: Schedule = never,
            at: Desk | None = None,
            **options: Any,
        ) -> Dialogue:
            line = None
            if mind is not None:
                server: Server = stack.enter_context(serve(mind, faults=faults))
                settings = Settings(base_url=server.url, model=server.model, seconds=60)
                line = Line(settings)
                stack.callback(line.close)
            dialogue = Dialogue(at or desk, line=line, **options)
            stack.callback(dialogue.close)
            return dialogue

        yield begin
