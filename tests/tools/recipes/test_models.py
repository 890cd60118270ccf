import pytest
import torch
from luthier.tools.recipes import models


def settings(width=8, depth=2, dropout=0.0):
    return {"width": width, "depth": depth, "dropout": dropout}


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9), (2, 1, 1)])
@pytest.mark.parametrize("depth", [1, 3])
def test_any_image_gives_one_row_of_outputs_each(name, shape, depth):
    model = models.build(name, shape, 4, settings(depth=depth))
    assert model(torch.randn(6, *shape)).shape == (6, 4)


def test_depth_counts_hidden_layers():
    model = models.mlp((5,), 1, settings(depth=3))
    assert sum(isinstance(layer, torch.nn.Linear) for layer in model) == 4


def test_size_of_a_cnn_does_not_depend_on_the_image():
    sizes = {
        sum(p.numel() for p in models.cnn((1, side, side), 2, settings()).parameters())
        for side in (8, 32)
    }
    assert len(sizes) == 1


def test_dropout_acts_in_training_only():
    model = models.mlp((5,), 2, settings(dropout=0.5))
    rows = torch.randn(4, 5)
    assert not torch.equal(model(rows), model(rows))
    model.eval()
    assert torch.equal(model(rows), model(rows))
