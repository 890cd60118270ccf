"""Battleship in salvos: the policy is code, and each board is hidden from it.

After the game of Trace (arXiv:2406.16218, section 5.1); salvos, since every call of the sandbox is
a process.
"""

from __future__ import annotations

from random import Random
from typing import Any

from ...agent.workflow import Case, Feedback, Param, ParamSet, Suite, op, param
from ...agent.workflow.sandbox import call
from .problem import Problem, Values

SIZE, SHIPS, SALVOS, SHOTS = 6, (3, 3, 2), 3, 6
_CASES = 40
_MISSED = "cells beside a hit were never tried"

_ROWS = """\
def aim(board, shots):
    size = len(board)
    cells = [(r, c) for r in range(size) for c in range(size) if board[r][c] == "?"]
    return cells[:shots]
"""
_AIMED = """\
def aim(board, shots):
    size = len(board)
    cells = [(r, c) for r in range(size) for c in range(size) if board[r][c] == "?"]

    def near(cell):
        r, c = cell
        beside = {beside}
        return sum(0 <= i < size and 0 <= j < size and board[i][j] == "X" for i, j in beside)

    cells.sort(key=lambda cell: ({sign}near(cell), {order}))
    return cells[:shots]
"""
_BESIDE = "[(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]"
_CORNERS = "[(r - 1, c - 1), (r + 1, c + 1), (r + 1, c - 1), (r - 1, c + 1)]"
_LATTICE = "(cell[0] + cell[1]) % 2"
_ORDERS = (_LATTICE, "cell", "(cell[1], cell[0])", "max(cell)", "-cell[0]", "cell[0] * cell[1]")
_CORNER = """\
def aim(board, shots):
    return [(0, 0)] * shots
"""


@op
def salvo(board: list[str]) -> Any:
    """Ask the policy for the cells of one salvo."""
    return call(param("policy"), "aim", [(board, SHOTS)])[0]


@op
def fire(board: list[str], cells: Any, ships: frozenset[tuple[int, int]]) -> list[str]:
    """Return the board with what the shots hit: `X`, and `o` for water."""
    rows = [list(row) for row in board]
    for row, column in cells[:SHOTS]:
        if not (0 <= row < SIZE and 0 <= column < SIZE):
            raise ValueError(f"the cell {row}, {column} is not on the board")
        rows[row][column] = "X" if (row, column) in ships else "o"
    return ["".join(row) for row in rows]


def _workflow(ships: frozenset[tuple[int, int]]) -> list[str]:
    board = ["?" * SIZE] * SIZE
    for _ in range(SALVOS):
        board = fire(board, salvo(board), ships)
    return board


def _board(rng: Random) -> frozenset[tuple[int, int]]:
    taken: set[tuple[int, int]] = set()
    for length in SHIPS:
        while True:
            along, across = rng.randrange(SIZE - length + 1), rng.randrange(SIZE)
            ship = {(along + i, across) for i in range(length)}
            if rng.random() < 0.5:
                ship = {(column, row) for row, column in ship}
            if not ship & taken:
                taken |= ship
                break
    return frozenset(taken)


def _score(case: Case, board: list[str]) -> Feedback:
    hits = sum(row.count("X") for row in board)
    spared = sum(
        board[r][c] == "?" and "X" in _around(board, r, c) for r in range(SIZE) for c in range(SIZE)
    )
    share = hits / sum(SHIPS)
    text = f"{hits} of {sum(SHIPS)} cells hit; {spared} {_MISSED}"
    return Feedback(share, text)


def _around(board: list[str], row: int, column: int) -> str:
    beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return "".join(board[i][j] for i, j in beside if 0 <= i < SIZE and 0 <= j < SIZE)


def battleship(seed: int = 0) -> Problem:
    """Return a problem of 40 boards; the score is the share of ship cells hit by 18 shots of 36."""
    rng = Random(f"battleship/{seed}")
    cases = [Case(f"board{i:02}", _board(rng)) for i in range(_CASES)]
    return Problem(
        "battleship",
        f"Hit as many cells of hidden ships as {SALVOS} salvos of {SHOTS} shots can.",
        _workflow,
        ParamSet([Param.code("policy", _ROWS, "where to shoot; the board has `?`, `X` and `o`")]),
        Suite(cases, _score, max_drop=0.5),
        fix=_fix,
        guess=_guess,
        harm=lambda rng: {"policy": _CORNER},
    )


def _guess(rng: Random) -> Values:
    """Aim in some order, at or away from what is in some way near a hit."""
    beside, sign = rng.choice((_BESIDE, _CORNERS, "[]")), rng.choice(("-", ""))
    return {"policy": _AIMED.format(beside=beside, sign=sign, order=rng.choice(_ORDERS))}


def _fix(text: str, rng: Random) -> Values:
    """Shoot beside hits if that is what was missing."""
    if _MISSED not in text:
        return _guess(rng)
    return {"policy": _AIMED.format(beside=_BESIDE, sign="-", order=_LATTICE)}
