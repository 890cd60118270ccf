"""How much memory a training needs at least, told without running it."""

import json
import subprocess
import sys

import pytest
import torch
from luthier.tools.recipes import memory, supervised

DIGITS = supervised.Options(data="digits", model="mlp", epochs=1)
WIDE = {"width": 2048, "depth": 3, "batch_size": 256}

TRAINING = """
import json, re, sys
from pathlib import Path
from luthier.tools.recipes import memory, supervised
config, options = json.loads(sys.argv[1])
options = supervised.Options.model_validate(options)
print(memory.needed_bytes(config, options, memory.measure(options, cuda=False), cuda=False))
supervised.train(config, options, 0)
# The kernel's ru_maxrss would begin with what the process had that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10)
"""


@pytest.fixture(scope="module")
def base():
    return memory.measure(DIGITS, cuda=False)


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("mlp", {"width": 16, "depth": 1}),
        ("mlp", {"width": 4096, "depth": 2, "optimizer": "sgd", "momentum": 0.9}),
        ("cnn", {"width": 256, "depth": 3, "batch_size": 512}),
    ],
)
@pytest.mark.usefixtures("trial")  # only a trial writes checkpoints
def test_tells_somewhat_less_than_a_training_then_uses(model, config):
    options = DIGITS.model_copy(update={"model": model})
    argument = json.dumps([config, options.model_dump()])
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, argument], capture_output=True, text=True, check=True
    )
    estimate, used = map(int, done.stdout.split())
    assert 0.7 * used < estimate < 1.05 * used  # convolutions have large workspaces


def test_tells_what_no_machine_could_hold(base):
    needed = memory.needed_bytes({"width": 1_000_000, "depth": 4}, DIGITS, base, cuda=False)
    assert needed > 40 * 10**12


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("more", [{"width": 4096}, {"depth": 6}, {"optimizer": "adam"}])
def test_more_of_a_network_needs_more(base, cuda, more):
    less = WIDE | {"optimizer": "sgd"}
    one = memory.needed_bytes(less, DIGITS, base, cuda=cuda)
    assert memory.needed_bytes(less | more, DIGITS, base, cuda=cuda) > one


def test_a_larger_batch_needs_more_where_activations_outweigh_the_weights():
    options = DIGITS.model_copy(update={"model": "cnn"})
    base = memory.measure(options, cuda=False)
    needed = [
        memory.needed_bytes({"width": 64, "batch_size": size}, options, base, cuda=False)
        for size in (128, 512)
    ]
    assert needed[0] < needed[1]


def test_the_network_itself_is_never_built(base):
    before = memory.measure(DIGITS, cuda=False).used_bytes
    memory.needed_bytes({"width": 30_000, "depth": 4}, DIGITS, base, cuda=False)
    assert memory.measure(DIGITS, cuda=False).used_bytes - before < 50 << 20


def test_an_unknown_parameter_is_named(base):
    with pytest.raises(ValueError, match="unknown parameter 'widht'; did you mean 'width'"):
        memory.needed_bytes({"widht": 3}, DIGITS, base, cuda=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tells_somewhat_less_than_a_training_then_reserves_on_a_cuda_device():
    base = memory.measure(DIGITS, cuda=True)
    estimate = memory.needed_bytes(WIDE, DIGITS, base, cuda=True)
    supervised.train(WIDE, DIGITS, 0)
    free, total = torch.cuda.mem_get_info()
    assert 0.3 * (total - free) < estimate < 1.05 * (total - free)
