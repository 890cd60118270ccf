import pytest
import torch
from luthier.tools.recipes.catalogue import OPTIMIZERS, SCHEDULES

PROGRESS = [i / 100 for i in range(100)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_stay_within_0_and_1_and_reach_1(name):
    factors = [SCHEDULES[name](progress) for progress in PROGRESS]
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    assert max(factors) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["linear", "cosine", "step", "one_cycle"])
def test_decaying_schedules_end_low(name):
    assert SCHEDULES[name](0.99) < 0.02


@pytest.mark.parametrize(
    ("name", "progress", "factor"),
    [
        ("constant", 0.7, 1.0),
        ("linear", 0.25, 0.75),
        ("cosine", 0.5, 0.5),
        ("step", 0.49, 1.0),
        ("step", 0.5, 0.1),
        ("step", 0.75, 0.01),
        ("one_cycle", 0.0, 0.04),
        ("one_cycle", 0.3, 1.0),
        ("one_cycle", 0.65, 0.5),
    ],
)
def test_schedule_values(name, progress, factor):
    assert SCHEDULES[name](progress) == pytest.approx(factor)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_goes_downhill(name):
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    settings = {"learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.9}
    optimizer = OPTIMIZERS[name]([weight], settings)
    (weight**2).sum().backward()
    optimizer.step()
    assert 0.7 < weight.item() < 1.0


def test_weight_decay_of_adamw_is_decoupled():
    weights = {}
    for name in ("adam", "adamw"):
        weight = torch.nn.Parameter(torch.tensor([1.0]))
        optimizer = OPTIMIZERS[name]([weight], {"learning_rate": 0.1, "weight_decay": 0.5})
        weight.grad = torch.zeros(1)
        optimizer.step()
        weights[name] = weight.item()
    assert weights["adamw"] == pytest.approx(1.0 - 0.1 * 0.5)
    assert weights["adam"] == pytest.approx(1.0 - 0.1)
