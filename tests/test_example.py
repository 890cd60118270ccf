"""The example of the introduction: a study of an unchanged script, from end to end."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits_cnn"


@pytest.fixture
def luthier(tmp_path):
    """Run `luthier ARGUMENTS` as a process of its own, in `tmp_path`."""
    environment = {**os.environ, "LUTHIER_HOME": str(tmp_path / "home")}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "luthier.app", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_the_example_is_tuned_as_it_is(luthier, tmp_path):
    folder = tmp_path / "digits_cnn"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".luthier", "__pycache__"))
    path = folder / "luthier.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec["objective"]["command"] += ["--epochs", "2"]
    spec["budget"] = {"trials": 3}
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")

    tuned = luthier("tune", path)
    assert tuned.returncode == 0, tuned.stderr

    listed = luthier("trials", spec["name"], "--json")
    assert listed.returncode == 0, listed.stderr
    trials = json.loads(listed.stdout)
    assert len(trials) == 3
    assert {trial["state"] for trial in trials} <= {"complete", "pruned"}
    # the study begins with what the script does by itself
    first = {name: parameter["default"] for name, parameter in spec["space"].items()}
    assert trials[0]["configuration"] == first
    assert {"val_acc", "train_loss"} <= trials[0]["metrics"].keys()
