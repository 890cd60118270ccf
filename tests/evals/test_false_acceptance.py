"""The simulation of what the rule of acceptance lets through."""

import pytest
from luthier.agent.workflow.accept import Z
from luthier.evals.false_acceptance import main, simulate


def test_sixteen_cases_keep_wrong_edits_to_one_in_ten() -> None:
    assert simulate(16, Z, 200).share <= 0.1


def test_a_mean_alone_does_not() -> None:
    assert simulate(16, 0.0, 50).share > 0.3


def test_the_table_has_a_row_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--searches", "60"]) in (0, 1)
    assert capsys.readouterr().out.count("\n") == 13
