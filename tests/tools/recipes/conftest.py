import json
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Trial:
    folder: Path

    def steps(self):
        """Return what was reported: (step, metrics) each."""
        lines = map(json.loads, (self.folder / "metrics").read_text().splitlines())
        return [(line.get("step"), line["metrics"]) for line in lines]


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """Pretend to be in a trial."""
    for name in ("metrics", "stop", "checkpoint"):
        monkeypatch.setenv(f"LUTHIER_{name.upper()}", str(tmp_path / name))
    return Trial(tmp_path)
