"""Scripts that take command-line arguments: argparse, click, typer."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools.objective import argument
from luthier.tools.script import read_script
from luthier.tools.space import SearchSpace


@pytest.fixture
def read_one(read):
    """Read one `add_argument` call; return its form and parameter, or why there is none."""

    def read_call(call):
        reading = read(f"import argparse\np = argparse.ArgumentParser()\np.add_argument({call})\n")
        for name, parameter in reading.parameters.items():
            return reading.arguments[name], parameter
        (remark,) = [*reading.left_alone, *reading.unread]
        assert remark.line == 3
        return remark.text

    return read_call


@pytest.mark.parametrize(
    ("call", "form"),
    [
        ("'--alpha', type=float, default=0.5", "--alpha"),
        ("'-a', '--alpha', type=float, default=0.5", "--alpha"),
        ("'-alpha', type=float, default=0.5", "-alpha"),
        ("'--augment', action='store_true'", "--augment/"),
        ("'--no-augment', action='store_false'", "/--no-augment"),
        ("'--augment', action=argparse.BooleanOptionalAction", "--augment/--no-augment"),
    ],
)
def test_an_argument_is_passed_in_the_form_that_argparse_reads(read_one, call, form):
    assert read_one(call)[0] == form


@pytest.mark.parametrize(
    ("call", "choices", "default"),
    [
        ("'--opt', choices=['sgd', 'adam'], default='adam'", ["sgd", "adam"], "adam"),
        ("'--opt', choices=('sgd', 'adam')", ["sgd", "adam"], None),
        ("'--size', type=int, choices=[1, 2, 4], default=2", [1, 2, 4], 2),
        ("'--size', type=int, choices=range(1, 4), default=2", [1, 2, 3], 2),
        ("'--opt', choices=list({'sgd': 1, 'adam': 2}.keys())", ["sgd", "adam"], None),
        ("'--opt', choices=['a', 'b', 'a'], default='c'", ["a", "b"], None),
        ("'--residual', type=str2bool, default=True", ["true", "false"], "true"),
        (
            "'--residual', type=lambda x: bool(strtobool(x)), default=False, nargs='?', const=True",
            ["true", "false"],
            "false",
        ),
    ],
)
def test_choices_become_categories(read_one, call, choices, default):
    _, parameter = read_one(call)
    assert (parameter.choices, parameter.default) == (choices, default)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("'--alpha', type=float, default=default()", "`--alpha` has a default that is computed"),
        ("'--alpha', type=parse, default=1", "`--alpha` has a type that cannot be read"),
        ("'--alpha', default=0.1", "`--alpha` has no type, so that a value given to it would"),
        ("'--alpha', choices=[1, 2]", "`--alpha` has no type, so that a value given to it would"),
        ("'--alpha', type=bool, default=True", "`--alpha` has `type=bool`, which takes every text"),
        ("'--alpha', nargs='+', type=int", "`--alpha` takes several values (nargs)"),
        ("'--opt', choices=names()", "`--opt` has choices that are computed"),
        ("'--alpha', action='append'", "`--alpha` has an action that cannot be read"),
        ("'--on', action='store_true', default=True", "`--on` has a default that its action"),
        ("'--' + name, type=float", "An argument's name or options are computed"),
        ("'--alpha', **options", "An argument's name or options are computed"),
        ("'--alpha=beta', type=float", "An argument's name cannot be written on a command line"),
        ("'folder'", "Positional argument `folder` has no option name; add its value to `command`"),
        ("'--prompt', default='x'", "`--prompt`: text without a list of choices"),
        (
            "'--folder', required=True",
            "`--folder`: a file, or whether one is read or written; it is required: add it with",
        ),
    ],
)
def test_what_is_not_tuned_says_why(read_one, call, reason):
    assert read_one(call).startswith(reason)


def test_names_of_constants_are_looked_up(read):
    reading = read(
        """
import argparse
RATE = 0.02
MODELS = {"small": 1, "large": 2}
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=RATE)
p.add_argument("--model", choices=sorted(MODELS), default="small")
"""
    )
    assert reading.parameters["lr"].default == 0.02
    assert reading.parameters["model"].choices == ["small", "large"]


def test_a_constant_that_stands_for_itself_does_not_hang_the_reader(read):
    reading = read(
        "import argparse\nA = list(A)\nargparse.ArgumentParser().add_argument('--m', choices=A)\n"
    )
    assert reading.found == {}


def test_defaults_set_on_the_parser_count(read):
    reading = read(
        """
import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.1)
p.set_defaults(lr=0.001)
"""
    )
    assert reading.parameters["lr"].default == 0.001


def test_sub_commands_and_exclusive_groups_are_pointed_out(read):
    reading = read(
        """
import argparse
p = argparse.ArgumentParser()
s = p.add_subparsers()
g = p.add_mutually_exclusive_group()
"""
    )
    assert [remark.text for remark in reading.unread] == [
        "The script has sub-commands; add the one to tune to `command`",
        "Some arguments exclude each other; keep one of them",
    ]


def test_a_help_text_becomes_one_short_line(read_one):
    _, parameter = read_one(
        "'--lr', type=float, default=0.1, "
        "help='step\\n  size\\x1b[0m \\u202e 100%% (default: %(default)s)' + ''"
    )
    assert parameter.meaning is None
    _, parameter = read_one(
        "'--lr', type=float, default=0.1, "
        "help='step\\n  size\\x1b[0m \\u202e 100%% (default: %(default)s)'"
    )
    assert parameter.meaning == "step size [0m 100%"
    _, parameter = read_one(f"'--lr', type=float, default=0.1, help={'(default ' * 10_000!r}")
    assert len(parameter.meaning) == 120


CLICK = """
import click
import json

@click.group()
def cli(): ...

@cli.command("fit")
@click.option("--lr", "-l", default=1e-3, show_default=True, help="Learning rate")
@click.option("--wd", type=float, default=1e-4)
@click.option("--optimizer", type=click.Choice(["sgd", "adamw"]), default="adamw")
@click.option("--dropout", type=click.FloatRange(0, 0.5), default=0.2)
@click.option("--norm/--no-norm", default=False)
@click.option("--augment", is_flag=True)
@click.option("--residual", type=bool, default=True)
@click.option("--random-seed", "seed", type=int, default=3)
@click.option("--layers", multiple=True)
def train(**values):
    click.echo(json.dumps(values))

@cli.command()
@click.option("--x", default=1)
def evaluate(x): ...

if __name__ == "__main__":
    cli()
"""

TYPER = """
import json
from enum import Enum
from typing import Annotated, Literal, Optional
import typer

class Optimizer(str, Enum):
    sgd = "sgd"
    adam = "adam"

app = typer.Typer()

@app.command()
def main(
    context: typer.Context,
    learning_rate: Annotated[float, typer.Option("--lr", min=0.0, help="step size")] = 3e-4,
    dropout: float = 0.1,
    optimizer: Optimizer = Optimizer.adam,
    schedule: Literal["cosine", "linear"] = "cosine",
    n_layers: int = typer.Option(4, min=1, max=6),
    residual: bool = True,
    hidden_size: Optional[int] = None,
    seed: int = 0,
):
    print(json.dumps({**context.params, "optimizer": str(optimizer.value)}))

if __name__ == "__main__":
    app()
"""

ARGPARSE = """
import argparse
import json
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.1)
p.add_argument("--hidden-size", dest="width", type=int, default=64)
p.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
p.add_argument("--residual", action="store_true")
p.add_argument("--no-bias", dest="bias", action="store_false")
p.add_argument("--norm", action=argparse.BooleanOptionalAction, default=True)
p.add_argument("--seed", type=int, default=1)
print(json.dumps(vars(p.parse_args())))
"""


@pytest.mark.parametrize("text", [ARGPARSE, CLICK, TYPER], ids=["argparse", "click", "typer"])
@pytest.mark.parametrize("end", [0.0, 1.0], ids=["low", "high"])
def test_the_script_receives_what_the_reading_says(read, tmp_path, text, end):
    reading = read(text)
    configuration = {name: p.from_unit(end) for name, p in reading.parameters.items()}
    command = [sys.executable, str(tmp_path / "train.py"), *reading.command]
    for name, value in configuration.items():
        command += argument(reading.arguments[name], value)
    command += argument(reading.seed_argument, 7)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    received = json.loads(done.stdout)
    assert received["seed"] == 7
    for name, value in configuration.items():
        words = {"true": True, "false": False}
        assert received[name] == words.get(value, value)


def test_a_click_script_is_read(read):
    reading = read(CLICK)
    assert (reading.source, reading.command) == ("click", ("fit",))
    assert reading.seed_argument == "--random-seed"
    assert reading.arguments == {
        "lr": "--lr",
        "wd": "--wd",
        "optimizer": "--optimizer",
        "dropout": "--dropout",
        "norm": "--norm/--no-norm",
        "augment": "--augment/",
        "residual": "--residual",
    }
    assert reading.parameters["dropout"].high == 0.5
    assert reading.parameters["lr"].meaning == "Learning rate"
    assert [remark.text for remark in reading.unread] == [
        "`--layers` takes several values (multiple)",
        "A JSON line is printed whose keys are computed",
        "The command `evaluate` was not read; `train` was",
    ]


def test_a_typer_script_is_read(read):
    reading = read(TYPER)
    assert (reading.source, reading.command) == ("typer", ())
    assert reading.seed_argument == "--seed"
    assert reading.arguments["learning_rate"] == "--lr"
    assert reading.arguments["residual"] == "--residual/--no-residual"
    assert reading.parameters["optimizer"].choices == ["sgd", "adam"]
    assert reading.parameters["optimizer"].default == "adam"
    assert reading.parameters["n_layers"].high == 6
    assert reading.parameters["hidden_size"].default is None


def test_a_typer_command_beside_another_needs_its_word(read):
    reading = read(
        """
import typer
app = typer.Typer()

@app.command()
def train_model(data: str, lr: float = 0.1): ...

@app.command()
def show(x: int = 1): ...
"""
    )
    assert reading.command == ("train-model",)
    assert [remark.text for remark in reading.unread] == [
        "Positional argument `data` has no option name; add its value to `command`",
        "The command `show` was not read; `train_model` was",
    ]


def test_a_function_given_to_typer_run_is_read(read):
    reading = read("import typer\ndef go(lr: float = 0.1): ...\ntyper.run(go)\n")
    assert reading.arguments == {"lr": "--lr"}


names = st.sampled_from(
    "lr learning_rate dropout weight_decay momentum batch_size hidden depth n_estimators gamma tau "
    "warmup_steps kernel_size label_smoothing beta2 alpha foo epsilon num_heads".split()
)
defaults = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.integers(-(10**6), 10**6),
    st.booleans(),
)


@st.composite
def scripts(draw):
    lines = ["import argparse", "p = argparse.ArgumentParser()"]
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        default = draw(defaults)
        if isinstance(default, bool):
            lines.append(f"p.add_argument('--{name}', action='store_true')")
        else:
            kind = type(default).__name__
            lines.append(f"p.add_argument('--{name}', type={kind}, default={default!r})")
    return "\n".join(lines)


@settings(derandomize=True, deadline=None, max_examples=150, database=None)
@given(script=scripts())
def test_every_default_lies_within_the_range_proposed_for_it(tmp_path_factory, script):
    path = tmp_path_factory.getbasetemp() / "generated.py"
    path.write_text(script, encoding="utf-8")
    reading = read_script(path)
    for name, parameter in reading.parameters.items():
        parameter.check(parameter.default)
        declared = reading.found[name].declared.default
        assert parameter.default == declared or (
            declared == 0 and "is the nearest" in reading.found[name].note
        )
    if reading.found:
        SearchSpace(parameters=reading.parameters)
