"""`luthier chat` for a person at a terminal."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from luthier.agent.dialogue import Dialogue
from luthier.agent.toolbox.desk import find_desk
from luthier.app.chat import talk
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import serve
from rich.console import Console

from .conftest import Luthier

TRAIN = """\
import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01)
print(f"step 1 val_acc={lr:.4f}")
"""
TUNE = "/tune train.py val_acc maximize 4 trials"


@pytest.fixture
def dialogue(tmp_path: Path) -> Dialogue:
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    return Dialogue(find_desk(tmp_path, tmp_path / "home"))


def typing(*lines: str) -> Callable[[str], str]:
    """Type these lines, then Ctrl-D."""
    left = list(lines)

    def ask(prompt: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    return ask


def screen(dialogue: Dialogue, *lines: str) -> str:
    console = Console(file=io.StringIO(), width=100)
    talk(dialogue, console, typing(*lines))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_model_it_says_so_plainly(dialogue: Dialogue) -> None:
    shown = screen(dialogue, "/help")

    assert shown.startswith("No language model is set up")
    assert "/tune SCRIPT" in shown


def test_a_person_is_asked_with_all_that_they_have_to_see(dialogue: Dialogue) -> None:
    shown = screen(dialogue, TUNE, "n", "not now")

    assert "Spend device time on start_study?" in shown
    assert "lr: float 0.0003..0.3 log, default 0.01" in shown
    assert "trials: 4" in shown
    assert "start_study was not done: not now" in shown
    assert [approval.state for approval in dialogue.approvals.all()] == ["rejected"]


def test_what_was_asked_before_is_asked_again_at_the_start(dialogue: Dialogue) -> None:
    screen(dialogue, TUNE)
    shown = screen(dialogue, "trials=-1", "n", "")

    assert shown.count("Spend device time on start_study?") == 2
    assert "greater than or equal to 1" in shown


def test_what_a_model_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    from luthier.agent.llm.line import Line
    from luthier.agent.llm.settings import Settings

    def mind(request: Request) -> Reply:
        return Reply(("one \x1b[2J[red]two[/red]\nthree",))

    with serve(mind) as server:
        line = Line(Settings(base_url=server.url, model=server.model, seconds=60))
        dialogue = Dialogue(find_desk(tmp_path, tmp_path / "home"), line=line)
        shown = screen(dialogue, "hello")
        dialogue.close()
        line.close()

    assert "\x1b" not in shown
    assert "[2J[red]two[/red]\nthree" in shown


def test_the_command_talks_through_standard_input(
    luthier: Luthier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("/studies\n"))
    run = luthier("chat", "--offline")

    assert run.code == 0
    assert "of: 0" in run.out
