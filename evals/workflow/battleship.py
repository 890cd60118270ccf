"""Battleship in salvos: the policy is code, and each board is hidden from it.

After the game of Trace (arXiv:2406.16218, section 5.1); salvos, since every call of the sandbox is
a process.
"""

from __future__ import annotations

from random import Random
from typing import Any

from ...agent.workflow import Case, Feedback, Param, ParamSet, Suite, op, param
from ...agent.workflow.sandbox import call
from .problem import Problem

SIZE, SHIPS, SALVOS, SHOTS = 6, (3, 3, 2), 3, 6
_CASES = 40

_ROWS = """\
def aim(board, shots):
    size = len(board)
    cells = [(r, c) for r in range(size) for c in range(size) if board[r][c] == "?"]
    return cells[:shots]
"""
_LATTICE = """\
def aim(board, shots):
    size = len(board)
    cells = [(r, c) for r in range(size) for c in range(size) if board[r][c] == "?"]
    cells.sort(key=lambda cell: (cell[0] + cell[1]) % 2)
    return cells[:shots]
"""
_HUNT = """\
def aim(board, shots):
    size = len(board)
    cells = [(r, c) for r in range(size) for c in range(size) if board[r][c] == "?"]

    def near(cell):
        r, c = cell
        beside = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
        return sum(0 <= i < size and 0 <= j < size and board[i][j] == "X" for i, j in beside)

    cells.sort(key=lambda cell: (-near(cell), (cell[0] + cell[1]) % 2))
    return cells[:shots]
"""
_CORNER = """\
def aim(board, shots):
    return [(0, 0)] * shots
"""
_POLICIES = (_LATTICE, _HUNT, _CORNER)


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
    text = f"{hits} of {sum(SHIPS)} cells hit; {spared} cells beside a hit were never tried"
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
        fix=lambda text, rng: {
            "policy": _HUNT if "beside a hit were never tried" in text else rng.choice(_POLICIES)
        },
        guess=lambda rng: {"policy": rng.choice(_POLICIES)},
        harm=lambda rng: {"policy": _CORNER},
    )
