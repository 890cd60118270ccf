import pytest
from luthier.tools.ranges import is_seed, propose
from luthier.tools.scales import Proposal, Refusal
from luthier.tools.script_declared import Declared
from luthier.tools.space import Categorical, Float, Int


def declared(name, default=None, **changes):
    kind = {float: "float", int: "int", bool: "bool"}.get(type(default), "str")
    return Declared(
        name=name, argument=f"--{name}", line=1, **{"kind": kind, "default": default} | changes
    )


def range_of(name, default=None, **changes):
    proposal = propose(declared(name, default, **changes))
    assert isinstance(proposal, Proposal), proposal
    return proposal.parameter


def refusal(name, default=None, *, known_only=False, **changes):
    proposal = propose(declared(name, default, **changes), known_only=known_only)
    assert isinstance(proposal, Refusal), proposal
    return proposal.reason


@pytest.mark.parametrize("name", ["lr", "learning_rate", "base-lr", "baseLR", "lr0", "eta_min"])
def test_a_learning_rate_is_searched_logarithmically_around_its_default(name):
    assert range_of(name, 0.01) == Float(low=0.0003, high=0.3, log=True, default=0.01)


def test_a_learning_rate_does_not_go_beyond_one_unless_its_default_does():
    assert range_of("lr", 0.5).high == 1.0
    assert range_of("lr", 2.0).high == 2.0


@pytest.mark.parametrize("name", ["dropout", "drop_rate", "attnDropout", "p_drop"])
def test_dropout_goes_from_0_to_09(name):
    assert range_of(name, 0.1) == Float(low=0.0, high=0.9, default=0.1)


@pytest.mark.parametrize("name", ["hidden", "hidden_size", "d_model", "width", "fc1", "n_units"])
def test_a_width_is_a_power_of_two_around_its_default(name):
    assert range_of(name, 64) == Categorical(choices=[16, 32, 64, 128, 256], default=64)


def test_a_width_that_is_no_power_of_two_keeps_its_own_scale():
    assert range_of("hidden", 100) == Int(low=25, high=400, log=True, default=100)


def test_a_width_stays_positive():
    assert range_of("heads", 1).choices == [1, 2, 4]


@pytest.mark.parametrize("name", ["batch_size", "batch-size", "bs", "per_device_train_batch_size"])
def test_a_batch_size_is_a_power_of_two(name):
    assert range_of(name, 32).choices == [8, 16, 32, 64, 128]


@pytest.mark.parametrize(
    ("name", "default", "expected"),
    [
        ("weight_decay", 1e-4, Float(low=1e-6, high=0.01, log=True, default=1e-4)),
        ("momentum", 0.9, Float(low=0.0, high=0.99, default=0.9)),
        ("momentum", 0.999, Float(low=0.0, high=0.999, default=0.999)),
        ("beta2", 0.999, Float(low=0.9, high=0.9999, default=0.999)),
        ("gamma", 0.5, Float(low=0.1, high=1.0, default=0.5)),
        ("gamma", 0.99, Float(low=0.8, high=0.9999, default=0.99)),
        ("gae_lambda", 0.95, Float(low=0.8, high=1.0, default=0.95)),
        ("label_smoothing", 0.0, Float(low=0.0, high=0.3, default=0.0)),
        ("grad_clip", 1.0, Float(low=0.1, high=10.0, log=True, default=1.0)),
        ("num_layers", 2, Int(low=1, high=4, default=2)),
        ("max_depth", 6, Int(low=1, high=12, default=6)),
        ("warmup_steps", 100, Int(low=0, high=1000, default=100)),
        ("warmup_ratio", 0.1, Float(low=0.0, high=0.3, default=0.1)),
        ("kernel_size", 3, Categorical(choices=[1, 3, 5], default=3)),
        ("n_estimators", 100, Int(low=25, high=400, log=True, default=100)),
        ("min_samples_split", 2, Int(low=2, high=10, default=2)),
        ("nesterov", False, Categorical(choices=[True, False], default=False)),
        ("foo", 0.5, Float(low=0.05, high=5.0, log=True, default=0.5)),
        ("foo", 8, Int(low=2, high=32, log=True, default=8)),
        ("foo", True, Categorical(choices=[True, False], default=True)),
    ],
)
def test_the_range_follows_from_the_name_the_kind_and_the_default(name, default, expected):
    assert range_of(name, default) == expected


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("lr", "float", Float(low=1e-5, high=0.1, log=True)),
        ("dropout", "float", Float(low=0.0, high=0.9)),
        ("hidden", "int", Categorical(choices=[32, 64, 128, 256])),
        ("n_estimators", "int", Int(low=50, high=1000, log=True)),
    ],
)
def test_a_known_name_needs_no_default(name, kind, expected):
    assert range_of(name, kind=kind) == expected


def test_the_scripts_own_limits_are_kept():
    assert range_of("dropout", 0.1, low=0.05, high=0.5) == Float(low=0.05, high=0.5, default=0.1)
    assert range_of("hidden", 64, low=20.0, high=128.0).choices == [32, 64, 128]
    assert range_of("layers", 2, low=1.5, high=3.5) == Int(low=2, high=3, default=2)


def test_a_default_beyond_the_scripts_own_limits_is_dropped_with_a_note():
    proposal = propose(declared("dropout", 0.8, high=0.5))
    assert proposal.parameter == Float(low=0.0, high=0.5)
    assert proposal.note == "its default breaks the script's own limits"


def test_a_default_of_zero_on_a_logarithmic_scale_is_told_of():
    proposal = propose(declared("weight_decay", 0.0))
    assert (proposal.parameter.low, proposal.parameter.high) == (1e-6, 0.1)
    assert proposal.note == "0 in the script; 1e-06 is the nearest"


def test_choices_are_kept_as_they_are():
    assert range_of("hidden", 48, choices=(24, 48)) == Categorical(choices=[24, 48], default=48)
    proposal = propose(declared("act", "tanh", choices=("relu", "gelu")))
    assert proposal.parameter == Categorical(choices=["relu", "gelu"])
    assert proposal.note == "its default 'tanh' is none of its choices"


def test_a_real_number_written_as_text_or_whole_is_one():
    assert range_of("lr", "0.1", kind="float").default == 0.1
    assert range_of("dropout", 0, kind="int", typed=False) == Float(low=0, high=0.9, default=0)


def test_the_meaning_is_kept():
    assert range_of("lr", 0.1, meaning="step size").meaning == "step size"
    assert range_of("opt", "a", choices=("a", "b"), meaning="which").meaning == "which"


@pytest.mark.parametrize(
    ("name", "default", "reason"),
    [
        ("random_seed", 1, "a seed; seeds are never tuned"),
        ("epochs", 10, "training length; kept fixed so that the trials can be compared"),
        ("max_steps", 1000, "training length; kept fixed so that the trials can be compared"),
        ("num_workers", 4, "speed of loading"),
        ("no_cuda", False, "where it runs, not what is learned"),
        ("local_rank", 0, "where it runs, not what is learned"),
        ("test_batch_size", 1000, "used for evaluation only"),
        ("log_interval", 10, "how often something is written"),
        ("save_model", False, "a file, or whether one is read or written"),
        ("data_dir", "data", "a file, or whether one is read or written"),
        ("run_name", "x", "a name"),
        ("wandb", True, "output and debugging only"),
        ("max_seq_len", 128, "part of the task, not of the model"),
        ("num_classes", 10, "part of the task, not of the model"),
        ("port", 8080, "a connection"),
        ("fp16", False, "speed and arithmetic of the machine"),
        ("do_eval", True, "what the script does, not how it learns"),
        ("prompt", "hello", "text without a list of choices"),
        ("lr", -0.1, "its default is negative, which a logarithmic range cannot hold"),
        ("dropout", -1.0, "its default is -1.0, where 0 or more was expected"),
        ("foo", 0, "its default is 0, which gives no scale"),
        ("foo", 0.0, "its default is 0, which gives no scale"),
        ("foo", 1e15, "its default is too extreme for a range"),
        ("kernel_size", 4, "its default is not an odd number"),
    ],
)
def test_what_is_not_for_tuning_is_left_alone_with_a_reason(name, default, reason):
    assert refusal(name, default) == reason


def test_a_default_of_another_kind_is_left_alone():
    assert refusal("lr", "high", kind="float") == "its default 'high' is not of its type"
    assert refusal("layers", 2.5, kind="int") == "its default 2.5 is not of its type"


def test_no_default_and_an_unknown_name_give_no_range():
    assert refusal("foo", kind="float").startswith("no default, and nothing is known about")


def test_limits_without_room_give_no_range():
    reason = "the script's own limits leave no range around its default"
    assert refusal("dropout", 0.95, low=0.95, high=0.95) == reason
    assert refusal("hidden", 64, low=64.0, high=64.0) == "only one value is possible"


def test_an_unknown_name_can_be_left_alone():
    reason = "not a name known from training; add it by hand if it should be tuned"
    assert refusal("retries", 4, known_only=True) == reason


@pytest.mark.parametrize(
    ("name", "default", "expected"),
    [
        ("seed", 1, True),
        ("random_seed", 0, True),
        ("randomState", 0, True),
        ("seed_file", 0, False),
        ("seed", "x", False),
    ],
)
def test_a_seed_is_recognised_by_its_name_and_kind(name, default, expected):
    assert is_seed(declared(name, default)) is expected
