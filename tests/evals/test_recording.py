"""Networks that are trained side by side end up as they would alone, and a recording goes on."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from luthier.evals import recording
from luthier.evals.recorded import load_curves, load_table
from luthier.evals.recording import RECORDINGS, Recording, assemble, record
from luthier.evals.task import EvalError

RATES, MOMENTA, DECAYS = [1e-3, 3e-2], [0.0, 0.9], [1e-5, 1e-1]


def small(name: str, **changes: object) -> Recording:
    """Return a recording of eight small networks in each of its two groups."""
    axes: dict[str, Sequence[float | int | str]] = {
        "learning_rate": RATES,
        "optimizer": ["sgd", "adamw"],
        "momentum": MOMENTA,
        "weight_decay": DECAYS,
        "width": [4],
        "batch_size": [64],
    }
    return replace(RECORDINGS[name], axes=axes, epochs=2, seeds=1, **changes)  # type: ignore[arg-type]


def alone(recorded: Recording, optimizer: str, rate: float, momentum: float, decay: float) -> float:
    """Train one network with torch's own optimiser; return its last validation loss."""
    generator = torch.Generator().manual_seed(1000)
    parameters = [p.requires_grad_() for p in recorded.make(1, 4, generator)]
    rule: torch.optim.Optimizer = torch.optim.AdamW(
        parameters, lr=rate, betas=(momentum, 0.999), weight_decay=decay
    )
    if optimizer == "sgd":
        rule = torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay)
    data = recording._digits()
    for _ in range(recorded.epochs):
        for rows in torch.randperm(600, generator=generator).split(64):
            logits = recorded.forward(parameters, data.training[rows])[0]
            rule.zero_grad()
            torch.nn.functional.cross_entropy(logits, data.training_labels[rows]).backward()
            rule.step()
    with torch.no_grad():
        logits = recorded.forward(parameters, data.validation)[0]
    return float(torch.nn.functional.cross_entropy(logits, data.validation_labels))


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn"])
def test_a_network_is_trained_as_it_would_be_alone(name: str, tmp_path: Path) -> None:
    recorded = small(name)

    assert record(recorded, tmp_path, seconds=600)
    curves = assemble(recorded, tmp_path)

    assert curves.shape == (2, 2, 2, 2, 1, 1, 1, 2)
    for i, j, k in product(range(2), repeat=3):
        for rule, optimizer in enumerate(("sgd", "adamw")):
            expected = alone(recorded, optimizer, RATES[i], MOMENTA[j], DECAYS[k])
            assert curves[i, rule, j, k, 0, 0, 0, -1] == pytest.approx(expected, rel=1e-3)


def test_the_cnn_is_a_cnn() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = recording.make_cnn(1, 3, generator)
    images = torch.rand(5, 64, generator=generator)

    kernel = parameters[0][0].reshape(1, 3, 3, 3)  # channel, row and column of the patch; filter
    maps = torch.nn.functional.conv2d(
        images.reshape(5, 1, 8, 8), kernel.permute(3, 0, 1, 2), parameters[1][0, 0], padding=1
    )
    maps = torch.relu(torch.nn.functional.max_pool2d(maps, 2))
    kernel = parameters[2][0].reshape(3, 3, 3, 3)
    maps = torch.nn.functional.conv2d(
        maps, kernel.permute(3, 0, 1, 2), parameters[3][0, 0], padding=1
    )
    maps = torch.relu(torch.nn.functional.max_pool2d(maps, 2))
    flat = maps.permute(0, 2, 3, 1).reshape(5, -1)

    expected = flat @ parameters[4][0] + parameters[5][0]
    assert torch.allclose(recording.cnn(parameters, images)[0], expected, atol=1e-5)


def test_a_recording_goes_on_where_it_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = small("digits-mlp")

    assert not record(recorded, tmp_path, seconds=-1.0)
    assert list(tmp_path.iterdir()) == []
    record(replace(recorded, axes={**recorded.axes, "optimizer": ["sgd"]}), tmp_path, 600)
    first = (tmp_path / "sgd_4_64_0.npy").stat().st_mtime_ns
    capsys.readouterr()
    assert record(recorded, tmp_path, seconds=600)

    assert capsys.readouterr().out.startswith("adamw_4_64_0: ")
    assert (tmp_path / "sgd_4_64_0.npy").stat().st_mtime_ns == first


@pytest.mark.parametrize("name", list(RECORDINGS))
def test_the_table_that_comes_along_is_whole_and_worth_searching(name: str) -> None:
    recorded, table = RECORDINGS[name], load_table(name)
    curves = load_curves(name)

    lengths = [len(axis) for axis in recorded.axes.values()]
    assert curves.shape == (*lengths, recorded.seeds, recorded.epochs)
    assert not np.isnan(table.values).any()
    assert np.isinf(table.values).mean() < 0.3
    assert table.f_star < 0.5 < table.f_median


def test_the_table_that_comes_along_is_what_the_command_records() -> None:
    recorded = RECORDINGS["digits-mlp"]
    trained = recording._train(recorded, recording._Group("adamw", 16, 256, 0))

    kept = load_curves("digits-mlp")[:, 1, :, :, 0, 2, 0]
    slow = slice(0, 5)  # learning rates up to 1e-2: no chaos
    again = trained.reshape(kept.shape)

    np.testing.assert_allclose(again[slow], kept[slow], rtol=0.01)


def test_a_damaged_table_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits_mlp.npz").write_bytes(b"PK half of a file")
    monkeypatch.setattr(recording, "DATA", tmp_path)

    with pytest.raises(
        EvalError, match=r"digits_mlp.npz' is missing or damaged; .*evals.recording"
    ):
        load_curves("digits-mlp")
