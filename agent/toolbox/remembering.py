"""The tool that keeps what a person wants in general, beyond one conversation."""

from __future__ import annotations

from pydantic import Field

from .declaring import Answer, Tool, ToolError, visible
from .desk import Desk


class Preferences(Tool):
    """Remember or forget a lasting preference of the person; answers all that is remembered.

    Only what they said themselves can be remembered, in their exact words.
    """

    effect = "notes"

    remember: str | None = Field(default=None, min_length=3, max_length=120)
    """Words that the person said, such as "at most 30 minutes a study"."""
    forget: int | None = None
    """The number of the one to forget."""

    def run(self, desk: Desk) -> Answer:
        """Change the list, and read it."""
        store = desk.conversations
        if self.remember is not None:
            # What a file or a log says must not outlive the conversation that quoted it.
            if not store.has_said(desk.person, self.remember):
                raise ToolError(
                    f"the person never said {visible(self.remember, 120)!r}; only their exact "
                    "words are remembered"
                )
            store.remember(desk.person, visible(self.remember, 120))
        if self.forget is not None:
            store.forget(desk.person, self.forget)
        kept = store.preferences(desk.person)
        return {"preferences": {str(preference.id): preference.words for preference in kept}}
