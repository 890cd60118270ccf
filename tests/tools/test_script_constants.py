"""Scripts whose parameters stand in the source: config classes, constants, the environment."""

import pytest


def texts(remarks):
    return [remark.text for remark in remarks]


HUGGING_FACE = '''
from dataclasses import dataclass, field
from typing import Literal, Optional
from transformers import HfArgumentParser

@dataclass
class ModelArguments:
    model_name: str = field(metadata={"help": "Path"})
    hidden_dropout: float = field(default=0.1, metadata={"help": "Dropout of the encoder"})
    use_lora: bool = field(default=False)
    pooling: Literal["mean", "cls"] = "mean"

@dataclass
class TrainArguments:
    learning_rate: float = 5e-5  # peak
    per_device_train_batch_size: int = 8
    weight_decay: float = 0.01
    """L2 penalty."""
    hidden_dropout: float = 0.2
    layers: list = field(default_factory=list)
    width: Optional[int] = None
    seed: int = 42

model_args, train_args = HfArgumentParser((ModelArguments, TrainArguments)).parse()
'''


def test_config_dataclasses_are_read(read):
    reading = read(HUGGING_FACE)
    assert (reading.source, reading.pass_by) == ("config classes", "constants")
    assert reading.seed_argument == "TrainArguments.seed"
    assert reading.arguments == {
        "hidden_dropout": "ModelArguments.hidden_dropout",
        "use_lora": "ModelArguments.use_lora",
        "pooling": "ModelArguments.pooling",
        "learning_rate": "TrainArguments.learning_rate",
        "per_device_train_batch_size": "TrainArguments.per_device_train_batch_size",
        "weight_decay": "TrainArguments.weight_decay",
        "trainarguments_hidden_dropout": "TrainArguments.hidden_dropout",
        "width": "TrainArguments.width",
    }
    assert texts(reading.unread) == [
        "`ModelArguments.model_name` has no literal default",
        "`TrainArguments.layers` has no literal default",
    ]


def test_the_meaning_comes_from_metadata_a_comment_or_a_docstring(read):
    parameters = read(HUGGING_FACE).parameters
    assert parameters["hidden_dropout"].meaning == "Dropout of the encoder"
    assert parameters["learning_rate"].meaning == "peak"
    assert parameters["weight_decay"].meaning == "L2 penalty."


@pytest.mark.parametrize(
    "head",
    ["class Config:", "class TrainConfig(BaseModel):", "class hparams:", "@dataclass\nclass Net:"],
)
def test_a_class_is_read_for_its_decorator_or_its_name(read, head):
    assert list(read(f"{head}\n    lr: float = 0.1\n").parameters) == ["lr"]


def test_other_classes_are_not_read(read):
    assert read("class Net(nn.Module):\n    lr = 0.1\n").found == {}


def test_a_pydantic_field_is_read(read):
    reading = read(
        "class Config(BaseModel):\n"
        "    lr: float = Field(0.1, description='step')\n"
        "    dropout: float = Field(default=0.3)\n"
    )
    assert reading.parameters["lr"].meaning == "step"
    assert reading.parameters["dropout"].default == 0.3


@pytest.mark.parametrize("call", ["Config(lr=0.2)", "Config(0.2)", "Config(**loaded)"])
def test_a_field_that_is_set_where_the_class_is_made_is_left(read, call):
    reading = read(f"class Config:\n    lr: float = 0.1\nconfig = {call}\n")
    assert reading.found == {}
    assert texts(reading.unread) == ["`Config.lr` may be set again where Config is made"]


CONSTANTS = """
LR = 1e-3  # step size
BATCH_SIZE = 32
HIDDEN = [64, 32]
EPOCHS = 3
SEED = 0
dropout = 0.5
WEIGHT_DECAY: float = 0
MOMENTUM = 1
SCHEDULE = 2 ** 3
RETRIES = 4
lines = 12
_TAU = 0.1
GAMMA = 0.9
if LR > 1:
    GAMMA = 0.8
BETA1 = 0.9
def change():
    global BETA1
    lr = LR
"""


def test_constants_are_read(read):
    reading = read(CONSTANTS)
    assert (reading.source, reading.pass_by) == ("constants", "constants")
    assert reading.seed_argument == "SEED"
    assert reading.arguments == {
        "lr": "LR",
        "batch_size": "BATCH_SIZE",
        "dropout": "dropout",
        "weight_decay": "WEIGHT_DECAY",
        "momentum": "MOMENTUM",
    }
    assert reading.parameters["lr"].meaning == "step size"


def test_a_whole_number_may_stand_for_a_real_constant(read):
    assert read(CONSTANTS).parameters["momentum"].type == "float"


def test_a_constant_that_is_not_one_literal_assigned_once_is_left(read):
    assert texts(read(CONSTANTS).unread) == [
        "`HIDDEN` holds several values or an unusual one",
        "`SCHEDULE` is computed",
        "`GAMMA` is assigned more than once",
        "`GAMMA` is assigned more than once",
    ][:3] + ["`BETA1` is assigned more than once"]


def test_only_constants_with_names_known_from_training_are_tuned(read):
    assert texts(read(CONSTANTS).left_alone) == [
        "`EPOCHS`: training length; kept fixed so that the trials can be compared",
        "`RETRIES`: not a name known from training; add it by hand if it should be tuned",
        "`lines`: not a name known from training; add it by hand if it should be tuned",
    ]


def test_environment_variables_with_a_default_are_read(read):
    reading = read(
        """
import os
LR = float(os.environ.get("LR", "0.1"))
WIDTH = int(os.getenv("HIDDEN", 128))
SEED = int(os.environ.get("SEED", default="3"))
HOME = os.environ.get("HOME")
MOMENTUM = float(os.environ.get("MOMENTUM", default()))
"""
    )
    assert (reading.source, reading.pass_by) == ("environment variables", "environment")
    assert reading.arguments == {"lr": "LR", "hidden": "HIDDEN"}
    assert reading.seed_argument == "SEED"
    assert reading.parameters["lr"].default == 0.1
    assert texts(reading.unread) == ["`MOMENTUM` has a default that is computed"]


def test_an_environment_variable_without_a_default_is_named(read):
    reading = read(
        """
import os
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
LR = float(os.environ.get("LR", "0.1"))
DATA = os.environ["DATA_ROOT"]
"""
    )
    assert reading.arguments == {"lr": "LR"}
    assert texts(reading.unread) == [
        "`DATA_ROOT` is read without a default; give it in `environment`"
    ]
