import json
import sys
import warnings
from pathlib import Path

import pytest
from luthier.tools.leases import Lease
from luthier.tools.objective import argument, build_request, check_objective, preloads
from luthier.tools.spec import SpecError, parse_spec


def spec(objective, **changes):
    return parse_spec(
        {
            "name": "s",
            "objective": objective,
            "space": {
                "lr": {"type": "float", "low": -1, "high": 1},
                "amp": {"type": "categorical", "choices": [True, False]},
            },
            "metrics": {"loss": {"direction": "minimize"}, "acc": {"direction": "watch"}},
            **changes,
        }
    )


def script(*command, **fields):
    return spec({"kind": "script", "command": list(command), **fields})


def callable_of(reference):
    return spec({"kind": "callable", "reference": reference})


def recipe(**options):
    return parse_spec(
        {
            "name": "s",
            "objective": {"kind": "recipe", "options": options},
        }
    )


def request(made, folder, configuration=None, seed=None, **slot):
    return build_request(
        made,
        study_folder=folder,
        attempt_folder=folder / "3" / "1",
        working_directory=folder,
        configuration={"lr": 0.5} if configuration is None else configuration,
        trial=3,
        attempt=1,
        lease=Lease("cpu:0", ("cpu",), slot),
        limit_seconds=None,
        seed=seed,
    )


# --- checked before anything starts ---------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (script("pyhton", "train.py"), "objective.command: there is no program 'pyhton'"),
        (
            script("python", "trian.py"),
            "there is no script '{}/trian.py'; did you mean 'train.py'?",
        ),
        (script("python", "broken.py"), "'{}/broken.py' does not parse (line 2): "),
        (script("python", "nul.py"), "'{}/nul.py' does not parse"),
        (
            script("python", "-m", "train", pass_by="constants"),
            "objective.command: `pass_by: constants` needs a Python script (.py), "
            "but got ['python', '-m', 'train']",
        ),
        (
            callable_of("training"),
            "objective.reference must read `module:function`, but got 'training'",
        ),
        (callable_of(":main"), "objective.reference must read `module:function`"),
        (
            callable_of("no_such_module:main"),
            "objective.reference: there is no module 'no_such_module'",
        ),
        (
            callable_of("package.missing:main"),
            "objective.reference: there is no module 'package.missing'",
        ),
        (recipe(data="digit"), "objective.options: unknown data set 'digit'; did you mean"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(tmp_path, made, message):
    (tmp_path / "train.py").write_text("print(1)")
    (tmp_path / "broken.py").write_text("x = 1\nif x\n")
    (tmp_path / "nul.py").write_bytes(b"x = '\0'")
    (tmp_path / "package").mkdir()
    with pytest.raises(SpecError) as error:
        check_objective(made, tmp_path)
    assert message.format(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "made",
    [
        script("python", "train.py"),
        script("python", "-O", "train.py", "--fast"),
        script("python", "-m", "json.tool"),
        script("python", "train.py", pass_by="constants"),
        script("./run.sh"),
        script("sh", "run.sh"),
        callable_of("train:main"),
        callable_of("package.inner:Trainer.fit"),
        callable_of("__main__:main"),
        callable_of("luthier.app.doctor:main"),
        recipe(data="digits"),
    ],
)
def test_what_can_run_passes_without_a_word(tmp_path, made):
    (tmp_path / "train.py").write_text("raise SystemExit('was run')\npattern = '\\d'\n")
    (tmp_path / "run.sh").write_text("true")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("raise SystemExit('was run')")
    (tmp_path / "package" / "inner.py").write_text("raise SystemExit('was run')")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_objective(made, tmp_path)


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "value", "words"),
    [
        ("--lr", 1e-05, ["--lr", "1e-05"]),
        ("--lr", 0.1 + 0.2, ["--lr", "0.30000000000000004"]),
        ("--lr", -0.5, ["--lr=-0.5"]),
        ("-l", 2, ["-l", "2"]),
        ("lr=", 0.5, ["lr=0.5"]),
        ("--lr=", -1, ["--lr=-1"]),
        ("--optimizer", "adam", ["--optimizer", "adam"]),
        ("--optimizer", "--evil", ["--optimizer=--evil"]),
        ("--schedule", None, ["--schedule", "None"]),
        ("--amp", True, ["--amp", "True"]),
        ("--amp/", True, ["--amp"]),
        ("--amp/", False, []),
        ("/--no-amp", True, []),
        ("/--no-amp", False, ["--no-amp"]),
        ("--amp/--no-amp", True, ["--amp"]),
        ("--amp/--no-amp", False, ["--no-amp"]),
    ],
)
def test_the_forms_of_an_argument(form, value, words):
    assert argument(form, value) == words


@pytest.mark.parametrize("value", [-1e-05, -0.5, 1e-300, 12345.678])
def test_argparse_reads_any_number_back(value):
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    assert parser.parse_args(argument("--lr", value)).lr == value


# --- requests -------------------------------------------------------------------------------


def test_a_script_gets_its_arguments_in_the_order_of_the_configuration(tmp_path):
    made = script(
        "python",
        "train.py",
        arguments={"lr": "--learning-rate", "amp": "--amp/"},
        seed_argument="--seed",
    )
    built = request(made, tmp_path, {"lr": 0.5, "amp": True})
    assert built.command == [
        sys.executable,
        "train.py",
        "--learning-rate",
        "0.5",
        "--amp",
        "--seed",
        "0",
    ]
    assert built.entry is None
    assert built.metric_names == ["loss", "acc"]


@pytest.mark.parametrize("pass_by", ["arguments", "json"])
def test_a_repeat_gets_a_seed_of_its_own(tmp_path, pass_by):
    made = script("python", "t.py", pass_by=pass_by, seed_argument="--seed")
    for seed, said in ((None, "0"), (8, "8")):
        built = request(made, tmp_path, {}, seed)
        assert built.command[-2:] == ["--seed", said]
        assert built.environment["LUTHIER_SEED"] == said


def test_another_python_is_left_as_it_is(tmp_path):
    assert request(script("/opt/py/bin/python", "t.py"), tmp_path, {}).command[0] == (
        "/opt/py/bin/python"
    )


def test_the_protocol_names_the_attempts_files(tmp_path):
    environment = request(script("python", "t.py"), tmp_path).environment
    attempt = tmp_path / "3" / "1"
    assert environment["LUTHIER_METRICS"] == str(attempt / "metrics.jsonl")
    assert environment["LUTHIER_CONFIG"] == str(attempt / "config.json")
    assert environment["LUTHIER_STOP"] == str(attempt / "stop")
    assert (environment["LUTHIER_TRIAL"], environment["LUTHIER_ATTEMPT"]) == ("3", "1")
    # A new attempt goes on from the checkpoint of the one before.
    assert Path(environment["LUTHIER_CHECKPOINT"]).parent == tmp_path / "3"


def test_the_protocol_says_which_checkpoints_to_keep(tmp_path):
    checkpoints = {"keep_last": 3, "keep_best": 2}
    data = script("python", "t.py").to_dict() | {"executor": {"checkpoints": checkpoints}}
    made = parse_spec(data)
    environment = request(made, tmp_path).environment
    assert (environment["LUTHIER_KEEP_LAST"], environment["LUTHIER_KEEP_BEST"]) == ("3", "2")
    assert environment["LUTHIER_DIRECTION"] == "minimize"


def test_a_rank_of_ours_is_not_the_trials(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    assert "RANK" not in request(script("python", "t.py"), tmp_path).environment


def test_the_specs_environment_is_stronger_than_the_slots_and_that_than_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("A", "ours")
    monkeypatch.setenv("B", "ours")
    monkeypatch.setenv("C", "ours")
    made = script("python", "t.py", environment={"C": "spec"})
    environment = request(made, tmp_path, B="slot", C="slot").environment
    assert [environment[name] for name in "ABC"] == ["ours", "slot", "spec"]


def test_a_function_that_returns_a_number_reports_the_first_objective(tmp_path):
    built = request(callable_of("m:f"), tmp_path)
    assert built.entry == {"reference": "m:f", "metric": "loss"}
    assert built.import_path[0] == str(tmp_path)
    (tmp_path / "objective.pkl").touch()
    assert request(callable_of("m:f"), tmp_path).entry["pickle"] == str(tmp_path / "objective.pkl")


def test_constants_go_through_the_runner(tmp_path):
    made = script("python", "t.py", "--x", pass_by="constants", arguments={"lr": "Config.lr"})
    built = request(made, tmp_path)
    assert [Path(word).name for word in built.command[1:]] == ["constants_runner.py", "t.py", "--x"]
    assert json.loads(built.environment["LUTHIER_CONSTANTS"]) == {"Config.lr": 0.5}


def test_a_script_needs_nothing_preloaded_and_a_recipe_its_modules():
    assert preloads(script("python", "t.py")) == []
    assert "torch" in preloads(recipe(data="digits"))
    assert "cloudpickle" in preloads(callable_of("m:f"))
