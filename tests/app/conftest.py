"""Running the command line in this process, in a folder of its own."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from luthier.app.cli import main


@dataclass(frozen=True)
class Run:
    """What a command came to."""

    code: int
    out: str
    err: str


Luthier = Callable[..., Run]


@pytest.fixture
def luthier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Luthier:
    """Run `luthier ARGUMENTS` in `tmp_path`, whose workspace is `tmp_path / "home"`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))

    def run(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["luthier", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run


def wait_for(path: Path) -> None:
    """Wait until a trial has written a file."""
    for _ in range(3000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} never came")


TRAIN = """
import sys
x = float(sys.argv[sys.argv.index("--x") + 1])
for step in range(1, 4):
    print(f"step {step} loss={x / step}")
"""


def study(**changes: object) -> dict[str, object]:
    """Return a small study of a script that takes no time."""
    return {
        "name": "small",
        "objective": {"kind": "script", "command": ["python", "train.py"]},
        "space": {"x": {"type": "float", "low": 0.5, "high": 2.0, "default": 1.0}},
        "metrics": {"loss": {"direction": "minimize", "pattern": "step {step} loss={value}"}},
        "budget": {"trials": 4},
        "sampler": {"kind": "random"},
        "executor": {"device": "cpu", "slots": 2},
        **changes,
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write `train.py` and a spec with these changes; return the spec's path."""

    def write_spec(train: str = TRAIN, **changes: object) -> Path:
        (tmp_path / "train.py").write_text(train, encoding="utf-8")
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study(**changes)), encoding="utf-8")
        return path

    return write_spec
