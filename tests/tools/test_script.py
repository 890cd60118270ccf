import pickle
import sys
from pathlib import Path

import pytest
from luthier.tools.script import MAX_BYTES, ScriptError, read_script

MNIST = r"""
import argparse
import torch

def train(args, model, device, train_loader, optimizer, epoch):
    for batch_idx, (data, target) in enumerate(train_loader):
        if batch_idx % args.log_interval == 0:
            print('Train Epoch: {} [{}/{} ({:.0f}%)]\tLoss: {:.6f}'.format(
                epoch, batch_idx * len(data), len(train_loader.dataset),
                100. * batch_idx / len(train_loader), loss.item()))

def test(model, device, test_loader):
    print('\nTest set: Average loss: {:.4f}, Accuracy: {}/{} ({:.0f}%)\n'.format(
        test_loss, correct, len(test_loader.dataset),
        100. * correct / len(test_loader.dataset)))

def main():
    parser = argparse.ArgumentParser(description='PyTorch MNIST Example')
    parser.add_argument('--batch-size', type=int, default=64, metavar='N',
                        help='input batch size for training (default: 64)')
    parser.add_argument('--test-batch-size', type=int, default=1000, metavar='N')
    parser.add_argument('--epochs', type=int, default=14, metavar='N')
    parser.add_argument('--lr', type=float, default=1.0, metavar='LR')
    parser.add_argument('--gamma', type=float, default=0.7, metavar='M')
    parser.add_argument('--no-accel', action='store_true')
    parser.add_argument('--dry-run', action='store_true')
    parser.add_argument('--seed', type=int, default=1, metavar='S')
    parser.add_argument('--log-interval', type=int, default=10, metavar='N')
    parser.add_argument('--save-model', action='store_true')
"""


def test_the_mnist_example_of_pytorch_is_read(read):
    reading = read(MNIST)
    assert reading.source == "argparse"
    assert reading.arguments == {"batch_size": "--batch-size", "lr": "--lr", "gamma": "--gamma"}
    assert reading.seed_argument == "--seed"
    assert reading.unread == ()
    assert [metric.name for metric in reading.metrics] == [
        "test_accuracy",
        "test_loss",
        "train_loss",
    ]
    lr = reading.parameters["lr"]
    assert (lr.low, lr.high, lr.log, lr.default) == (0.03, 1.0, True, 1.0)


def test_what_is_left_alone_says_why_and_where(read):
    remarks = {remark.text: remark.line for remark in read(MNIST).left_alone}
    why = "`--epochs`: training length; kept fixed so that the trials can be compared"
    assert remarks[why] == 22
    assert any(text.startswith("`--test-batch-size`: used for evaluation") for text in remarks)


def test_a_required_argument_that_is_not_tuned_has_to_be_given_by_hand(read):
    reading = read(
        "import argparse\nargparse.ArgumentParser().add_argument('--data-dir', required=True)\n"
    )
    (remark,) = reading.unread
    assert remark.text.endswith("; it is required: add it with its value to `command`")
    assert reading.left_alone == ()


def test_reading_runs_nothing_of_the_script(read, tmp_path):
    witness = tmp_path / "ran"
    touch = f"__import__('pathlib').Path({str(witness)!r}).touch()"
    reading = read(
        f"""
import argparse, no_such_module
{touch}
LR = {touch}
class Config:
    lr: float = {touch}
p = argparse.ArgumentParser()
p.add_argument("--a", type={touch}, default={touch})
p.add_argument("--lr", type=float, default=0.1, help=f"{{{touch}}}")
print(f"val_acc={{{touch}}}")
"""
    )
    assert list(reading.parameters) == ["lr"]
    assert not witness.exists()
    assert "no_such_module" not in sys.modules


def test_parameters_come_from_one_source_and_the_others_are_named(read):
    reading = read(
        """
import argparse
MOMENTUM = 0.9
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.1)
"""
    )
    assert list(reading.parameters) == ["lr"]
    assert [(r.line, r.text) for r in reading.unread] == [
        (3, "The constants `MOMENTUM` were passed over for argparse")
    ]


def test_a_source_without_a_parameter_makes_room_for_the_next(read):
    reading = read(
        """
import argparse
LR = 0.1
p = argparse.ArgumentParser()
p.add_argument("--config", help="YAML file")
"""
    )
    assert (reading.source, reading.pass_by) == ("constants", "constants")


def test_a_script_that_tells_nothing_is_read_too(read):
    reading = read("x = 1\n")
    assert (reading.source, reading.found, reading.metrics) == (None, {}, ())
    assert reading.objective is None


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"def f(:\n", "line 1: invalid syntax; correct it so that Python can run it"),
        (b"x = '\xff'\n", "is not text in the encoding that it states (UTF-8 if none)"),
        (b"# coding: no-such\n", "is not text in the encoding that it states (UTF-8 if none)"),
        (b"x = 1\x00\n", "null bytes"),
        (b"#" * (MAX_BYTES + 1), "has more than 2,000,000 bytes"),
        (b"x = " + b"-" * 50_000 + b"1\n", "nested too deeply"),
        (b"def f(x: " + b"None | " * 2_000 + b"None): pass\nx = 1\n", None),
        (b"print(" + b"'a' + " * 2_000 + b"'')\n", "nested too deeply"),
    ],
    ids=["syntax", "bytes", "coding", "null", "large", "deep", "unused depth", "deep print"],
)
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path, content, rule):
    path = tmp_path / "train.py"
    path.write_bytes(content)
    if rule is None:
        read_script(path)
        return
    with pytest.raises(ScriptError) as caught:
        read_script(path)
    assert rule in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_script_is_named(tmp_path):
    with pytest.raises(ScriptError, match=r"cannot read script '.*absent\.py': No such file"):
        read_script(tmp_path / "absent.py")


def test_a_folder_or_a_notebook_is_no_script(tmp_path):
    with pytest.raises(ScriptError, match=r"does not end in '\.py'; give a Python script"):
        read_script(tmp_path / "notebook.ipynb")


def test_a_script_in_another_encoding_is_read(tmp_path):
    path = tmp_path / "train.py"
    path.write_bytes("# coding: latin-1\nLR = 0.1  # Schrittgröße\n".encode("latin-1"))
    assert read_script(path).parameters["lr"].meaning == "Schrittgröße"


def test_a_reading_is_plain_data(read):
    reading = read(MNIST)
    assert pickle.loads(pickle.dumps(reading)) == reading


def test_the_programs_own_files_are_read_without_a_fault():
    package = Path(sys.modules["luthier.tools.script"].__file__).parent
    for path in sorted(package.glob("*.py")):
        read_script(path)
