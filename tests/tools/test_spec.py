import json

import pytest
import yaml
from luthier.tools.spec import SpecError, StudySpec, diff, load_spec, parse_spec

BASE = {
    "name": "digits",
    "objective": {"kind": "script", "command": ["python", "train.py"]},
    "space": {
        "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
        "optimizer": {"type": "categorical", "choices": ["sgd", "adam"], "default": "sgd"},
        "momentum": {"type": "float", "low": 0, "high": 0.99, "when": {"optimizer": "sgd"}},
    },
    "metrics": {"val_acc": {"direction": "maximize"}, "loss": {"direction": "watch"}},
}


def spec(**changes):
    return parse_spec({**BASE, **changes})


def without(*names):
    return {name: value for name, value in BASE.items() if name not in names}


def parameter(**fields):
    return {"space": {"lr": fields}}


def written(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


# --- the content hash -----------------------------------------------------------------------


def test_the_hash_ignores_the_name_and_the_order_of_keys():
    turned = json.loads(json.dumps(BASE), object_pairs_hook=lambda p: dict(reversed(p)))
    turned["name"] = "other"
    assert parse_spec(turned).content_hash() == spec().content_hash()


def test_the_hash_depends_on_everything_else():
    changed = [
        spec(),
        spec(seed=1),
        spec(budget={"trials": 51}),
        spec(constraints=["lr < 0.05"]),
        spec(metrics={"val_acc": {"direction": "minimize"}}),
    ]
    assert len({s.content_hash() for s in changed}) == len(changed)


def test_defaults_written_out_do_not_change_the_hash():
    assert spec(seed=0, budget={"trials": 50}).content_hash() == spec().content_hash()


def test_yaml_and_json_of_one_document_have_the_same_hash(tmp_path):
    json_path = tmp_path / "study.json"
    json_path.write_text(json.dumps(BASE))
    yaml_path = written(tmp_path, yaml.safe_dump(BASE))
    assert load_spec(json_path).content_hash() == load_spec(yaml_path).content_hash()


AWKWARD = [
    {},
    {"budget": {"trials": None, "wall_seconds": "90s"}},
    {"space": {"x": {"type": "categorical", "choices": ["1e-3", "on", "1:30", "null", None, 1]}}},
    {"space": {"n": {"type": "int", "low": 1, "high": 10**7}}, "constraints": ["n <= 1234567"]},
    {"objective": {"kind": "callable", "reference": "train:main"}},
    {"limits": ["loss <= 0.25"], "executor": {"slots": 2}, "pruner": {"kind": "none"}},
    {"pruner": {"audit": 0, "stop_if": ["loss > 10", "val_acc < 0.3 after 5"]}},
    {"objective": {**BASE["objective"], "environment": {"WIDTH": "1e5", "ON": "yes"}}},
]


@pytest.mark.parametrize("changes", AWKWARD)
@pytest.mark.parametrize("resolved", [False, True], ids=["short", "resolved"])
def test_a_written_document_loads_to_the_same_spec(tmp_path, changes, resolved):
    original = spec(**changes)
    again = load_spec(written(tmp_path, original.to_yaml(resolved=resolved)))
    assert again == original
    assert again.content_hash() == original.content_hash()


def test_the_short_document_says_only_what_differs_from_the_defaults():
    assert yaml.safe_load(spec().to_yaml()) == {
        **BASE,
        "space": {
            **BASE["space"],
            "momentum": {**BASE["space"]["momentum"], "when": {"optimizer": ["sgd"]}},
        },
    }


def test_the_resolved_document_names_every_default():
    resolved = yaml.safe_load(spec().to_yaml(resolved=True))
    assert resolved["sampler"] == {
        "kind": "auto",
        "start_up_trials": None,
        "first": [],
        "prior": "textbook",
    }
    assert resolved["budget"]["trials"] == 50


# --- differences ----------------------------------------------------------------------------


def test_a_diff_is_typed_and_reads_as_text():
    before = spec()
    after = spec(
        name="other",
        space={**without_momentum(), "lr": {**BASE["space"]["lr"], "high": 0.2}, "width": WIDTH},
    )
    changes = diff(before, after)
    assert [(c.path, c.kind) for c in changes] == [
        ("space.lr.high", "changed"),
        ("space.momentum", "removed"),
        ("space.width", "added"),
    ]
    assert str(changes[0]) == "space.lr.high: 0.1 -> 0.2"
    assert str(changes[1]).startswith("space.momentum: removed {")
    assert str(changes[2]).startswith("space.width: added {")
    assert diff(before, before) == []


WIDTH = {"type": "int", "low": 1, "high": 8}


def without_momentum():
    return {name: p for name, p in BASE["space"].items() if name != "momentum"}


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bugdet": {}}, "unknown field 'bugdet'; did you mean 'budget'?"),
        ({"name": "a b"}, "name: use at most 100 letters, digits"),
        (parameter(type="float", low=1, high=0.1), "space.lr: `low < high` must hold"),
        (parameter(type="float", low=0, high=1, lgo=True), "unknown field 'space.lr.lgo'"),
        (parameter(type="float", high=1), "field 'space.lr.low' is missing"),
        (
            parameter(type="float", low="a", high=1),
            "space.lr.low: Input should be a valid number, unable to parse string as a number, "
            "but got 'a'",
        ),
        (
            parameter(type="flaot", low=0, high=1),
            "space.lr: `type` must be one of 'float', 'int', 'categorical'",
        ),
        (
            {"space": {"int": {"type": "int", "high": 3}}},
            "field 'space.int.low' is missing",
        ),
        (
            {"metrics": {"script": {"direction": "up"}}},
            "metrics.script.direction: Input should be 'maximize', 'minimize' or 'watch', "
            "but got 'up'",
        ),
        (
            {"objective": {"kind": "scirpt", "command": ["x"]}},
            "objective.kind must be one of 'script', 'callable', 'recipe', but got 'scirpt'",
        ),
        (
            {"objective": {"command": ["x"]}},
            "objective.kind must be one of 'script', 'callable', 'recipe', but it is missing",
        ),
        (
            {"objective": {"kind": "recipe", "options": {"data": "digits", "epoch": 3}}},
            "objective.options: unknown field 'epoch'",
        ),
        ({"constraints": ["lr"]}, "constraints.0: a constraint must read `parameter < parameter`"),
        (
            {"constraints": ["learning_rate < 1"]},
            "constraint 'learning_rate < 1' names an unknown parameter 'learning_rate'",
        ),
        (
            {"metrics": {"loss": {"direction": "watch"}}},
            "`metrics` must hold one to maximize or minimize, all are watched",
        ),
        (
            {"metrics": {"loss": {"direction": "minimize", "pattern": "loss"}}},
            "metrics.loss: `pattern` must contain {value} once, but got 'loss'",
        ),
        (
            {"metrics": {"loss": {"direction": "minimize", "pattern": "{step}/{step} {value}"}}},
            "metrics.loss: `pattern` may contain {step} once, but got '{step}/{step} {value}'",
        ),
        (
            {"limits": ["val_ac >= 0.5"]},
            "limit 'val_ac >= 0.5' names an unknown metric 'val_ac'; did you mean 'val_acc'?",
        ),
        (
            {"limits": ["val_acc >= loss"]},
            "limit 'val_acc >= loss' must compare a metric with a number",
        ),
        (
            {"pruner": {"stop_if": ["los > 10"]}},
            "`pruner.stop_if` names an unknown metric 'los'; did you mean 'loss'?",
        ),
        (
            {"pruner": {"stop_if": ["loss > val_acc"]}},
            "pruner.stop_if.0: a rule must read `metric > number` or "
            "`metric > number after step 5` (or <, <=, >=, ==, !=), but got 'loss > val_acc'",
        ),
        (
            {"objective": {**BASE["objective"], "arguments": {"learning": "--lr"}}},
            "`objective.arguments` names an unknown parameter 'learning'",
        ),
        (
            {"budget": {"trials": None}},
            "budget: one of `trials`, `wall_seconds`, `device_seconds` must be set; "
            "a study without an end is not started",
        ),
        (
            {"budget": {"wall_seconds": "ten minutes"}},
            "budget.wall_seconds: Input should be a valid number, "
            "unable to parse string as a number, but got 'ten minutes'",
        ),
        ({"budget": {"wall_seconds": 0}}, "budget.wall_seconds: Input should be greater than 0"),
        *(
            (
                {"executor": {"devices_per_trial": each}},
                "executor: `devices_per_trial` must be a whole number of devices for one trial, or "
                f"a fraction between 0 and 1 to share one, but got {each}",
            )
            for each in (0, -1, 1.5)
        ),
        ({"executor": {"devices": []}}, "executor.devices: List should have at least 1 item"),
        (
            {"executor": {"devices": [0, "0"]}},
            "executor: `devices` must name each device once, but '0' stands twice",
        ),
        (
            {"executor": {"device": "cpu", "devices": [0]}},
            "executor: `devices` is about CUDA devices, but `device` is 'cpu'; leave one of them",
        ),
        (
            {"executor": {"device": "cpu", "devices_per_trial": 0.5}},
            "executor: `devices_per_trial` is about CUDA devices, but `device` is 'cpu'",
        ),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, but got -1"),
        ({"confirm": {"repeats": -1}}, "confirm.repeats: Input should be greater than or equal"),
        (
            {
                "confirm": {"repeats": 3},
                "metrics": {"a": {"direction": "maximize"}, "b": {"direction": "minimize"}},
                "limits": [],
            },
            "`confirm.repeats` needs a single metric to maximize or minimize, but there are 'a'",
        ),
    ],
)
def test_bad_input_gives_one_sentence_with_the_place(changes, message):
    with pytest.raises(SpecError) as error:
        spec(**changes)
    assert str(error.value).startswith(f"the spec: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["name", "objective", "space", "metrics"])
def test_a_missing_field_is_named(name):
    with pytest.raises(SpecError, match=f"^the spec: field '{name}' is missing$"):
        parse_spec(without(name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "must be a mapping of fields, but it is list"),
        ("", "must be a mapping of fields, but it is NoneType"),
        ("a: [", "is not valid YAML: "),
        ("name: a\nname: b\n", "the key 'name' stands twice"),
        ("? [a, b]\n: c\n", "is not valid YAML: "),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("name: \x07\n", "is not valid YAML: "),
    ],
)
def test_a_file_that_is_no_spec_is_refused_in_one_sentence(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(SpecError) as error:
        load_spec(path)
    assert str(error.value).startswith((str(path), f"cannot read spec {str(path)!r}"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(SpecError, match="cannot read spec .*No such file"):
        load_spec(tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot read spec .*not UTF-8 text"):
        load_spec(tmp_path / "study.yaml")


# --- text forms -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2 d", 172800), (45, 45), (0.5, 0.5), ("30", 30)],
)
def test_durations(text, seconds):
    assert spec(budget={"wall_seconds": text}).budget.wall_seconds == seconds


def test_a_device_may_be_a_number_or_text():
    assert spec(executor={"devices": [1, "GPU-8f2e"]}).executor.devices == ["1", "GPU-8f2e"]
    with pytest.raises(SpecError, match=r"executor\.devices\.0: Input should be a valid string"):
        spec(executor={"devices": [True]})


def test_yaml_reads_as_people_expect(tmp_path):
    text = yaml.safe_dump({**BASE, "space": {}}).replace("space: {}", "")
    path = written(
        tmp_path,
        text
        + """
space:
  lr: {type: float, low: 1e-5, high: 1E-1, log: true}
  wd: {type: float, low: .5e-3, high: 2.e+0}
  nesterov: {type: categorical, choices: [on, off, yes, no, true, 2024-01-01]}
""",
    )
    space = load_spec(path).space
    assert (space["lr"].low, space["lr"].high) == (1e-5, 0.1)
    assert (space["wd"].low, space["wd"].high) == (5e-4, 2.0)
    assert space["nesterov"].choices == ["on", "off", "yes", "no", True, "2024-01-01"]


def test_the_json_schema_explains_every_field():
    schema = StudySpec.model_json_schema()
    assert schema["required"] == ["name", "objective", "space", "metrics"]
    assert schema["properties"]["seed"]["description"].startswith("Seed of the sampler")
    assert "`{value}`" in schema["$defs"]["Metric"]["properties"]["pattern"]["description"]
    json.dumps(schema)


def test_a_recipe_brings_its_space_and_metric():
    made = parse_spec({"name": "r", "objective": {"kind": "recipe", "options": {"data": "digits"}}})
    assert "learning_rate" in made.space
    assert made.objectives == {"val_acc": "maximize"}
    assert parse_spec(yaml.safe_load(made.to_yaml())) == made


SEED = {"type": "int", "low": 0, "high": 9}


@pytest.mark.parametrize("name", ["seed", "random_state", "data-seed", "RandomSeed"])
def test_a_seed_is_never_tuned(name):
    with pytest.raises(SpecError, match="is named like a seed, and seeds are never tuned; take it"):
        spec(space={name: SEED}, constraints=[])


@pytest.mark.parametrize(
    ("pass_by", "form"), [("arguments", "--s"), ("environment", "s"), ("constants", "s")]
)
def test_what_is_passed_as_the_seed_is_never_tuned(pass_by, form):
    objective = {"kind": "script", "command": ["python", "t.py"], "pass_by": pass_by}
    with pytest.raises(SpecError, match=f"'s' is passed as '{form}', which is the `seed_argument`"):
        spec(objective=objective | {"seed_argument": form}, space={"s": SEED}, constraints=[])
    assert spec(objective=objective, space={"s": SEED}, constraints=[]).space


@pytest.mark.parametrize("name", ["seed_length", "seeds_per_row", "reseed_every"])
def test_what_only_has_to_do_with_seeds_may_be_tuned(name):
    assert name in spec(space={name: SEED}, constraints=[]).space
