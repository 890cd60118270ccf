"""How soon a conversation shows its first sign of an answer, beside a bare langchain agent.

Both talk to the same simulated model on this machine, through the same `openai` client and the same
limits of time, in one process, by turns.

python -m luthier.evals.first_event     prints the table
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ..agent.dialogue import Dialogue
from ..agent.events import Done
from ..agent.llm.line import Line
from ..agent.llm.settings import Settings
from ..agent.toolbox.desk import find_desk
from .advisers.mind import Reply, Request
from .advisers.server import serve
from .measured import Row, print_rows

_TURNS = 20
_WARM = 3
_LIMIT = 1.5
"""Times as long as the bare agent."""


def _answer(request: Request) -> Reply:
    return Reply(("I tune training scripts. What shall I tune?",))


def _bare(url: str, model: str) -> Callable[[str], Iterator[Any]]:
    """Return how a bare agent with one tool, which remembers the talk, streams its answer."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI
    from langgraph.checkpoint.memory import InMemorySaver

    def look_at_machine() -> str:
        """Say which devices this machine has."""
        return "2 cores"

    agent: Any = create_agent(
        ChatOpenAI(base_url=url, model=model, api_key=SecretStr("none"), use_responses_api=False),
        [look_at_machine],
        system_prompt="You tune machine-learning models.",
        checkpointer=InMemorySaver(),
    )
    thread = {"configurable": {"thread_id": "the same one"}}

    def stream(text: str) -> Iterator[Any]:
        given = {"messages": [{"role": "user", "content": text}]}
        yield from agent.stream(given, thread, stream_mode="messages")

    return stream


def _seconds(stream: Callable[[str], Iterator[Any]], text: str) -> float:
    begun = time.perf_counter()
    events = stream(text)
    next(event for event in events if not isinstance(event, Done))
    taken = time.perf_counter() - begun
    for _ in events:
        pass
    return taken


def measure(turns: int = _TURNS) -> tuple[list[float], list[float]]:
    """Return the seconds to the first event of each turn: Luthier's, and the bare agent's."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder, serve(_answer) as server:
        desk = find_desk(Path(folder), Path(folder) / "home")
        line = Line(Settings(base_url=server.url, model=server.model))
        dialogue = Dialogue(desk, line=line)
        bare = _bare(server.url, server.model)
        for turn in range(_WARM + turns):
            text = f"What can you do? ({turn})"
            pair = _seconds(dialogue.send, text), _seconds(bare, text)
            if turn >= _WARM:
                ours.append(pair[0])
                theirs.append(pair[1])
        dialogue.close()
        line.close()
    return ours, theirs


def main() -> int:
    """Measure, and print; return 1 if the limit is exceeded."""
    ours, theirs = (statistics.median(taken) for taken in measure())
    row = Row("first event after a message", ours, "a bare create_agent", theirs, _LIMIT)
    return print_rows([row])


if __name__ == "__main__":
    sys.exit(main())
