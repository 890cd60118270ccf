"""The benchmark of workflows measures what it says; its figures are judged by the command."""

import pytest
from luthier.agent.workflow import sandbox
from luthier.evals.measured import import_seconds
from luthier.evals.workflow.performance import (
    heavy_modules,
    main,
    prompt_tokens,
    sandbox_call,
    tracing,
)

isolates = pytest.mark.skipif(
    sandbox.available() is not None, reason=f"no sandbox: {sandbox.available()}"
)


@isolates
def test_a_call_in_the_sandbox_holds_the_start_of_its_process() -> None:
    bare = import_seconds("pass")
    assert bare < sandbox_call() < 20.0


def test_a_traced_chain_takes_longer_than_a_plain_one() -> None:
    assert 0.0 < tracing() < 3e-3


def test_the_prompt_of_a_long_run_is_small_whatever_the_machine() -> None:
    assert 3_000 < prompt_tokens() < 8_000


def test_the_import_loads_nothing_heavy() -> None:
    assert heavy_modules() == 0


def test_the_table_has_a_row_for_each_promise(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    told = capsys.readouterr().out
    assert "tracing, one of 300 ops" in told
    assert "prompt after 300 ops" in told
    assert "import: torch or langchain" in told
