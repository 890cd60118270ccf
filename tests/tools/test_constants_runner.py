"""The runner is started as trials start it: a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from luthier.tools import constants_runner

RUNNER = Path(constants_runner.__file__)

SCRIPT = '''"""A script."""
from dataclasses import dataclass, field
import pickle, sys

LR = 0.1
WIDTH: int = 32
NAME = "a"
COMPUTED = LR * 2
PAIR = [1, 2]

@dataclass
class Config:
    depth: int = 2
    rate: float = field(default=0.5)
    other: list = field(default_factory=list)

if __name__ == "__main__":
    assert pickle.loads(pickle.dumps(Config())) == Config()
    print([LR, WIDTH, NAME, COMPUTED, Config().depth, Config().rate, __doc__, sys.argv[1:]])
'''


@pytest.fixture
def run(tmp_path):
    """Run a script under the runner with these constants."""

    def run_script(constants, *arguments, text=SCRIPT, name="train.py"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if k != "LUTHIER_CONSTANTS"}
        if constants is not None:
            environment["LUTHIER_CONSTANTS"] = (
                constants if isinstance(constants, str) else json.dumps(constants)
            )
        return subprocess.run(
            [sys.executable, str(RUNNER), os.path.join("folder", name), *arguments],  # noqa: PTH118
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run_script


def test_constants_and_fields_get_the_new_values(run):
    done = run({"LR": 0.25, "WIDTH": 64, "NAME": "b", "Config.depth": 5, "Config.rate": 0.75})
    assert done.stdout == "[0.25, 64, 'b', 0.5, 5, 0.75, 'A script.', []]\n"


def test_without_constants_the_script_runs_as_it_is(run):
    done = run(None, "--x", "1")
    assert done.stdout == "[0.1, 32, 'a', 0.2, 2, 0.5, 'A script.', ['--x', '1']]\n"


def test_the_script_itself_is_not_changed(run, tmp_path):
    run({"LR": 0.25})
    assert (tmp_path / "folder" / "train.py").read_text(encoding="utf-8") == SCRIPT


@pytest.mark.parametrize("value", [True, None, -1, 1e-300, "é\n'\"", "__import__('os')"])
def test_a_value_arrives_as_it_is(run, value):
    assert run({"X": value}, text="X = 0\nprint(ascii(X))\n").stdout == f"{ascii(value)}\n"


def test_the_script_looks_like_the_main_program(run, tmp_path):
    text = "import json, sys, mate\nprint(json.dumps([__name__, __file__, sys.argv, sys.path[0]]))"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mate.py").touch()
    name, file, argv, path = json.loads(run({}, "7", text=text).stdout)
    assert name == "__main__"
    assert file == str(tmp_path / "folder" / "train.py")
    assert argv == ["folder/train.py", "7"]
    assert path == str(tmp_path / "folder")


def test_a_traceback_shows_the_scripts_own_lines(run):
    done = run({"X": 1}, text="X = 0\n\nraise ValueError(X)  # here\n")
    assert done.returncode == 1
    assert 'train.py", line 3, in <module>\n    raise ValueError(X)  # here' in done.stderr
    assert done.stderr.endswith("ValueError: 1\n")


def test_the_scripts_exit_code_is_the_processes(run):
    assert run({"X": 7}, text="import sys\nX = 0\nsys.exit(X)\n").returncode == 7


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"ABSENT": 1}, "folder/train.py assigns no constant 'ABSENT': it must stand at its top"),
        ({"Config.absent": 1}, "assigns no constant 'Config.absent': it must stand at class 'Con"),
        (
            {"Absent.depth": 1},
            "assigns no constant 'Absent.depth': it must stand at class 'Absent'",
        ),
        (
            {"COMPUTED": 1},
            "folder/train.py, line 8: 'COMPUTED' is not a literal and stays as it is",
        ),
        ({"Config.other": 1}, "line 15: 'Config.other' is not a literal and stays as it is"),
        ({"LR": [1]}, "the value of 'LR' must be a number, text, true, false or null"),
        ("{", "LUTHIER_CONSTANTS is not JSON"),
        ("[]", "LUTHIER_CONSTANTS must be an object of names and values"),
    ],
)
def test_what_cannot_be_set_ends_the_trial_before_the_script_starts(run, constants, message):
    done = run(constants)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"), [("def", "folder/train.py, line 1: invalid syntax"), ("\0", "null bytes")]
)
def test_a_script_that_is_not_python_is_named(run, text, message):
    done = run({}, text=text)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_missing_script_is_named(tmp_path):
    command = [sys.executable, str(RUNNER), "absent.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "cannot read script 'absent.py': No such file or directory\n"


def test_the_runner_needs_nothing_but_the_standard_library(run):
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(RUNNER)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == "give the script to run: constants_runner.py SCRIPT [ARGUMENTS...]\n"
