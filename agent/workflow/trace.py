"""Records what a workflow computes from what, so that a result can be blamed on its parameters.

A rollout is one run of a workflow, with a recording of its own; nothing is global. Values are
followed by identity: an op depends on whoever made the objects it was given, or what is in the
lists, tuples and dicts it was given, and on the parameters it reads with `param`. Of an object that
Python has only once (None, True, small numbers) all makers count, and of an output that no op made
all ops: a subgraph may hold too much. What is computed between two ops is not followed; make an op
of it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from itertools import islice
from typing import Any, ParamSpec, TypeVar

from ...tools.errors import LuthierError

P = ParamSpec("P")
T = TypeVar("T")

_MOST_ITEMS = 2_000
"""Objects in an op's inputs that are looked at for their makers."""
_ROLLOUT: ContextVar[Rollout | None]
_INSIDE: ContextVar[Node | None]


class TraceError(LuthierError, RuntimeError):
    """A parameter that is read outside of a rollout, or does not exist."""


class Node:
    """One call of an op, or one reading of a parameter."""

    __slots__ = (
        "children",
        "error",
        "function",
        "index",
        "inputs",
        "name",
        "output",
        "parents",
        "reads",
    )

    def __init__(self, index: int, name: str, function: Callable[..., Any] | None) -> None:
        self.index = index
        self.name = name
        self.function = function
        """What it calls; None for a parameter."""
        self.inputs: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self.parents: set[int] = set()
        self.children: list[int] = []
        """Ops that were called inside of it."""
        self.reads: set[str] = set()
        """Parameters that it reads itself."""
        self.output: Any = None
        self.error: BaseException | None = None


class Rollout:
    """The recording of one run; several threads may write to it."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Begin with the values of the parameters."""
        self.params = params
        self.nodes: list[Node] = []
        self._makers: dict[int, set[int]] = {}
        self._lock = threading.Lock()

    def begin(
        self,
        name: str,
        function: Callable[..., Any] | None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Node:
        """Begin a node; its inputs tell what it depends on."""
        given = (*args, *kwargs.values()) if kwargs else args
        with self._lock:
            node = Node(len(self.nodes), name, function)
            self.nodes.append(node)
            outer = _INSIDE.get()
            if outer is not None:
                outer.children.append(node.index)
            node.parents = self._makers_of(given)
        node.inputs = args, dict(kwargs or {})
        return node

    def end(self, node: Node, value: Any) -> None:
        """Keep what a node came to, which also keeps its identity."""
        with self._lock:
            node.output = value
            others = self._makers.get(id(value), set()) - node.parents
            self._makers[id(value)] = {node.index, *others.difference(node.children)}

    def _makers_of(self, given: tuple[Any, ...]) -> set[int]:
        """Return the nodes that made some values, or what is in them."""
        makers, found = self._makers, set[int]()
        waiting, looked_into = list(given), set[int]()
        for value in waiting:  # it grows while it is walked
            if (made := makers.get(id(value))) is not None:
                found |= made
                continue  # what is in it was in it when it was made
            kind = type(value)
            if kind is list or kind is tuple or kind is dict:
                if id(value) not in looked_into and len(waiting) < _MOST_ITEMS:
                    looked_into.add(id(value))
                    items = value.values() if kind is dict else value
                    waiting += islice(items, _MOST_ITEMS - len(waiting))
        return found

    def read(self, name: str) -> Any:
        """Return a parameter's value, and note who read it.

        Raises:
            TraceError: If there is none of that name.
        """
        try:
            value = self.params[name]
        except KeyError:
            known = ", ".join(sorted(self.params))
            raise TraceError(f"there is no parameter {name!r}; there are {known}") from None
        inside = _INSIDE.get()
        if inside is not None:
            with self._lock:
                inside.reads.add(name)
            return value
        node = self.begin(name, None)
        node.reads.add(name)
        self.end(node, value)
        return value

    def leaf(self, output: Any, error: BaseException | None) -> Node | None:
        """Return the node that an outcome comes from; None if no op ran and none was read.

        Args:
            output: What the workflow returned.
            error: What it raised instead: the leaf is then the innermost op that raised it.
        """
        if error is not None:
            failed = [node for node in self.nodes if node.error is error]
            if failed:
                return failed[-1]
        elif len(made := self._makers.get(id(output), set())) == 1:
            return self.nodes[max(made)]
        if not self.nodes:
            return None
        # The workflow itself put it together, or failed between its ops.
        node = Node(len(self.nodes), _between.__name__, _between)
        node.parents = self._makers_of((output,)) or set(range(node.index))
        node.inputs, node.output, node.error = ((output,), {}), output, error
        self.nodes.append(node)
        return node

    def subgraph(self, leaf: Node | None, trainable: frozenset[str]) -> tuple[list[Node], set[str]]:
        """Return the nodes that connect a leaf with trainable parameters, and these parameters.

        Of the leaf's ancestors, and what was called inside of them, only those that depend on a
        trainable parameter are left.
        """
        if leaf is None:
            return [], set()
        reached: set[int] = set()
        waiting = [leaf.index]
        while waiting:
            index = waiting.pop()
            if index not in reached:
                reached.add(index)
                node = self.nodes[index]
                waiting += [*node.parents, *node.children]
        depends: set[int] = set()
        grew = True
        while grew:  # a node is older than those that use it, but not than its children
            grew = False
            for index in sorted(reached - depends):
                node = self.nodes[index]
                if node.reads & trainable or not depends.isdisjoint(
                    (*node.parents, *node.children)
                ):
                    depends.add(index)
                    grew = True
        nodes = [self.nodes[index] for index in sorted(depends)]
        return nodes, set().union(*(node.reads & trainable for node in nodes))


def _between(*parts: Any) -> Any:
    """Stand for what a workflow does outside of its ops."""


_ROLLOUT = ContextVar("luthier_rollout", default=None)
_INSIDE = ContextVar("luthier_op", default=None)


@contextlib.contextmanager
def rollout(params: Mapping[str, Any]) -> Iterator[Rollout]:
    """Record the block as one run of a workflow."""
    recording = Rollout(params)
    outer, inside = _ROLLOUT.set(recording), _INSIDE.set(None)
    try:
        yield recording
    finally:
        _INSIDE.reset(inside)
        _ROLLOUT.reset(outer)


def param(name: str) -> Any:
    """Return the value of a parameter, in a workflow that is being run.

    Raises:
        TraceError: If no workflow is being run, or it has no such parameter.
    """
    recording = _ROLLOUT.get()
    if recording is None:
        raise TraceError(
            f"parameter {name!r} is read outside of a workflow's run; call the workflow through "
            "`optimise` or `luthier.agent.workflow.trace.rollout`, and `carry` into threads"
        )
    return recording.read(name)


def op(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function, also an async one, a step that is recorded when its workflow is run.

    Outside of a run it is the function as it was.
    """
    name = function.__name__

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            recording = _ROLLOUT.get()
            if recording is None:
                return await function(*args, **kwargs)
            node = recording.begin(name, function, args, kwargs)
            inside = _INSIDE.set(node)
            try:
                value = await function(*args, **kwargs)
            except BaseException as error:
                node.error = error
                raise
            finally:
                _INSIDE.reset(inside)
            recording.end(node, value)
            return value

        return awaited  # type: ignore[return-value]

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        recording = _ROLLOUT.get()
        if recording is None:
            return function(*args, **kwargs)
        node = recording.begin(name, function, args, kwargs)
        inside = _INSIDE.set(node)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            node.error = error
            raise
        finally:
            _INSIDE.reset(inside)
        recording.end(node, value)
        return value

    return called


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that another thread may call as part of the run that is under way here."""
    context = contextvars.copy_context()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> T:
        # A context can be entered once at a time, and threads of a pool run side by side.
        return context.copy().run(function, *args, **kwargs)

    return carried
