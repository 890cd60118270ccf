"""Which trials run again, with what configuration, and what stands against it."""

import pytest
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.retry import Retry, RetryError, parse_settings, plan, select
from luthier.tools.spec import parse_spec

SPEC = parse_spec(
    {
        "name": "small",
        "objective": {"kind": "callable", "reference": "m:f"},
        "space": {
            "lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
            "batch_size": {"type": "int", "low": 16, "high": 512},
            "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
            "momentum": {"type": "float", "low": 0, "high": 1, "when": {"optimizer": "sgd"}},
            "amp": {"type": "categorical", "choices": [True, False]},
            "depth": {"type": "categorical", "choices": [None, 1, 0.001, "1e-3x"]},
            "warmup": {"type": "int", "low": 0, "high": 600},
        },
        "constraints": ["warmup < batch_size"],
        "metrics": {"loss": {"direction": "minimize"}},
    }
)
ADAM = {"lr": 0.1, "batch_size": 128, "optimizer": "adam", "amp": True, "depth": None, "warmup": 20}
SGD = ADAM | {"optimizer": "sgd", "momentum": 0.9}


def trial(number, state, configuration=ADAM):
    return TrialRecord(number, number, state, "", dict(configuration), {}, "sobol", 0.0, 1.0)


TRIALS = [
    trial(0, Outcome.COMPLETE),
    trial(1, Outcome.OUT_OF_MEMORY),
    trial(2, Outcome.PRUNED, SGD),
    trial(3, "running"),
    trial(4, Outcome.OUT_OF_MEMORY),
    trial(5, "waiting"),
]


@pytest.mark.parametrize(
    ("outcomes", "numbers", "chosen"),
    [
        (["out_of_memory"], [], [1, 4]),
        (["out_of_memory", "pruned"], [], [1, 2, 4]),
        ([], [2, 0], [0, 2]),
        (["out_of_memory"], [0, 4], [4]),
    ],
)
def test_trials_are_chosen_by_outcome_and_number(outcomes, numbers, chosen):
    assert select(TRIALS, outcomes, numbers) == chosen


THERE_ARE = "there are 1 complete, 1 pruned, 2 out_of_memory, 1 running, 1 waiting"


@pytest.mark.parametrize(
    ("outcomes", "numbers", "message"),
    [
        ([], [], f"say which trials to run again, by --outcome or --trial; {THERE_ARE}"),
        (["oom"], [], "no trial ever ends as 'oom'; known are 'complete', "),
        (["out-of-memory"], [], "no trial ever ends as 'out-of-memory'; did you mean 'out_of_mem"),
        (["running"], [], "no trial ever ends as 'running'"),
        (["crashed"], [], f"no trial matches; {THERE_ARE}"),
        (["pruned"], [0], f"no trial matches; {THERE_ARE}"),
        ([], [6], "there is no trial 6; the last one is 5"),
        ([], [-1], "there is no trial -1; the last one is 5"),
        ([], [3], "trial 3 is running; only one that has ended is run again"),
        ([], [0, 5], "trial 5 is waiting; only one that has ended is run again"),
    ],
)
def test_what_cannot_be_chosen_is_refused(outcomes, numbers, message):
    with pytest.raises(RetryError) as refused:
        select(TRIALS, outcomes, numbers)
    assert str(refused.value).startswith(message)


def test_a_study_without_trials_says_so():
    with pytest.raises(RetryError, match="there is no trial 0; there is none yet"):
        select([], [], [0])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("batch_size=64", 64),
        ("batch_size=1e2", 100),
        ("lr=1e-3", 1e-3),
        ("lr=1", 1.0),
        ("optimizer=sgd", "sgd"),
        ("amp=true", True),
        ("amp=False", False),
        ("depth=null", None),
        ("depth=None", None),
        ("depth=1", 1),
        ("depth=1e-3", 0.001),
        ("depth=1e-3x", "1e-3x"),
    ],
)
def test_values_are_typed_by_the_space(text, value):
    (parsed,) = parse_settings(SPEC.search_space, [text]).values()
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size", "--set must read NAME=VALUE, but got 'batch_size'"),
        ("batchsize=64", "unknown parameter 'batchsize'; did you mean 'batch_size'?"),
        (
            "batch_size=big",
            "parameter 'batch_size' must be an integer in [16, 512], but got 'big'",
        ),
        ("batch_size=64.5", "parameter 'batch_size' must be an integer, but got 64.5"),
        (
            "batch_size=1024",
            "parameter 'batch_size' `16 <= value <= 512` must hold, but got 1024",
        ),
        ("lr=", "parameter 'lr' must be a number in [1e-05, 1.0], but got ''"),
        ("lr=nan", "parameter 'lr' `1e-05 <= value <= 1.0` must hold, but got nan"),
        ("lr=inf", "parameter 'lr' `1e-05 <= value <= 1.0` must hold, but got inf"),
        (
            "optimizer=adma",
            "parameter 'optimizer' must be one of ['adam', 'sgd'], but got 'adma'; "
            "did you mean 'adam'?",
        ),
        ("amp=1", "parameter 'amp' must be one of [True, False], but got '1'"),
    ],
)
def test_a_value_that_is_none_of_the_parameter_is_refused(text, message):
    with pytest.raises(RetryError) as refused:
        parse_settings(SPEC.search_space, [text])
    assert str(refused.value).startswith(message)


def configurations(tmp_path, retry, trials=TRIALS):
    plans = plan(SPEC, trials, retry, lambda number: tmp_path / str(number))
    return {trial.number: configuration for trial, configuration in plans}


def test_trials_that_have_not_ended_are_left_out(tmp_path):
    assert configurations(tmp_path, Retry([0, 3, 5], {}, fresh=False)) == {0: ADAM}


def test_what_a_change_makes_inactive_is_dropped(tmp_path):
    asked = Retry([2], {"optimizer": "adam", "lr": 0.2}, fresh=False)
    assert configurations(tmp_path, asked) == {2: ADAM | {"lr": 0.2}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": "sgd"},
            "trial 0 needs a value for parameter 'momentum' too; add --set momentum=VALUE",
        ),
        ({"momentum": 0.5}, "trial 0: parameter 'momentum' is not active: it needs"),
        ({"batch_size": 16}, "trial 0: `warmup < batch_size` must hold, but got"),
        ({"batch_size": 1024}, "trial 0: parameter 'batch_size' `16 <= value <= 512` must hold"),
        ({"size": 1}, "trial 0: unknown parameter 'size'"),
    ],
)
def test_a_configuration_outside_the_space_is_refused(tmp_path, changes, message):
    with pytest.raises(RetryError) as refused:
        configurations(tmp_path, Retry([0, 1], changes, fresh=True))
    assert str(refused.value).startswith(message)


def test_whoever_wrote_a_checkpoint_it_is_not_taken_for_another_configurations(tmp_path):
    (tmp_path / "1").mkdir()
    assert configurations(tmp_path, Retry([1], {"batch_size": 64}, fresh=False))
    (tmp_path / "1" / "model.bin").touch()
    assert configurations(tmp_path, Retry([1], {}, fresh=False))
    assert configurations(tmp_path, Retry([1], {"batch_size": 128}, fresh=False))
    with pytest.raises(RetryError, match="trial 1 has a checkpoint of another configuration than"):
        configurations(tmp_path, Retry([1], {"batch_size": 64}, fresh=False))
    assert configurations(tmp_path, Retry([1], {"batch_size": 64}, fresh=True))
