"""The textbook prior: what it reads in names, and that it says nothing of what it cannot read."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools.space import Categorical, Float, Int, SearchSpace
from luthier.tools.textbook import prior_of
from luthier.tools.textbook_facts import FACTS, INTERACTIONS

examples = settings(derandomize=True, deadline=None, max_examples=25, database=None)

LR = Float(low=1e-6, high=1.0, log=True)
DEPTH = Int(low=1, high=30)


def space(**parameters):
    return SearchSpace(parameters=parameters)


def typical(searched, name):
    """Return the typical value of a parameter."""
    return prior_of(searched).configurations(1, 0)[0][name]


def network(**changes):
    """Return a space of a network's usual parameters."""
    return space(
        **{
            "lr": LR,
            "momentum": Float(low=0.0, high=0.99),
            "weight_decay": Float(low=1e-7, high=1.0, log=True),
            "dropout": Float(low=0.0, high=0.9),
            "batch_size": Categorical(choices=[16, 32, 64, 128, 256, 1024]),
            "optimizer": Categorical(choices=["sgd", "adamw"]),
            **changes,
        }
    )


# --- names ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Read:
    name: str
    parameter: Float | Int | Categorical
    role: str
    beside: tuple[str, ...] = ()


READ = (
    Read("lr", LR, "learning rate"),
    Read("learning_rate", LR, "learning rate"),
    Read("learning-rate-init", LR, "learning rate"),
    Read("baseLr", LR, "learning rate"),
    Read("eta", LR, "learning rate", beside=("max_depth",)),
    Read("wd", Float(low=1e-6, high=0.1, log=True), "weight decay", beside=("lr",)),
    Read("alpha", Float(low=1e-6, high=0.1, log=True), "weight decay", beside=("batch_size",)),
    Read("alpha", Float(low=1e-3, high=10, log=True), "lasso penalty", beside=("num_leaves",)),
    Read("max_depth", DEPTH, "tree depth"),
    Read("clf__C", Float(low=1e-3, high=1e3, log=True), "penalty C", beside=("clf__gamma",)),
    Read("gamma", Float(low=1e-5, high=1, log=True), "kernel width", beside=("C",)),
    Read("gamma", Float(low=0, high=5), "least gain of a split", beside=("min_child_weight",)),
    Read("gamma", Float(low=0.9, high=0.999), "discount", beside=("gae_lambda",)),
    Read("beta2", Float(low=0.9, high=0.9999), "second beta"),
    Read("n_units_2", Int(low=16, high=512), "width", beside=("lr",)),
    Read("num_layers", Int(low=1, high=6), "depth", beside=("lr",)),
    Read("activation_fn", Categorical(choices=["tanh", "ReLU"]), "activation"),
    Read("warmup_ratio", Float(low=0.0, high=0.3), "warm-up share"),
)


@pytest.mark.parametrize("read", READ, ids=lambda read: f"{read.name} {read.role}")
def test_reads_a_name_by_its_words_and_by_its_company(read):
    searched = space(
        **{read.name: read.parameter}, **{other: LR for other in read.beside if other != read.name}
    )
    assert prior_of(searched).knows[read.name] == read.role


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("x1", LR),
        ("X3", Int(low=1, high=7)),
        ("c", LR),
        ("theta", LR),
        ("lr_decay", Float(low=0.1, high=1.0)),
        ("min_lr", LR),
        ("bn_momentum", Float(low=0.01, high=0.5)),
        ("lora_alpha", Int(low=4, high=64)),
        ("Op0", Categorical(choices=["none", "skip_connect"])),
    ],
)
def test_says_nothing_of_a_name_that_it_does_not_know(name, parameter):
    searched = space(**{name: parameter})
    prior = prior_of(searched)
    configuration = searched.sample(np.random.default_rng(0))
    assert prior.knows == {}
    assert prior.log_density(configuration) == 0.0


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("lr", Float(low=50.0, high=90.0)),
        ("lr", Float(low=-5.0, high=-1.0)),
        ("dropout", Float(low=0.0, high=60.0)),
        ("momentum", Int(low=0, high=9)),
        ("batch_size", Categorical(choices=["small", "large"])),
        ("optimizer", Categorical(choices=["first", "second"])),
        ("n_estimators", Int(low=1, high=3)),
    ],
)
def test_says_nothing_where_the_range_means_something_else(name, parameter):
    searched = space(**{name: parameter}, weight_decay=Float(low=1e-6, high=0.1, log=True))
    assert name not in prior_of(searched).knows


def test_every_fact_and_interaction_has_a_source_and_a_name_for_what_it_is_about():
    assert all(fact.source and fact.role for fact in FACTS)
    roles = {fact.role for fact in FACTS}
    assert all(i.source and {i.of, i.by} <= roles for i in INTERACTIONS)


# --- values ---------------------------------------------------------------------------------


def test_a_range_is_respected():
    searched = network(lr=Float(low=0.2, high=0.9, log=True), dropout=Float(low=0.4, high=0.6))
    for configuration in prior_of(searched).configurations(20, 0):
        searched.validate_configuration(configuration)


def test_a_unit_of_logarithms_is_understood():
    lr = Float(low=-6.0, high=0.0, step=0.5, unit="log10")
    assert typical(space(lr=lr, beta1=Float(low=0.5, high=0.99)), "lr") == -3.0


def test_a_switched_off_decay_is_sensible_but_a_learning_rate_of_zero_is_not():
    rates = network(lr=Categorical(choices=[0.0, 1e-3]))
    decays = network(weight_decay=Categorical(choices=[0.0, 1e-3]))
    common = {"momentum": 0.9, "dropout": 0.2, "batch_size": 64, "optimizer": "adamw"}

    def lost(searched, name, other):
        """Return how much less dense a configuration is with 0."""
        configuration = {**common, **other}
        density = prior_of(searched).log_density
        return density({**configuration, name: 1e-3}) - density({**configuration, name: 0.0})

    assert lost(decays, "weight_decay", {"lr": 1e-3}) < 0.5
    assert lost(rates, "lr", {"weight_decay": 1e-2}) > 5


# --- interactions ---------------------------------------------------------------------------


def best_rate(searched, **others):
    """Return the densest learning rate beside these values."""
    rates = np.geomspace(LR.low, LR.high, 400)
    density = prior_of(searched).log_density
    return max(rates, key=lambda rate: density({"lr": float(rate), **others}))


def test_the_rate_follows_the_optimiser():
    beside = {"batch_size": 64, "momentum": 0.9, "weight_decay": 1e-3, "dropout": 0.1}
    sgd = best_rate(network(), optimizer="sgd", **beside)
    adamw = best_rate(network(), optimizer="adamw", **beside)
    assert sgd == pytest.approx(0.03, rel=0.1)
    assert adamw == pytest.approx(1e-3, rel=0.1)


def test_the_rate_grows_with_the_root_of_the_batch():
    beside = {"optimizer": "adamw", "momentum": 0.9, "weight_decay": 1e-3, "dropout": 0.1}
    small, large = (best_rate(network(), batch_size=size, **beside) for size in (16, 1024))
    assert large / small == pytest.approx(8, rel=0.15)


def test_the_rate_of_sgd_falls_as_its_momentum_rises():
    beside = {"optimizer": "sgd", "batch_size": 64, "weight_decay": 1e-3, "dropout": 0.1}
    none, much = (best_rate(network(), momentum=momentum, **beside) for momentum in (0.0, 0.9))
    assert none / much == pytest.approx(10, rel=0.15)


def test_the_rate_of_adam_falls_with_the_width():
    searched = network(width=Int(low=16, high=4096, log=True))
    beside = {"batch_size": 64, "momentum": 0.9, "weight_decay": 1e-3, "dropout": 0.1}
    narrow, wide = (
        best_rate(searched, optimizer="adamw", width=width, **beside) for width in (64, 1024)
    )
    assert narrow / wide == pytest.approx(4, rel=0.15)


def test_parameters_of_another_branch_do_not_interact():
    searched = space(
        model=Categorical(choices=["svm", "net"]),
        C=Float(low=0.01, high=1000, log=True, when={"model": ["svm"]}),
        gamma=Float(low=1e-4, high=1, log=True, when={"model": ["svm"]}),
        lr=Float(low=1e-5, high=1, log=True, when={"model": ["net"]}),
        alpha=Float(low=1e-6, high=1, log=True, when={"model": ["net"]}),
    )
    assert prior_of(searched).knows == {
        "C": "penalty C",
        "gamma": "kernel width",
        "lr": "learning rate",
        "alpha": "weight decay",
    }


# --- the density ----------------------------------------------------------------------------

SPACES = {
    "continuous": network(batch_size=Int(low=4, high=512, log=True)),
    "choices": network(),
    "a grid": network(
        lr=Float(low=-5.0, high=0.2, step=0.5, unit="log10"),
        dropout=Float(low=0.0, high=0.75, step=0.3),
        batch_size=Int(low=3, high=8, unit="log2"),
    ),
    "trees": space(
        max_depth=DEPTH,
        min_samples_leaf=Float(low=0.01, high=0.49, log=True),
        min_impurity_decrease=Float(low=0.0, high=0.01),
    ),
}


@pytest.mark.parametrize("searched", SPACES.values(), ids=SPACES)
def test_is_a_density_relative_to_the_uniform_distribution(searched):
    prior, rng = prior_of(searched), np.random.default_rng(0)
    densities = [math.exp(prior.log_density(searched.sample(rng))) for _ in range(4000)]
    error = np.std(densities) / math.sqrt(len(densities))
    assert np.mean(densities) == pytest.approx(1.0, abs=4 * error + 0.02)


@pytest.mark.parametrize("searched", SPACES.values(), ids=SPACES)
def test_its_own_configurations_are_denser_than_uniform_ones(searched):
    prior, rng = prior_of(searched), np.random.default_rng(1)
    own = [prior.log_density(c) for c in prior.configurations(30, 0)]
    uniform = [prior.log_density(searched.sample(rng)) for _ in range(200)]
    assert np.median(own) > np.quantile(uniform, 0.75)


# --- configurations -------------------------------------------------------------------------


def test_the_typical_configuration_comes_first():
    first = prior_of(network()).configurations(3, 0)[0]
    assert first["optimizer"] == "adamw"
    assert first["batch_size"] == 32
    assert first["lr"] == pytest.approx(1e-3 * math.sqrt(1 / 2))
    assert first["momentum"] == 0.9


def test_what_is_not_known_stands_at_its_default_then_is_spread_evenly():
    searched = network(x1=Float(low=0.0, high=1.0, default=0.1), x2=Float(low=0.0, high=1.0))
    first, *others = prior_of(searched).configurations(65, 0)
    assert (first["x1"], first["x2"]) == (0.1, 0.5)
    assert np.histogram([c["x2"] for c in others], bins=4, range=(0, 1))[0].tolist() == [16] * 4


def test_one_seed_gives_the_same_configurations_and_another_seed_others():
    prior = prior_of(network())
    assert prior.configurations(5, 1) == prior.configurations(5, 1)
    assert prior.configurations(5, 1)[0] == prior.configurations(5, 2)[0]
    assert prior.configurations(5, 1)[1:] != prior.configurations(5, 2)[1:]


def test_a_small_space_gives_each_configuration_once():
    searched = space(optimizer=Categorical(choices=["sgd", "adam"]))
    assert prior_of(searched).configurations(5, 0) == [{"optimizer": "adam"}, {"optimizer": "sgd"}]


@given(st.integers(0, 1000))
@examples
def test_configurations_are_allowed_and_different(seed):
    searched = SearchSpace(
        parameters={
            "optimizer": Categorical(choices=["sgd", "adam"]),
            "lr": LR,
            "momentum": Float(low=0.0, high=0.99, when={"optimizer": ["sgd"]}),
            "warmup_steps": Int(low=0, high=2000),
            "decay_steps": Int(low=0, high=2000),
        },
        constraints=["warmup_steps <= decay_steps"],
    )
    configurations = prior_of(searched).configurations(6, seed)
    assert len(configurations) == 6
    for i, configuration in enumerate(configurations):
        searched.validate_configuration(configuration)
        assert configuration not in configurations[:i]


NAMES = st.sampled_from(sorted({read.name for read in READ} | {"optimizer", "x1"}))
FLOATS = st.tuples(
    st.floats(-1e3, 1e3), st.floats(1e-6, 1e3), st.sampled_from([None, "log10", "log2"])
).map(lambda drawn: Float(low=drawn[0], high=drawn[0] + drawn[1], unit=drawn[2]))
LOGS = st.tuples(st.floats(1e-9, 1e3), st.floats(1.1, 1e9)).map(
    lambda drawn: Float(low=drawn[0], high=drawn[0] * drawn[1], log=True)
)
INTS = st.tuples(st.integers(-9, 2000), st.integers(9, 2000), st.integers(1, 9)).map(
    lambda drawn: Int(low=drawn[0], high=drawn[0] + drawn[1], step=drawn[2])
)
CHOICES = st.lists(
    st.sampled_from(["sgd", "adam", "relu", 0, 0.9, 32, None, True]), min_size=1, unique_by=repr
).map(lambda choices: Categorical(choices=choices))


@given(st.dictionaries(NAMES, st.one_of(FLOATS, LOGS, INTS, CHOICES), min_size=1, max_size=5))
@settings(examples, max_examples=150)
def test_any_range_beside_any_name_is_survived(parameters):
    searched = SearchSpace(parameters=parameters)
    prior = prior_of(searched)
    for configuration in prior.configurations(3, 0):
        searched.validate_configuration(configuration)
        assert math.isfinite(prior.log_density(configuration))
