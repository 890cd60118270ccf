"""The view of a study in a terminal, as a person sees it."""

import codecs
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from luthier.app.live import look, render
from luthier.app.tables import plain
from luthier.tools.study import Study, open_study
from rich.console import Console

from .conftest import Luthier

Write = Callable[..., Path]

WATCHED = {
    name: {"direction": "watch"}
    for name in ("train_loss", "learning_rate", "throughput_images_per_second")
}
METRICS = {"loss": {"direction": "minimize", "pattern": "step {step} loss={value}"}, **WATCHED}
LONG = {
    "name_of_the_data_augmentation": {
        "type": "categorical",
        "choices": [
            "a rather long description of what is done",
            "an even longer one\nin two lines",
        ],
    },
    "x": {"type": "float", "low": 0.5, "high": 2.0},
}
SIZES = [(60, 15), (80, 24), (100, 30), (200, 60)]


def picture(study: Study, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    console.print(render(look(study), console))
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).splitlines()


@pytest.fixture
def done(luthier: Luthier, write: Write) -> Study:
    """A study with more of everything than fits a terminal."""
    spec = write(metrics=METRICS, space=LONG, budget={"trials": 20}, pruner={"kind": "none"})
    assert luthier("tune", spec).code == 0
    return open_study("small")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_trial_is_one_line_however_small_the_terminal(
    done: Study, width: int, height: int
) -> None:
    lines = picture(done, width, height)
    header = next(i for i, line in enumerate(lines) if line.split()[:1] == ["trial"])
    numbers = [int(line.strip(" ★").split()[0]) for line in lines[header + 1 : -1]]

    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert numbers == list(range(19, 19 - min(12, height - 8), -1))


def test_watched_metrics_are_shown_where_there_is_room(done: Study) -> None:
    narrow, wide = (next(x for x in picture(done, w, 24) if "state" in x) for w in (80, 200))

    assert narrow.split() == ["trial", "state", "loss", "time", "from", "configuration"]
    assert {"loss", "train_loss", "learning_rate"} < set(wide.split())


def test_the_view_says_what_is_spent_what_came_of_it_and_which_is_best(done: Study) -> None:
    head, best, reason, *_, last = picture(done, 120, 24)

    assert re.search(r"small  finished  20 of 20 trials  [\d.:]+( s)? so far", head)
    assert re.search(r"^20 complete   best loss [\d.]+ in trial \d+: ", best)
    assert reason == "all 20 trials are used"
    assert last == "… and 8 earlier trials"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a�[31mb"),
        ("a\nb\tc", "a b c"),
        ("50%\r100%", "50% 100%"),
        ("\x9b2J\x07", "�2J�"),
        ("\u202egnp.exe", "�gnp.exe"),  # would be read backwards
        ("größer [red]", "größer [red]"),
    ],
)
def test_text_of_others_is_one_line_that_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_an_unchanged_study_is_not_read_again(done: Study) -> None:
    first = look(done)

    assert look(done, first).trials is first.trials
    done.ledger.acquire(done.record).note("something")
    assert look(done, first).trials is not first.trials


class Screen:
    """As much of a terminal as the live view needs: it keeps the lines that are seen."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines = [""]
        self.row = self.column = 0
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._begun = ""

    def feed(self, written: bytes) -> None:
        """Show what was written, but for the beginning of what is not complete yet."""
        text = self._begun + self._decode(written)
        begun = re.search(r"\x1b(\[[?0-9;]*)?$", text)
        self._begun = "" if begun is None else begun.group()
        text = text.removesuffix(self._begun)
        for token in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|.", text, re.S):
            if token.startswith("\x1b["):
                self._control(token)
            elif token == "\r":
                self.column = 0
            elif token == "\n":
                self._down()
            else:
                self._put(token)

    def _control(self, token: str) -> None:
        if token.endswith("A"):
            self.row -= int(token[2:-1] or 1)
        elif token == "\x1b[2K":
            self.lines[self.row] = ""

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _put(self, character: str) -> None:
        if self.column == self.width:
            self.column = 0
            self._down()
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, command: list[str], folder: Path, width: int = 80, height: int = 24) -> None:
        self.screen = Screen(width)
        size = struct.pack("HHHH", height, width, 0, 0)
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:  # pragma: no cover
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            settings = termios.tcgetattr(0)
            settings[3] |= termios.NOFLSH  # else a ^C may throw away what was just drawn
            termios.tcsetattr(0, termios.TCSANOW, settings)
            os.chdir(folder)
            environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
            os.execve(command[0], command, environment | {"TERM": "xterm-256color"})

    def read_until(self, condition: Callable[[], bool]) -> None:
        """Show what is written until a condition holds."""
        deadline = time.monotonic() + 90
        while not condition():
            ready, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert ready, "waited in vain: " + "\n".join(self.screen.lines)
            self.screen.feed(os.read(self._terminal, 1 << 16))

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def end(self) -> int:
        """Show the rest, and return the exit code."""
        try:
            self.read_until(lambda: False)
        except OSError:  # the other side is closed
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        os.close(self._terminal)


@contextmanager
def terminal(folder: Path, *arguments: object) -> Iterator[Terminal]:
    """Run `luthier ARGUMENTS` in a terminal."""
    opened = Terminal([sys.executable, "-m", "luthier.app", *map(str, arguments)], folder)
    try:
        yield opened
    finally:
        opened.close()


def test_a_run_is_followed_and_leaves_one_picture(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    spec = write(metrics=METRICS, space=LONG, budget={"trials": 6}, pruner={"kind": "none"})
    with terminal(tmp_path, "tune", spec) as opened:
        assert opened.end() == 0

    lines = opened.screen.lines
    assert sum("small  " in line for line in lines) == 1
    assert "finished  6 of 6 trials" in lines[0]
    assert "6 complete" in lines[1]
    assert sum(line.split()[:1] == ["trial"] for line in lines) == 1
    assert "best loss" in "".join(lines[-7:])


WAIT = """
import os
print("step 1 loss=1.0", flush=True)
open("begun").close()
"""


def test_an_interrupt_leaves_no_traces_in_the_picture(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "begun")
    with terminal(tmp_path, "tune", write(train=WAIT, executor={"device": "cpu", "slots": 1})) as t:
        t.read_until(lambda: any("running  " in line and " 1 " in line for line in t.screen.lines))
        t.type("\x03")
        assert t.end() == 130

    lines = t.screen.lines
    assert sum("small  " in line for line in lines) == 1
    assert "stopped" in lines[0]
    assert "interrupted" in lines
    assert "^C" not in "".join(lines)
    assert "Go on with: luthier resume small" in lines


def test_watching_shows_the_run_of_another_and_may_be_left(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "begun")
    spec = write(train=WAIT, executor={"device": "cpu", "slots": 1}, budget={"trials": 1})
    assert luthier("tune", spec, "--detach").code == 0
    try:
        with terminal(tmp_path, "watch", "small") as t:
            t.read_until(lambda: any("0  running" in line for line in t.screen.lines))
            t.type("\x03")
            assert t.end() == 0
        assert open_study("small").owner is not None
        with (tmp_path / "begun").open("w"):  # lets the trial go on
            pass
        with terminal(tmp_path, "watch", "small") as t:
            assert t.end() == 0
        assert "Nobody runs study small; it is finished." in t.screen.lines
    finally:
        owner = open_study("small").owner
        if owner is not None:
            os.kill(owner.pid, signal.SIGTERM)
