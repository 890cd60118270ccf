"""Folders that are made before their trials."""

from pathlib import Path

import pytest
from luthier.agent.blanks import Blanks


@pytest.fixture
def blanks(tmp_path: Path) -> Blanks:
    return Blanks(tmp_path / "blank", 2)


def inside(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_blank_becomes_a_trials_folder_with_all_that_its_first_attempt_needs(
    blanks: Blanks, tmp_path: Path
) -> None:
    blanks.fill()
    assert len(list((tmp_path / "blank").iterdir())) == 2
    blanks.become(tmp_path / "0")
    assert inside(tmp_path / "0") == ["1", "checkpoint"]
    assert len(list((tmp_path / "blank").iterdir())) == 1


@pytest.mark.parametrize("taken_away", [False, True])
def test_without_a_blank_the_folder_is_made(
    blanks: Blanks, tmp_path: Path, taken_away: bool
) -> None:
    if taken_away:
        blanks.fill()
        (tmp_path / "blank").rename(tmp_path / "elsewhere")
    blanks.become(tmp_path / "0")
    assert inside(tmp_path / "0") == ["1", "checkpoint"]


def test_those_of_a_worker_that_died_serve_the_next_one(blanks: Blanks, tmp_path: Path) -> None:
    blanks.fill()
    heir = Blanks(tmp_path / "blank", 2)
    heir.fill()
    heir.become(tmp_path / "0")
    heir.fill()
    assert len(list((tmp_path / "blank").iterdir())) == 2


def test_none_is_left_in_the_end(blanks: Blanks, tmp_path: Path) -> None:
    blanks.fill()
    blanks.clear()
    assert inside(tmp_path) == []
