"""A search space as a grid of texts, and back."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from luthier.app.ui.space_grid import COLUMNS, edited, rows_of
from luthier.tools.spec import SpecError, StudySpec, diff, parse_spec

FLOAT = {"type": "float", "low": 1e-5, "high": 0.1, "log": True, "default": 1e-3}
INT = {"type": "int", "low": 1, "high": 9}
CHOICE = {"type": "categorical", "choices": ["adam", "sgd, x", None, 1, "1"], "default": "adam"}


def spec(**space: Any) -> StudySpec:
    return parse_spec(
        {
            "name": "s",
            "objective": {"kind": "script", "command": ["python", "train.py"]},
            "space": space,
            "metrics": {"acc": {"direction": "maximize"}},
        }
    )


SPEC = spec(lr=FLOAT, depth=INT, optimizer=CHOICE)


def changed(**cells: dict[str, Any]) -> list[list[Any]]:
    """Return the grid of SPEC with other cells: parameter to column to text."""
    rows = rows_of(SPEC)
    for row in rows:
        for column, text in cells.get(row[1], {}).items():
            row[COLUMNS.index(column)] = text
    return rows


def differences(rows: list[list[Any]]) -> list[str]:
    return [str(change) for change in diff(SPEC, edited(SPEC, rows, "s"))]


def test_what_nobody_edits_is_the_same_spec() -> None:
    assert edited(SPEC, rows_of(SPEC), "s") == SPEC


@example(low=1.0, width=1.0, choices=["", "\xa0"])
@given(
    low=st.floats(1e-9, 1.0),
    width=st.floats(1e-6, 1e6),
    choices=st.lists(
        st.one_of(st.text(max_size=9), st.integers(), st.booleans(), st.none()),
        min_size=2,
        max_size=5,
        unique_by=lambda value: (type(value), value),
    ),
)
def test_every_space_comes_back_as_it_was(low: float, width: float, choices: list[Any]) -> None:
    try:
        made = spec(
            x={"type": "float", "low": low, "high": low + width},
            c={"type": "categorical", "choices": choices},
        )
    except SpecError:
        return
    assert edited(made, rows_of(made), "s") == made


def test_ranges_scales_and_choices_are_changed() -> None:
    rows = changed(
        lr={"high": "1.0", "log": False}, depth={"high": "12"}, optimizer={"choices": "adam, lion"}
    )
    assert differences(rows) == [
        "space.lr.high: 0.1 -> 1.0",
        "space.lr.log: True -> False",
        "space.depth.high: 9 -> 12",
        "space.optimizer.choices: ['adam', 'sgd, x', None, 1, '1'] -> ['adam', 'lion']",
    ]


def test_a_parameter_that_is_not_ticked_is_left_out() -> None:
    assert "depth" not in edited(SPEC, changed(depth={"tune": "false"}), "s").space


def test_an_empty_default_is_none() -> None:
    assert differences(changed(lr={"default": ""})) == ["space.lr.default: 0.001 -> None"]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"lr": {"high": "much"}}, "lr: `high` must be a number, but got 'much'"),
        ({"depth": {"low": "2.5"}}, "depth: `low` must be a whole number, but got '2.5'"),
        ({"depth": {"choices": "1, 2"}}, "depth: `choices` is for categorical parameters only"),
        ({"optimizer": {"low": "1"}}, "optimizer: `low` is for numbers only"),
        ({"optimizer": {"choices": "[a"}}, "optimizer: `choices` must be values with commas"),
        ({"lr": {"high": "1e-4"}}, "space.lr: `1e-05 <= value <= 0.0001` must hold"),
    ],
)
def test_what_cannot_be_is_said_by_cell(cells: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as raised:
        edited(SPEC, changed(**cells), "s")
    assert words in str(raised.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SpecError, match=r"lr: .*; depth: "):
        edited(SPEC, changed(lr={"low": "x"}, depth={"low": "x"}), "s")


def test_added_rows_and_columns_are_refused() -> None:
    rows = rows_of(SPEC)
    for shape in ([*rows, [""] * len(COLUMNS)], [[*row, ""] for row in rows]):
        with pytest.raises(SpecError, match="no row or column can be added"):
            edited(SPEC, shape, "s")


def test_choices_are_read_as_data_only() -> None:
    with pytest.raises(SpecError):
        edited(SPEC, changed(optimizer={"choices": "!!python/object/apply:os.getcwd []"}), "s")
