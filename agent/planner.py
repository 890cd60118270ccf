"""The planner: a language model that works through the toolbox, with a person in charge.

It is langchain's agent with its middleware for approvals, limits and long conversations; what it
knows is kept in SQLite after every step, so that another process can go on with it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    InterruptOnConfig,
    ModelRequest,
    ModelResponse,
    SummarizationMiddleware,
)
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command, StateSnapshot
from openai import OpenAIError
from pydantic import SecretStr

from ..prompts.loading import tokens_of
from ..tools.errors import LuthierError
from .approvals import Approval
from .conversations import Conversations, Preference
from .events import ApprovalNeeded, Event, Text, ToolAnswered, ToolCalled
from .llm.answers import LLMError
from .llm.failures import detail_of
from .llm.line import Line
from .recall import recall, system_prompt
from .toolbox.box import GUARDED, TOOLS, Toolbox, ToolPolicy, declared
from .toolbox.declaring import Tool

MOST_CALLS = 20
"""Calls of the model in one turn."""
MOST_TOOLS = 40
"""Calls of tools in one turn."""
_SAME = 3
"""So many equal calls with equal answers in one turn are a loop."""
_TRIGGER_TOKENS = 12_000
_KEPT_TOKENS = 5_000
_LONGEST_ANSWER = 2048
_LOOPING = (
    "I called the same tool several times and got the same answer each time, so I stop here. What "
    "should I do?"
)
_TOO_LONG = (
    f"I have reached the limit of one turn, {MOST_CALLS} calls of the model or {MOST_TOOLS} of "
    "tools, so I stop here. Shall I go on?"
)
_CUT_OFF = (
    '{"error": "Luthier was ended while this ran, so nobody knows whether it was done; look before '
    'you call it again"}'
)


class Planner:
    """One conversation of a language model with a person."""

    def __init__(
        self,
        toolbox: Toolbox,
        line: Line,
        conversation: str,
        tools: ToolPolicy | None = None,
    ) -> None:
        """Take up a conversation where it stands; nothing is sent yet.

        Args:
            toolbox: The tools, with the conversation's approvals.
            line: The way to the model.
            conversation: Its id.
            tools: Which tools the model is offered, and what it is told of them.
        """
        self._toolbox = toolbox
        self._line = line
        self._config: Any = {"configurable": {"thread_id": conversation}, "recursion_limit": 200}
        self._store = toolbox.desk.conversations
        self._database = sqlite3.connect(self._store.path, timeout=30.0, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = NORMAL")
        settings = line.settings
        model = ChatOpenAI(
            base_url=settings.base_url,
            model=settings.model,
            api_key=SecretStr("kept by the line"),
            http_client=line.http_client,
            http_async_client=line.http_async_client,
            max_retries=0,
            stream_usage=True,
            max_completion_tokens=_LONGEST_ANSWER,
            use_responses_api=False,
        )
        guarded: dict[str, bool | InterruptOnConfig] = {
            tool.tool_name(): InterruptOnConfig(
                allowed_decisions=["approve", "edit", "reject"], when=self._must_ask
            )
            for tool in TOOLS
            if tool.effect in GUARDED
        }
        middleware: list[AgentMiddleware[Any, Any, Any]] = [
            SummarizationMiddleware(
                model,
                trigger=("tokens", _TRIGGER_TOKENS),
                keep=("tokens", _KEPT_TOKENS),
                token_counter=_count,
                trim_tokens_to_summarize=None,
                summarizer=lambda _: recall(self._store, conversation, toolbox.approvals),
            ),
            _ModelCalls(line, self._store, toolbox.desk.person, declared(tools)),
            HumanInTheLoopMiddleware(guarded),
        ]
        self._graph = create_agent(
            model,
            [_langchain_tool(tool, toolbox) for tool in TOOLS],
            middleware=middleware,
            checkpointer=SqliteSaver(self._database),
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def send(self, text: str, untold: Sequence[tuple[str, str]] = ()) -> Iterator[Event]:
        """Answer what the person said; if it had asked something, that is decided by now.

        Args:
            text: What they said.
            untold: What was said before it while the model was away, as role and text.

        Raises:
            LLMError: If the model is lost; what was done until then is kept.
        """
        state = self._graph.get_state(self._config)
        if state.interrupts:
            yield from self.resume()
            return
        self._mend(state)
        told: list[BaseMessage] = [
            HumanMessage(said) if role == "person" else AIMessage(said) for role, said in untold
        ]
        yield from self._stream({"messages": [*told, HumanMessage(text)]})

    def resume(self) -> Iterator[Event]:
        """Go on once the person has decided about all that was asked.

        Raises:
            LLMError: As of `send`.
        """
        decisions = [self._decision(approval) for approval in self._asked()]
        yield from self._stream(Command(resume={"decisions": decisions}))

    def forget(self, text: str) -> None:
        """Forget what the person said last, if that is this text, and all that came of it."""
        state = self._graph.get_state(self._config)
        messages = state.values.get("messages", [])
        said = [i for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
        if said and messages[said[-1]].content == text:
            gone = [RemoveMessage(id=str(message.id)) for message in messages[said[-1] :]]
            self._graph.update_state(self._config, {"messages": gone}, as_node="model")

    def _stream(self, given: Any) -> Iterator[Event]:
        try:
            steps: Iterator[Any] = self._graph.stream(
                given, self._config, stream_mode=["messages", "updates"], durability="sync"
            )
            for mode, data in steps:
                yield from _heard(data) if mode == "messages" else _done(data)
        except OpenAIError as error:
            raise LLMError(
                f"the language model cannot be used: {detail_of(str(error))}", "server"
            ) from None
        for approval in self._asked():
            if approval.state == "pending":
                yield ApprovalNeeded(approval)

    def _must_ask(self, request: ToolCallRequest) -> bool:
        """Tell whether a person decides about a call; langchain asks the same again on resuming."""
        last = next(m for m in reversed(request.state["messages"]) if isinstance(m, AIMessage))
        approval = self._approval(last, request.tool_call)
        return approval is not None and not approval.is_automatic

    def _approval(self, message: AIMessage, call: ToolCall) -> Approval | None:
        try:
            return self._toolbox.consent(call["name"], call["args"], f"{message.id}/{call['id']}")
        except LuthierError:
            return None  # the call itself will say what is wrong with it

    def _asked(self) -> list[Approval]:
        """Return what the person is or was asked in this step, in the order of the calls."""
        state = self._graph.get_state(self._config)
        if not state.interrupts:
            return []
        last = next(m for m in reversed(state.values["messages"]) if isinstance(m, AIMessage))
        approvals = (self._approval(last, call) for call in last.tool_calls)
        return [a for a in approvals if a is not None and not a.is_automatic]

    def _decision(self, approval: Approval) -> dict[str, Any]:
        if approval.state == "rejected":
            return {"type": "reject", "message": approval.reason or "they gave none"}
        if approval.state == "pending":
            # Nothing was pending: what the call means by "the newest study" has changed since.
            reason = "what it is about has changed meanwhile; look, and ask again"
            approvals = self._toolbox.approvals
            approvals.reject(approval.id, reason, approvals.person)
            return {"type": "reject", "message": reason}
        if approval.state == "replaced":
            edited = self._toolbox.approvals.replacement(approval.id)
            action = {"name": edited.tool, "args": edited.arguments}
            return {"type": "edit", "edited_action": action}
        return {"type": "approve"}

    def _mend(self, state: StateSnapshot) -> None:
        """Answer calls that were cut off when a process died, so that the talk can go on."""
        messages = state.values.get("messages", [])
        if not state.next or state.interrupts or not messages:
            return
        last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
        answered = {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}
        missing = [c for c in (last.tool_calls if last else []) if c["id"] not in answered]
        if missing:
            cut = [ToolMessage(_CUT_OFF, name=c["name"], tool_call_id=c["id"]) for c in missing]
            self._graph.update_state(self._config, {"messages": cut}, as_node="tools")


class _ModelCalls(AgentMiddleware[Any, Any, Any]):
    """Tells the model what is always told, meters its calls, and ends turns that go too far.

    langchain's own limits are steps of the graph, each with a checkpoint, before the first word.
    """

    def __init__(
        self, line: Line, store: Conversations, person: str, tools: list[dict[str, Any]]
    ) -> None:
        super().__init__()
        self._extra = {"extra_body": {"tools": tools}}
        self._told: tuple[list[Preference], SystemMessage] | None = None
        self._line = line
        self._store = store
        self._person = person

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        turn = _this_turn(request.messages)
        if loops(turn):
            return ModelResponse([AIMessage(_LOOPING)])
        said = [message for message in turn if isinstance(message, AIMessage)]
        if len(said) >= MOST_CALLS:
            return ModelResponse([AIMessage(_TOO_LONG)])
        preferences = self._store.preferences(self._person)
        if self._told is None or self._told[0] != preferences:
            self._told = preferences, SystemMessage(system_prompt(preferences))
        with self._line.call("planner"):
            # As a request's extra body the tools are sent as they are: the SDK would look through
            # every part of their schemas before each call.
            told = self._told[1]
            response = handler(
                request.override(system_message=told, tools=[], model_settings=self._extra)
            )
        said += [message for message in response.result if isinstance(message, AIMessage)]
        if sum(len(message.tool_calls) for message in said) > MOST_TOOLS:
            return ModelResponse([AIMessage(_TOO_LONG)])
        return response


def _this_turn(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """Return what has come since the person spoke."""
    spoke = [i for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
    return messages[spoke[-1] + 1 :] if spoke else messages


def loops(messages: Sequence[BaseMessage]) -> bool:
    """Tell whether in one turn the same call came to the same answer again and again.

    To ask the same again and get another answer is to watch something, and no loop.
    """
    calls: dict[str, str] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for message in messages:
        if isinstance(message, AIMessage):
            for call in message.tool_calls:
                key = json.dumps([call["name"], call["args"]], sort_keys=True, default=str)
                calls[str(call["id"])] = key
        elif isinstance(message, ToolMessage):
            seen[calls.get(message.tool_call_id, ""), str(message.content)] += 1
    return max(seen.values(), default=0) >= _SAME


def _langchain_tool(tool: type[Tool], toolbox: Toolbox) -> StructuredTool:
    def run(**arguments: Any) -> str:
        return toolbox.call(tool.tool_name(), arguments).text

    return StructuredTool(
        name=tool.tool_name(),
        description=tool.description(),
        args_schema=tool.declaration(),
        func=run,
    )


def _count(messages: Iterable[Any]) -> int:
    """Return about how many tokens messages take."""
    return sum(
        tokens_of(str(message.content)) + tokens_of(json.dumps(getattr(message, "tool_calls", [])))
        for message in messages
    )


def _heard(data: tuple[Any, dict[str, Any]]) -> Iterator[Event]:
    """Yield what the model says, piece by piece."""
    message, about = data
    if about.get("langgraph_node") == "model" and isinstance(message, AIMessage) and message.text:
        yield Text(message.text, "planner")


def _done(steps: dict[str, Any]) -> Iterator[Event]:
    """Yield the calls that begin and those that have ended."""
    for node, update in steps.items():
        if node.startswith("SummarizationMiddleware") or not isinstance(update, dict):
            continue
        for message in update.get("messages", ()):
            if isinstance(message, AIMessage) and node == "model":
                for call in message.tool_calls:
                    yield ToolCalled(str(call["id"]), call["name"], call["args"])
            elif isinstance(message, ToolMessage):
                text = str(message.content)
                failed = message.status == "error" or text.startswith('{"error"')
                yield ToolAnswered(message.tool_call_id, message.name or "", text, failed)
