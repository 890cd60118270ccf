"""What a trace says of where a result comes from."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from luthier.agent.workflow.params import Param, ParamSet
from luthier.agent.workflow.trace import Rollout, TraceError, carry, op, param, rollout

PARAMS = ParamSet(
    [
        Param.text("prompt", "be kind"),
        Param.text("style", "short"),
        Param.text("unused", "nobody reads me"),
        Param.text("law", "frozen", trainable=False),
    ]
)


@op
def ask(question: str) -> list[str]:
    return [param("prompt"), question]


@op
def polish(draft: list[str]) -> list[str]:
    return [*draft, param("style")]


@op
def count(words: list[str]) -> dict[str, int]:
    return {"n": len(words)}


@op
def fail(words: list[str]) -> None:
    raise ValueError


@op
def unrelated() -> list[str]:
    return [param("unused")]


def names(recording: Rollout, output: object, error: BaseException | None = None) -> set[str]:
    return recording.subgraph(recording.leaf(output, error), PARAMS.trainable)[1]


def test_outside_of_a_run_an_op_is_the_function_that_it_was() -> None:
    assert count(["a"]) == {"n": 1}
    with pytest.raises(TraceError, match="read outside of a workflow's run"):
        ask("why?")


def test_only_what_the_output_depends_on_is_blamed() -> None:
    with rollout(PARAMS) as recording:
        unrelated()
        output = count(ask("why?"))
        unrelated()
    assert names(recording, output) == {"prompt"}


def test_a_parameter_that_is_handed_over_counts_and_a_frozen_one_does_not() -> None:
    with rollout(PARAMS) as recording:
        output = count([param("style"), param("law")])
    assert names(recording, output) == {"style"}


def test_what_an_op_calls_inside_belongs_to_it() -> None:
    @op
    def outer(question: str) -> dict[str, int]:
        return {"n": len(polish(ask(question)))}

    with rollout(PARAMS) as recording:
        output = outer("why?")
    assert names(recording, output) == {"prompt", "style"}


def test_an_exception_without_arguments_has_a_leaf_and_its_parameters() -> None:
    with rollout(PARAMS) as recording, pytest.raises(ValueError, match="^$") as raised:
        fail(ask("why?"))
    leaf = recording.leaf(None, raised.value)
    assert leaf is not None
    assert leaf.name == "fail"
    assert names(recording, None, raised.value) == {"prompt"}


def test_the_innermost_op_that_raised_is_the_leaf() -> None:
    @op
    def outer() -> None:
        fail(polish(["x"]))

    with rollout(PARAMS) as recording, pytest.raises(ValueError, match="^$") as raised:
        outer()
    leaf = recording.leaf(None, raised.value)
    assert leaf is not None
    assert leaf.name == "fail"


def test_async_ops_that_run_side_by_side_keep_apart() -> None:
    @op
    async def slow(word: str, gate: asyncio.Event) -> list[str]:
        found = [param("prompt") if word == "a" else param("style")]
        gate.set()
        await asyncio.sleep(0)
        return found

    async def both() -> tuple[list[str], list[str]]:
        gates = asyncio.Event(), asyncio.Event()
        first, second = await asyncio.gather(slow("a", gates[0]), slow("b", gates[1]))
        return first, second

    with rollout(PARAMS) as recording:
        first, second = asyncio.run(both())
    assert names(recording, first) == {"prompt"}
    assert names(recording, second) == {"style"}


def test_threads_write_to_the_run_that_they_were_carried_from() -> None:
    gate = threading.Barrier(4)

    @op
    def step(i: int) -> list[int]:
        gate.wait(10)
        return [i, len(param("prompt"))]

    with rollout(PARAMS) as recording, ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(carry(step), range(4)))
        output = count([str(each) for each in outputs])
        joined = count(outputs)  # type: ignore[arg-type]
    assert len([node for node in recording.nodes if node.name == "step"]) == 4
    assert names(recording, joined) == {"prompt"}
    assert names(recording, output) == set()


def test_two_runs_share_nothing() -> None:
    with rollout(PARAMS) as first:
        with rollout(PARAMS) as second:
            polish(["x"])
        ask("y")
    assert [node.name for node in first.nodes] == ["ask"]
    assert [node.name for node in second.nodes] == ["polish"]


def test_an_output_that_no_op_made_is_blamed_on_the_last_one() -> None:
    with rollout(PARAMS) as recording:
        output = f"{ask('why?')}!"
    assert names(recording, output) == {"prompt"}


def test_equal_values_that_python_has_once_are_blamed_on_all_their_makers() -> None:
    @op
    def first() -> bool:
        return len(param("prompt")) > 0

    @op
    def second() -> bool:
        return len(param("unused")) > 0

    @op
    def decide(is_kind: bool) -> list[bool]:
        return [is_kind]

    with rollout(PARAMS) as recording:
        kind = first()
        second()
        output = decide(kind)
    assert names(recording, output) == {"prompt", "unused"}
    assert names(recording, kind) == {"prompt", "unused"}


def test_what_is_handed_on_is_blamed_on_whoever_had_it_in_hand() -> None:
    @op
    def keep(state: list[str]) -> list[str]:
        return state

    @op
    def append(state: list[str]) -> list[str]:
        state.append(param("style"))
        return state

    with rollout(PARAMS) as recording:
        state = append(keep(ask("why?")))
        for _ in range(50):
            state = keep(state)
        unrelated()
    assert names(recording, state) == {"prompt", "style"}
    assert recording.leaf(state, None) is recording.nodes[-2]


def test_a_failure_between_ops_is_blamed_on_all_that_ran_before() -> None:
    with rollout(PARAMS) as recording, pytest.raises(IndexError) as raised:
        ask("why?")[5]
    leaf = recording.leaf(None, raised.value)
    assert leaf is not None
    assert leaf.error is raised.value
    assert names(recording, None, raised.value) == {"prompt"}


def test_a_run_in_which_nothing_is_recorded_has_no_leaf() -> None:
    with rollout(PARAMS) as recording:
        assert recording.leaf("output", None) is None


def test_an_output_put_together_outside_of_ops_is_blamed_on_all_its_parts() -> None:
    with rollout(PARAMS) as recording:
        draft = ask("why?")
        output = {"draft": draft, "rest": [polish(["x"])], "n": 1}
        unrelated()
    assert names(recording, output) == {"prompt", "style"}


def test_a_part_deep_in_a_long_input_counts() -> None:
    with rollout(PARAMS) as recording:
        draft = ask("why?")
        output = count([["x"]] * 500 + [[["y", {"z": draft}]]])  # type: ignore[list-item]
    assert names(recording, output) == {"prompt"}


def test_a_container_in_itself_is_looked_through_once() -> None:
    with rollout(PARAMS) as recording:
        loop: list[object] = [ask("why?")]
        loop.append(loop)
        output = count(loop)  # type: ignore[arg-type]
    assert names(recording, output) == {"prompt"}


def test_an_unknown_parameter_is_named_with_the_known_ones() -> None:
    with (
        rollout(PARAMS),
        pytest.raises(TraceError, match="no parameter 'x'; there are law, prompt"),
    ):
        param("x")


def test_importing_it_loads_neither_torch_nor_langchain() -> None:
    code = (
        "import sys, luthier.agent.workflow; "
        "print([m for m in ('torch', 'langchain', 'optuna', 'openai') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
