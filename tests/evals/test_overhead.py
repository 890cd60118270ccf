"""The benchmark measures what it says; its figures are judged by `make overhead`, not here."""

import pytest
from luthier.evals.overhead import Row, import_seconds, in_fresh_process


def test_a_row_compares_with_its_reference() -> None:
    assert Row("a", 0.3, "b", 0.2, limit=2.0).ratio == pytest.approx(1.5)


def test_an_import_that_takes_longer_measures_longer() -> None:
    assert import_seconds("import decimal") > import_seconds("import sys")


def test_the_loop_is_measured_in_a_process_of_its_own() -> None:
    assert 0.0 < in_fresh_process("loop")[0] < 60.0
