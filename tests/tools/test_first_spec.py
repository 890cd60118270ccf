import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools.first_spec import InitResult, render_spec, write_spec
from luthier.tools.leases import Lease
from luthier.tools.objective import build_request, check_objective
from luthier.tools.script import ScriptError, read_script
from luthier.tools.spec import SpecError, load_spec

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_cnn"

TRAIN = """
import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01, help="learning rate")
p.add_argument("--width", type=int, default=64)
p.add_argument("--amp-mode", action="store_true")
p.add_argument("--epochs", type=int, default=3)
p.add_argument("--seed", type=int, default=1)
p.add_argument("--sizes", nargs="+")
print(f"epoch {epoch} val_loss={loss:.4f} val_acc={acc:.4f}")
"""


@pytest.fixture
def write_script(tmp_path):
    def write(text=TRAIN, name="train.py"):
        path = tmp_path / "project" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_spec_is_written_beside_the_script_and_loads(write_script):
    script = write_script()
    result = write_spec(script)
    assert isinstance(result, InitResult)
    assert result.path == script.parent / "luthier.yaml"
    assert result.missing is None
    spec = load_spec(result.path)
    assert spec.name == "project"
    assert spec.objective.command == ["python", "train.py"]
    assert spec.objective.arguments == {"lr": "--lr", "width": "--width"}
    assert spec.objective.seed_argument == "--seed"
    assert spec.space == result.reading.parameters
    assert spec.objectives == {"val_acc": "maximize"}
    assert spec.metrics["val_loss"].direction == "watch"
    assert spec.budget.trials == 50
    check_objective(spec, script.parent)


def test_the_comments_say_where_things_stand_and_what_was_left_out(write_script):
    text = write_spec(write_script()).path.read_text(encoding="utf-8")
    assert (
        text
        == """\
# Tunes train.py (its argparse), which was read and not run.
# Trials run in this file's folder; line numbers are the script's.

name: project

objective:
  kind: script
  command: [python, train.py]
  arguments:
    lr: --lr
    width: --width
  seed_argument: --seed

space:
  # line 4
  lr: {type: float, low: 0.0003, high: 0.3, log: true, default: 0.01, meaning: learning rate}
  # line 5
  width: {type: categorical, choices: [16, 32, 64, 128, 256], default: 64}

metrics:
  # line 10, printed
  val_acc: {direction: maximize, pattern: 'epoch {step} val_loss=* val_acc={value}'}
  # line 10, printed
  val_loss: {direction: watch, pattern: 'epoch {step} val_loss={value}'}

# Further caps: wall_seconds (such as 2h), device_seconds, trial_seconds.
budget: {trials: 50}

# Left as it is:
#   line 6: `--amp-mode`: what the script does, not how it learns
#   line 7: `--epochs`: training length; kept fixed so that the trials can be compared

# Not read, or to be given by hand:
#   line 9: `--sizes` takes several values (nargs)
"""
    )


def test_the_committed_example_is_what_init_writes():
    script = EXAMPLE / "train.py"
    text = render_spec(read_script(script), "digits_cnn", ["python", "train.py"])
    assert (EXAMPLE / "luthier.yaml").read_text(encoding="utf-8") == text
    assert load_spec(EXAMPLE / "luthier.yaml").objectives == {"val_acc": "maximize"}


def test_trials_start_in_the_folder_of_the_spec(write_script, tmp_path):
    script = write_script()
    path = write_spec(script, tmp_path / "study.yaml").path
    assert load_spec(path).objective.command == ["python", "project/train.py"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = write_spec(script, elsewhere / "study.yaml").path
    assert load_spec(path).objective.command == ["python", "../project/train.py"]
    check_objective(load_spec(path), elsewhere)


@pytest.mark.parametrize(
    ("name", "study"),
    [("train.py", "project"), ("cifar net.py", "cifar-net"), ("-x.py", "x"), ("é.py", "study")],
)
def test_any_file_name_gives_a_study_that_loads(write_script, name, study):
    spec = load_spec(write_spec(write_script(name=name)).path)
    assert spec.name == study
    check_objective(spec, write_script().parent)


def test_an_existing_spec_is_not_overwritten(write_script):
    script = write_script()
    spec = script.parent / "luthier.yaml"
    spec.write_text("mine", encoding="utf-8")
    with pytest.raises(ScriptError, match=r"'.*luthier\.yaml' exists already; remove it, or give"):
        write_spec(script)
    assert spec.read_text(encoding="utf-8") == "mine"


def test_a_folder_that_is_not_there_is_named(write_script, tmp_path):
    with pytest.raises(ScriptError, match=r"cannot write spec '.*absent/s\.yaml': No such file"):
        write_spec(write_script(), tmp_path / "absent" / "s.yaml")


def test_an_unreadable_script_leaves_no_spec(write_script):
    script = write_script("def")
    with pytest.raises(ScriptError, match=r"train\.py, line 1: invalid syntax"):
        write_spec(script)
    assert list(script.parent.iterdir()) == [script]


@pytest.mark.parametrize(
    ("text", "lacks", "field"),
    [
        ("LR = 0.1\n", "no metric to optimise", "metrics"),
        ("print(f'val_acc={a}')\n", "no parameter", "space"),
        ("x = 1\n", "no parameter and no metric to optimise", "space"),
    ],
)
def test_what_could_not_be_read_is_left_to_fill_in(write_script, text, lacks, field):
    result = write_spec(write_script(text))
    script, path = result.reading.path, result.path
    assert result.missing == f"{script} shows {lacks}; fill in what is marked TODO in {path}"
    with pytest.raises(SpecError, match=rf"luthier\.yaml: field '{field}' is missing"):
        load_spec(path)


@pytest.mark.parametrize("text", ["pass\n", "import luthier\nluthier.report(1, size=x)\n"])
def test_the_placeholders_hold_once_their_comment_signs_are_gone(write_script, text):
    path = write_spec(write_script(text)).path
    lines = path.read_text(encoding="utf-8").splitlines()
    starts = ("# space", "# metrics", "#   ")
    filled = [line[2:] if line.startswith(starts) else line for line in lines]
    text = "\n".join(filled).replace("{direction: watch}", "{direction: minimize}")
    path.write_text(text, encoding="utf-8")
    spec = load_spec(path)
    assert list(spec.space) == ["lr"]
    assert len(spec.objectives) == 1


def test_constants_and_sub_commands_reach_the_trial(write_script, tmp_path):
    script = write_script("LR = 0.1\nSEED = 3\nprint(f'val_acc={a}')\n")
    spec = load_spec(write_spec(script).path)
    request = build_request(
        spec,
        study_folder=tmp_path,
        attempt_folder=tmp_path,
        working_directory=script.parent,
        configuration={"lr": 0.2},
        trial=1,
        attempt=1,
        lease=Lease("cpu:0", ("cpu",), {}),
        limit_seconds=None,
    )
    assert request.environment["LUTHIER_CONSTANTS"] == '{"LR": 0.2, "SEED": 0}'
    assert request.command[0] == sys.executable
    click = "import click\n@cli.command()\n@click.option('--lr', default=0.1)\ndef fit(lr): ...\n"
    result = write_spec(write_script(click, "fit.py"), tmp_path / "fit.yaml")
    text = result.path.read_text(encoding="utf-8")
    assert "  command: [python, project/fit.py, fit]\n" in text


def test_text_that_looks_like_a_number_stays_text(write_script):
    script = write_script(
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--rate', choices=['1e-3', '0.1', 'on', 'null', '1_0', '0x1', '1:30'])\n"
        "print(f'val_acc={a}')\n"
    )
    space = load_spec(write_spec(script).path).space
    assert space["rate"].choices == ["1e-3", "0.1", "on", "null", "1_0", "0x1", "1:30"]


HOSTILE = [
    "a\nname: evil",
    "a\rname: evil",
    "a\x85name: evil\u2028name: evil\u2029name: evil",
    "a\x0bname: evil\x0cname: evil",
    "a\x00\x1b[2J\u202e\ufeff\ue000\U0010ffff",
    "'\"}]: #!&*|>%@`- ?",
    "{value}",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_in_a_script_can_break_out_of_a_comment_or_a_value(write_script, hostile):
    script = write_script(
        f"""
import argparse
NAME = {hostile!r}
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.1, help={hostile!r})
p.add_argument("--" + {hostile!r}, type=float, default=0.1)
p.add_argument("--b", dest={hostile!r}, type=float, default=0.1)
p.add_argument("--c", choices=[{hostile!r}, "x"], default={hostile!r})
p.add_argument({"--" + hostile!r}, type=float, default=0.1)
p.add_argument({"--" + hostile!r}, nargs="+")
p.add_argument({hostile!r})
print({hostile!r} + f"val_acc={{acc}}")
print(json.dumps({{"val_acc": 1, {hostile!r}: 2}}))
"""
    )
    path = write_spec(script).path
    assert load_spec(path).name == "project"
    for line in path.read_text(encoding="utf-8").splitlines():
        assert line.isprintable()
        assert not line.startswith("name: evil")


words = st.text(max_size=30)


@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(name=words, meaning=words, choice=words, printed=words)
def test_any_text_in_a_script_gives_a_document_that_parses(
    tmp_path_factory, name, meaning, choice, printed
):
    path = tmp_path_factory.getbasetemp() / "words.py"
    source = (
        f"import argparse\np = argparse.ArgumentParser()\n"
        f"p.add_argument('--a', dest={name!r}, choices=[{choice!r}, 'x'], help={meaning!r})\n"
        f"p.add_argument({'--' + name!r}, type=float, default=0.1, help={meaning!r})\n"
        f"print({printed!r}, 'val_acc', acc)\n"
    )
    path.write_bytes(source.encode(errors="replace"))
    text = render_spec(read_script(path), "words", ["python", path.name])
    assert set(yaml.safe_load(text)) <= {"name", "objective", "space", "metrics", "budget"}
    assert all(line.isprintable() for line in text.splitlines())
