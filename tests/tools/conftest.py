"""What the tests of reading scripts share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from luthier.tools.script import ScriptReading, read_script


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ScriptReading]:
    """Write a script with this text, and read it."""

    def read_text(text: str, name: str = "train.py") -> ScriptReading:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return read_script(path)

    return read_text
