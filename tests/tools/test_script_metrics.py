import subprocess
import sys
from pathlib import Path

import pytest
from luthier.tools.metrics import OutputReader
from luthier.tools.script import read_script

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_cnn" / "train.py"


VALUES = "epoch, epochs, total, name = 3, 10, 7, 'abc'\nval_loss, acc, f1 = 0.25, 0.875, 0.5\n"

PRINTS = [
    ("print(f'epoch {epoch} val_loss={val_loss:.4f}')", "val_loss", 3, 0.25),
    ("print('epoch %d, val acc: %.2f%%' % (epoch, 100 * acc))", "val_acc", 3, 87.5),
    ("print('Epoch {}/{} - val_f1 {:8.3f}'.format(epoch, epochs, f1))", "val_f1", 3, 0.5),
    ("print('[{e:>3d}] val_f1={s!r:>9}'.format(e=epoch, s=f1))", "val_f1", 3, 0.5),
    ("print('Epoch', epoch, 'validation loss', val_loss)", "val_loss", 3, 0.25),
    ("print('Epoch ' + str(epoch) + ' val_loss: ' + str(val_loss))", "val_loss", 3, 0.25),
    ("print('val_acc', acc, sep='=')", "val_acc", 1, 0.875),
    ("print(f'{name} | Epoch: {epoch:03d} | Val Acc: {acc:<9.3f}|')", "val_acc", 3, 0.875),
    ("print(f'* epoch {epoch} {{val}} acc {acc}')", "val_acc", 3, 0.875),
    ("print({'epoch': epoch, 'eval_acc': acc})", "val_acc", 3, 0.875),
    ("print(f'\\nEpoch {epoch}\\nValidation:\\tloss {val_loss}\\n')", "val_loss", 1, 0.25),
    ("print(f'step={total},epoch={epoch},val_acc={acc}')", "val_acc", 3, 0.875),
    ("for phase in ['train', 'val']: print(f'{phase} Acc: {acc:.4f}')", "val_acc", 1, 0.875),
    ("print(f'Accuracy on the {total} validation images: {100 * acc} %')", "val_accuracy", 1, 87.5),
    ("print(f'\\x1b[1mval_acc\\x1b[0m: {acc}')", "val_acc", 1, 0.875),
    ("def validate(): print(f'accuracy = {acc}')\nvalidate()", "val_accuracy", 1, 0.875),
    ("import sys; sys.stdout.write(f'val_acc: {acc}\\n')", "val_acc", 1, 0.875),
    ("import json; print(json.dumps({'epoch': epoch, 'val_acc': acc}))", "val_acc", 3, 0.875),
    ("import json; row = dict(step=epoch, val_acc=acc); print(json.dumps(row))", None, 0, 0),
    (
        "import json; row = {'step': epoch, 'val_acc': acc}; print(json.dumps(row))",
        "val_acc",
        3,
        0.875,
    ),
]


@pytest.mark.parametrize(("code", "name", "step", "value"), PRINTS, ids=[p[0] for p in PRINTS])
def test_a_guessed_metric_finds_its_number_in_what_the_script_prints(
    read, tmp_path, capsys, code, name, step, value
):
    reading = read(VALUES + code + "\n")
    if name is None:
        assert reading.objective is None
        assert reading.unread[0].text == "A JSON line is printed whose keys are computed"
        return
    assert reading.objective.name == name
    exec(VALUES + code, {})
    patterns = {m.name: m.pattern for m in reading.metrics if m.pattern is not None}
    reader = OutputReader(patterns, frozenset(m.name for m in reading.metrics))
    reports = [r for line in capsys.readouterr().out.splitlines() for r in reader.read(line)]
    (report,) = [report for report in reports if name in report.metrics]
    assert (report.step, report.metrics[name]) == (step, value)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("print(f'val_loss={a} val_acc={b}')", ["val_acc", "val_loss"]),
        ("print(f'train_acc={a} val_loss={b}')", ["val_loss", "train_acc"]),
        ("print(f'loss={a} accuracy={b}')", ["accuracy", "loss"]),
        ("print(f'test_acc={a}')\nprint(f'epoch {e} val_acc={b}')", ["val_acc", "test_acc"]),
        ("print(f'Best val_acc={a}')\nprint(f'val_acc={b}')", ["val_acc", "val_best_acc"]),
        ("print(f'time={a} val_loss={b}')", ["val_loss", "time"]),
        ("print(f'epoch {e} loss={a}')\nprint(f'test mse={b}')", ["test_mse", "loss"]),
    ],
)
def test_the_best_metric_to_optimise_comes_first(read, code, names):
    assert [metric.name for metric in read(code).metrics] == names


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_acc", "maximize"),
        ("top5", "maximize"),
        ("acc1", "maximize"),
        ("valRMSE", "minimize"),
        ("neg_log_loss", "maximize"),
        ("parameters", None),
    ],
)
def test_the_direction_follows_from_the_name(read, name, direction):
    reading = read(f"import luthier\nluthier.report(step=1, {name}=x)\n")
    assert reading.metrics[0].direction == direction


@pytest.mark.parametrize(
    "code",
    [
        "print(loss)",
        "print(f'{loss}')",
        "print(f'loading loss from {path:s}')",
        "print(f'epoch {epoch} lr {lr}')",
        "print(f'accuracy (goal): {total}/{epochs}')",
        "try:\n    pass\nexcept OSError as error:\n    print(f'error: {error}')",
        "print('loss')",
        "print('%d %d')",
        "print('{')",
        "print('{ loss'.format(loss))",
    ],
)
def test_what_nothing_names_is_no_metric(read, code):
    assert [m for m in read(code).metrics if m.name not in {"goal"}] == []


def test_reports_are_preferred_to_json_and_json_to_text(read):
    printed = "print(f'val_f1={x}')\n"
    json_lines = "print(json.dumps({'val_acc': x}))\n"
    reported = "from luthier import report\nreport(step=1, val_auc=x)\n"
    assert [m.how for m in read(printed + json_lines).metrics] == ["json"]
    (metric,) = read(printed + json_lines + reported).metrics
    assert (metric.name, metric.how, metric.pattern) == ("val_auc", "reported", None)


def test_progress_in_a_json_line_is_no_metric(read):
    reading = read("print(json.dumps({'epoch': 1, 'lr': 2, 'val_acc': 3, 'extra': 4}))\n")
    assert [m.name for m in reading.metrics] == ["val_acc", "extra"]
    assert reading.objective.name == "val_acc"


def test_only_a_cost_is_nothing_to_optimise(read):
    reading = read("print(f'epoch {e} took seconds: {t}')\n")
    assert [m.name for m in reading.metrics] == ["took_seconds"]
    assert reading.objective is None


@pytest.mark.parametrize("split", ["test", "training"])
def test_tuning_on_what_overfits_is_warned_of(read, split):
    reading = read(f"print(f'{split} accuracy: {{acc}}')\n")
    warning = f"a {split} metric: tuning on it overfits it; print one on validation data"
    assert reading.objective.note == warning


def test_a_function_that_trains_for_one_epoch_tells_the_split(read):
    reading = read("def train(loader):\n    for x in loader:\n        print('acc', acc)\n")
    assert [metric.name for metric in reading.metrics] == ["train_acc"]


@pytest.mark.parametrize("head", ["for epoch in range(9)", "while epoch < 9"])
def test_a_function_that_loops_over_the_epochs_tells_no_split(read, head):
    reading = read(f"def train(lr):\n    {head}:\n        print(f'epoch {{epoch}} acc {{acc}}')\n")
    assert [metric.name for metric in reading.metrics] == ["acc"]
    assert reading.objective.note is None


def test_logging_is_read_with_a_warning_unless_it_goes_to_standard_output(read):
    call = "import logging\nlogging.info('epoch %d val_acc %.3f', epoch, acc)\n"
    assert "writes to standard error" in read(call).objective.note
    assert read(call + "logging.basicConfig(stream=sys.stdout)\n").objective.note is None
    assert read(call + "logging.StreamHandler(sys.stdout)\n").objective.note is None


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print(f'val_acc={a}', file=sys.stderr)", "What is written to standard error is not read"),
        ("wandb.log({'val_acc': a})", "What goes to `log` cannot be seen from outside"),
        ("self.log('val_acc', a)", "What goes to `log` cannot be seen from outside"),
        ("writer.add_scalar('acc', a)", "What goes to `add_scalar` cannot be seen from outside"),
        ("print(json.dumps(metrics))", "A JSON line is printed whose keys are computed"),
        ("import luthier\nluthier.report(1, **m)", "Metrics are reported under computed names"),
    ],
)
def test_what_cannot_be_seen_is_said(read, code, text):
    reading = read(code)
    assert reading.metrics == ()
    assert [text in remark.text for remark in reading.unread] == [True]


def test_the_example_prints_what_was_guessed():
    reading = read_script(EXAMPLE)
    command = [sys.executable, str(EXAMPLE), "--epochs", "1", "--no-cuda"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    reader = OutputReader({m.name: m.pattern for m in reading.metrics}, frozenset())
    reports = [report for line in done.stdout.splitlines() for report in reader.read(line)]
    assert {name for report in reports for name in report.metrics} == {"val_acc", "train_loss"}
    assert {report.step for report in reports} == {1}
