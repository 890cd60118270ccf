"""What a planner is reminded of when its conversation has grown too long to be sent whole.

It is made of the record and the ledger, not of an earlier reminder, so nothing fades with time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..prompts.loading import render
from .approvals import Approvals
from .conversations import Conversations, Preference
from .toolbox.drafting import spec_summary

_FIRST = 2
_LAST = 20
_WORDS = 300


def recall(store: Conversations, conversation: str, approvals: Approvals) -> str:
    """Return the reminder as text."""
    turns = store.turns(conversation)
    said = [data["text"][:_WORDS] for kind, data in turns if kind == "person"]
    if len(said) > _FIRST + _LAST:
        said = [*said[:_FIRST], "...", *said[-_LAST:]]
    newest = {
        (data["tool"], json.dumps(data["arguments"], sort_keys=True)): data["answer"]
        for kind, data in turns
        if kind == "tool" and not data["failed"]
    }
    answers = [f"{tool} {given}: {answer}" for (tool, given), answer in newest.items()]
    asked = [
        f"{a.state}: {a.tool} {json.dumps(a.arguments)}{f' ({a.reason})' if a.reason else ''}"
        for a in approvals.all()
    ]
    drafts = [f"{d.key}: {json.dumps(spec_summary(d.spec))}" for d in store.drafts(3)]
    prompt = render(
        "planner",
        preferences="",
        said="\n".join(said),
        drafts="\n".join(drafts),
        approvals="\n".join(reversed(asked)),
        answers="\n".join(reversed(answers)),
    )
    return prompt.messages[1].content


def system_prompt(preferences: Sequence[Preference] = ()) -> str:
    """Return what a planner is told before everything else; only the preferences ever change."""
    kept = "\n".join(f"{preference.id}. {preference.words}" for preference in preferences)
    prompt = render("planner", preferences=kept, said="", drafts="", approvals="", answers="")
    return prompt.messages[0].content
