"""The requests and what is right for each, as `evals/data/intents_*.yaml` say."""

from __future__ import annotations

from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

World = Literal["digits", "scripts", "tables", "empty", "studies"]
"""`digits`: train.py, which prints val_acc and train_loss. `scripts`: also finetune.py. `tables`:
customers.csv and houses.csv. `empty`: nothing. `studies`: train.py with digits_cnn, which runs, and
an older study, churn."""

SETS = ("blind", "informed")


class Case(BaseModel):
    """One request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    world: World
    say: str
    before: list[str] = Field(default_factory=list)
    """What was said earlier in the conversation."""
    files: dict[str, str] = Field(default_factory=dict)
    """Further files: name to content, or `train.py` for a copy of that."""
    expect: list[str] = Field(min_length=1)
    """What may come of it, any of them; the data file's head says what there is."""
    fields: dict[str, Any] = Field(default_factory=dict)
    about: str = ""
    """What a question or refusal has to name."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("expect"), str):
            return data | {"expect": [data["expect"]]}
        return data

    @property
    def family(self) -> str:
        """The kind of request that it is, as its id begins."""
        return self.id.split("-")[0]

    @property
    def points(self) -> int:
        """What may be scored: what came of it, and each field."""
        return 1 + len(self.fields) + bool(self.about)


def load(name: str) -> list[Case]:
    """Return one of the sets of requests."""
    text = resources.files("luthier.evals").joinpath(f"data/intents_{name}.yaml").read_text("utf-8")
    return [Case.model_validate(case) for case in yaml.safe_load(text)["cases"]]
