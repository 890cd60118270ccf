"""An event loop in a thread of its own, where requests can be cut off whatever they wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from .answers import LLMError

T = TypeVar("T")


class Loop:
    """Runs coroutines for callers with and without an event loop."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._loop.is_closed()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and wait for it; an interrupt of the waiting one cancels it.

        Raises:
            LLMError: If the loop is closed meanwhile.
        """
        future = self.submit(work)
        try:
            return future.result()
        except CancelledError:
            raise LLMError("the line was closed before the answer came", "connection") from None
        except BaseException:
            future.cancel()
            raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a coroutine.

        Raises:
            LLMError: If the loop is closed.
        """
        if self.is_closed:
            work.close()
            raise LLMError("the line is closed; make a new client", "connection")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, do one thing last, and end the thread."""
        if self.is_closed:
            return
        self.run(self._wind_up(last))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _wind_up(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await last()
        await self._loop.shutdown_asyncgens()
