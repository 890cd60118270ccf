"""Consent: asked once, bound to exact arguments and one person, used once."""

from typing import Any

import pytest
from luthier.agent.approvals import (
    Approval,
    ApprovalError,
    Approvals,
    Policy,
    digest_of,
    load_policy,
    store_policy,
)
from luthier.agent.dialogue import Dialogue
from luthier.agent.toolbox.desk import Desk

CALL: dict[str, Any] = {"draft": "a@1", "trials": 20}


@pytest.fixture
def approvals(desk: Desk) -> Approvals:
    return with_policy(desk, Policy())


def with_policy(desk: Desk, policy: Policy) -> Approvals:
    store = desk.conversations
    return Approvals(store, store.begin("ada"), "ada", policy)


def ask(
    approvals: Approvals, call: str = "1", seconds: float | None = None, **changes: Any
) -> Approval:
    arguments = CALL | changes
    return approvals.ask(call, "start_study", arguments, "spends", {}, seconds)


def test_what_spends_waits_for_a_person(approvals: Approvals) -> None:
    assert ask(approvals).state == "pending"
    assert approvals.use("start_study", CALL) is None


def test_a_yes_is_good_for_one_call(approvals: Approvals) -> None:
    asked = ask(approvals)
    approvals.approve(asked.id, asked.digest, "ada")

    assert approvals.use("start_study", CALL) is not None
    assert approvals.use("start_study", CALL) is None
    assert "has begun once" in approvals.why_not("start_study", CALL)


def test_a_yes_is_good_for_no_other_arguments(approvals: Approvals) -> None:
    asked = ask(approvals)
    approvals.approve(asked.id, asked.digest, "ada")

    assert approvals.use("start_study", CALL | {"trials": 21}) is None
    assert approvals.use("resume_study", CALL) is None


def test_the_same_call_is_asked_about_once(approvals: Approvals) -> None:
    assert ask(approvals).id == ask(approvals).id
    assert ask(approvals, call="2").id != ask(approvals).id
    assert ask(approvals, trials=9).id != ask(approvals).id


def test_a_yes_to_something_else_than_what_was_shown_is_refused(approvals: Approvals) -> None:
    asked = ask(approvals)

    with pytest.raises(ApprovalError, match="other arguments than those that were shown"):
        approvals.approve(asked.id, digest_of("start_study", CALL | {"trials": 1}), "ada")
    assert approvals.get(asked.id).state == "pending"


def test_only_the_person_who_is_asked_decides(approvals: Approvals) -> None:
    asked = ask(approvals)

    for decide in (
        lambda: approvals.approve(asked.id, asked.digest, "bob"),
        lambda: approvals.reject(asked.id, "", "bob"),
        lambda: approvals.replace(asked.id, CALL, {}, None, "bob"),
    ):
        with pytest.raises(ApprovalError, match="is ada's to decide, not bob's"):
            decide()


def test_what_is_decided_stays_decided(approvals: Approvals) -> None:
    asked = ask(approvals)
    approvals.reject(asked.id, "too dear", "ada")

    with pytest.raises(ApprovalError, match="is rejected already"):
        approvals.approve(asked.id, asked.digest, "ada")
    assert approvals.why_not("start_study", CALL) == "was refused by the person: too dear"


def test_an_edit_approves_the_new_arguments_and_not_the_old_ones(approvals: Approvals) -> None:
    asked = ask(approvals)
    edited = approvals.replace(asked.id, CALL | {"trials": 5}, {}, None, "ada")

    assert edited.digest == digest_of("start_study", CALL | {"trials": 5}) != asked.digest
    assert approvals.use("start_study", CALL) is None
    assert approvals.use("start_study", CALL | {"trials": 5}) is not None
    assert approvals.replacement(asked.id).id == edited.id


def test_another_conversation_has_none_of_it(desk: Desk, approvals: Approvals) -> None:
    asked = ask(approvals)
    approvals.approve(asked.id, asked.digest, "ada")
    other = with_policy(desk, Policy())

    assert other.use("start_study", CALL) is None
    with pytest.raises(ApprovalError, match="no approval"):
        other.get(asked.id)


def test_above_asks_for_more_than_the_threshold_in_one_call(desk: Desk) -> None:
    approvals = with_policy(desk, Policy("above", 100))

    assert ask(approvals, "1", 100).state == "approved"
    assert ask(approvals, "2", 100).is_automatic
    assert ask(approvals, "3", 101).state == "pending"


def test_within_asks_when_all_together_passes_the_cap(desk: Desk) -> None:
    approvals = with_policy(desk, Policy("within", 100))

    assert ask(approvals, "1", 60).state == "approved"
    assert ask(approvals, "2", 60).state == "pending"
    assert ask(approvals, "3", 40).state == "approved"


@pytest.mark.parametrize("policy", [Policy("above", 100), Policy("within", 100)])
def test_what_nobody_can_estimate_or_undo_is_always_asked(desk: Desk, policy: Policy) -> None:
    approvals = with_policy(desk, policy)

    assert ask(approvals, "1", None).state == "pending"
    assert approvals.ask("2", "stop_study", {}, "destroys", {}, 0.0).state == "pending"


def test_a_level_without_its_number_is_refused() -> None:
    with pytest.raises(ApprovalError, match="needs device-seconds above 0, but got 0"):
        Policy("above")


def test_a_policy_is_kept_in_the_workspace(desk: Desk) -> None:
    assert load_policy(desk.workspace) == Policy()
    for policy in (Policy("above", 100), Policy("within", 60.5), Policy()):
        store_policy(desk.workspace, policy)
        assert load_policy(desk.workspace) == policy


@pytest.mark.parametrize("text", ['level = "never"', 'level = "above"', 'device_seconds = "x"'])
def test_a_policy_that_makes_no_sense_is_refused(desk: Desk, text: str) -> None:
    desk.workspace.folder.mkdir(parents=True, exist_ok=True)
    path = desk.workspace.folder / "config.toml"
    path.write_text(f"[approvals]\n{text}\n", encoding="utf-8")
    with pytest.raises(ApprovalError, match="device.seconds"):
        load_policy(desk.workspace)


def test_a_conversation_follows_the_policy_that_the_person_keeps(desk: Desk) -> None:
    dialogue = Dialogue(desk)
    store_policy(desk.workspace, Policy("above", 100))
    list(dialogue.send("/status"))
    assert dialogue.approvals.policy == Policy("above", 100)
    store_policy(desk.workspace, Policy())
    list(dialogue.send("/status"))
    assert dialogue.approvals.policy == Policy()
