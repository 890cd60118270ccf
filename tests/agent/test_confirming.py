"""Repeats of the best trials: run by the loop like any trial, told apart by everybody."""

import json
from typing import Any, Protocol

import optuna
import pytest
from luthier.agent.confirming import ask
from luthier.evals import lab as network
from luthier.tools.claims import Claim
from luthier.tools.optuna_bridge import Mirror
from luthier.tools.outcomes import Outcome
from luthier.tools.repeats import RepeatError
from luthier.tools.spec import parse_spec
from luthier.tools.study import Study, branch, to_document


class Lab(Protocol):
    """The fixture `lab`."""

    def __getattr__(self, name: str) -> Any: ...


SEEDED = {
    "objective": {
        "kind": "script",
        "command": ["python", "-I", "-S", "small.py"],
        "seed_argument": "--seed",
    },
    "seed": 7,
}
NOISY = """
import random
noise = random.Random(f"{x} {values['--seed']}")
report(loss=x + SCALE * noise.random())
"""
"""A trial whose result is another with every seed."""


def noisy(scale: float) -> str:
    return NOISY.replace("SCALE", str(scale))


def said(study: Study) -> Claim:
    found = study.claim()
    assert found is not None
    return found


def repeats(study: Study) -> list[tuple[int | None, int | None]]:
    return [(t.repeat_of, t.seed) for t in study.trials() if t.is_repeat]


def confirm(study: Study, repeats: int = 3, *trials: int, **caps: Any) -> None:
    ask(study, 1, repeats=repeats, trials=trials, caps=caps)


def test_at_the_end_the_best_and_the_runner_up_are_run_again_on_fresh_seeds(lab: Lab) -> None:
    study = lab.create(noisy(0.001), confirm={"repeats": 3}, **SEEDED)
    assert lab.run(study) == ("finished", "all 3 trials are used")
    found = said(study)
    best, second = found.trial, found.challenger
    pair = sorted([best, second])
    assert repeats(study) == [(number, seed) for seed in (8, 9, 10) for number in pair]
    assert (found.status, found.runs, found.seeds) == ("confirmed", 3, "fresh")
    trials = study.trials()
    assert {t.source for t in trials[3:]} == {"confirm"}
    assert all(t.configuration == trials[t.repeat_of].configuration for t in trials[3:])
    assert study.decisions()[3].reason == f"repeat 1 of trial {pair[0]}"
    assert lab.run(study) == ("finished", "all 3 trials are used")
    assert len(study.trials()) == len(trials)


def test_what_noise_can_make_is_within_noise(lab: Lab) -> None:
    study = lab.create(noisy(5.0), confirm={"repeats": 3}, **SEEDED)
    lab.run(study)
    assert said(study).status == "within noise"


def test_a_script_that_takes_no_seed_is_repeated_as_it_is(lab: Lab) -> None:
    study = lab.create("report(loss=x + 1e-3 * os.urandom(1)[0] / 255)", confirm={"repeats": 3})
    lab.run(study)
    assert (said(study).status, said(study).seeds) == ("confirmed", "plain")
    assert "so they are plain repeats" in said(study).sentence


def test_a_script_that_fixes_its_own_seed_is_not_confirmed_by_running_it_again(lab: Lab) -> None:
    study = lab.create(confirm={"repeats": 3})
    lab.run(study)
    assert said(study).status == "single run"
    assert "exactly alike" in said(study).sentence


def test_a_finished_study_is_confirmed_on_request(lab: Lab) -> None:
    study = lab.create(noisy(0.001), **SEEDED)
    lab.run(study)
    assert said(study).status == "single run"
    confirm(study, 4)
    assert lab.run(study) == ("finished", "all 3 trials are used")
    assert (said(study).status, said(study).runs) == ("confirmed", 4)
    with pytest.raises(RepeatError, match=r"there are 4 repeats of trial \d and trial \d"):
        confirm(study, 4)
    confirm(study, 5)
    lab.run(study)
    assert said(study).runs == 5
    assert len(repeats(study)) == 10


def test_a_wish_that_is_granted_twice_comes_to_the_same(lab: Lab) -> None:
    study = lab.create(noisy(0.001), **SEEDED)
    lab.run(study)
    confirm(study, 3)
    confirm(study, 3)
    lab.run(study)
    assert len(repeats(study)) == 6
    (refused,) = [event for event in study.events() if event.kind == "refused"]
    assert "already" in refused.data["reason"]


def test_other_trials_are_repeated_if_they_are_named(lab: Lab) -> None:
    study = lab.create(noisy(0.001), **SEEDED)
    lab.run(study)
    third = max(study.trials(), key=lambda trial: trial.metrics["loss"]).number
    confirm(study, 3, said(study).trial, third)
    lab.run(study)
    assert said(study).difference is not None
    assert said(study).challenger == third


def test_a_living_worker_repeats_beside_the_search_which_does_not_see_it(lab: Lab) -> None:
    lab.gate()
    plain = lab.create(noisy(0.001), name="plain", budget={"trials": 5}, **own("plain"))
    lab.run(plain)
    study = lab.create("if trial == 2: gate()\n" + noisy(0.001), budget={"trials": 5}, **SEEDED)
    running = lab.start(study)
    lab.wait_for(study, "started", trial=2)
    confirm(study, 3)
    lab.wait_for(study, "wish")
    lab.open_gate()
    assert running.ending() == ("finished", "all 5 trials are used")
    trials = study.trials()
    assert [t.number for t in trials if t.is_repeat] == [3, 4, 5, 6, 7, 8]
    searched = [t.configuration for t in trials if not t.is_repeat]
    assert searched == [t.configuration for t in plain.trials()]


def own(name: str) -> dict[str, Any]:
    return json.loads(json.dumps(SEEDED).replace("small", name))


def test_a_worker_killed_while_confirming_is_followed_by_one_that_goes_on(lab: Lab) -> None:
    lab.gate()
    train = "report(1, loss=9)\nif trial == 5: gate()\n" + noisy(0.001)
    study = lab.create(train, confirm={"repeats": 3}, **SEEDED)
    worker = lab.start_worker(study)
    lab.wait_for_report(study, trial=5)
    worker.kill()
    worker.wait()
    lab.open_gate()
    assert lab.run(study) == ("finished", "all 3 trials are used")
    trials = study.trials()
    assert [(str(t.state), len(t.attempts)) for t in trials] == [("complete", 1)] * 9
    assert len(repeats(study)) == len(set(repeats(study))) == 6
    assert said(study).status == "confirmed"


def test_repeats_are_not_pruned_and_prune_nobody(lab: Lab) -> None:
    train = """
value = x if trial < 4 else 100.0 if trial < 10 else x + 50
for step in range(1, 4): report(step, loss=value)
"""
    for kind in ("median", "successive_halving"):
        pruner = {"kind": kind, "audit": 0, "start_up_trials": 1, "warmup_steps": 1}
        study = lab.create(train, name=kind, pruner=pruner, budget={"trials": 4}, **own(kind))
        lab.run(study)
        confirm(study, 3)
        lab.run(study)
        states = {str(t.state) for t in study.trials() if t.is_repeat}
        assert states == {"complete"}, kind
        lab.ledger.wish(study.record, "resume", budget={"trials": 6})
        lab.run(study)
        assert [t.number for t in study.trials() if not t.is_repeat] == [0, 1, 2, 3, 10, 11], kind
        assert {str(t.state) for t in study.trials()[10:]} <= {"complete", "pruned"}, kind


def test_repeats_that_do_not_fit_the_time_are_refused_and_nothing_is_written(lab: Lab) -> None:
    study = lab.create(
        "import time\n" + noisy(0.001), budget={"trials": 3, "device_seconds": 60}, **SEEDED
    )
    lab.run(study)
    before = (study.trials(), study.events())
    spent, _ = lab.ledger.spending(study.record, "device_seconds")
    with pytest.raises(
        RepeatError,
        match=r"for 2000 repeats about \S+ s of device time are needed, but \S+ s are left; ask "
        r"for fewer with --repeats, or raise the cap with --wall or --device",
    ):
        confirm(study, 1000, device_seconds=spent + 1e-3)
    assert (study.trials(), study.events()) == before
    confirm(study, 3, device_seconds=600)
    lab.run(study)
    assert study.spec.budget.device_seconds == 600
    assert said(study).runs == 3


def test_a_study_that_ends_with_too_little_time_says_that_nothing_is_confirmed(lab: Lab) -> None:
    study = lab.create(
        noisy(0.001), confirm={"repeats": 1000}, budget={"trials": 3, "wall_seconds": 60}, **SEEDED
    )
    ending = lab.run(study)
    assert ending.reason.startswith("all 3 trials are used; nothing is confirmed: for 2000 repeats")
    assert repeats(study) == []
    assert said(study).status == "single run"


def pretend(**budget: Any) -> dict[str, Any]:
    return {
        "objective": {"kind": "callable", "reference": "luthier.evals.lab:network"},
        "space": network.SPACE,
        "metrics": {"val_acc": {"direction": "maximize"}},
        "executor": {"kind": "simulated", "lab": {"devices": [{"memory_gib": 80}] * 2}},
        "budget": {"trials": None, **budget},
    }


def test_the_search_leaves_time_for_the_repeats(lab: Lab) -> None:
    study = lab.create(confirm={"repeats": 3}, **pretend(wall_seconds="4h"))
    ending = lab.run(study)
    assert ending == ("finished", "the time is used, but for what 6 repeats take")
    trials = study.trials(curves=False)
    assert [t.repeat_of for t in trials[-6:]].count(None) == 0
    assert {t.state for t in trials} == {Outcome.COMPLETE}
    assert len(trials) > 20


def test_a_lost_device_costs_no_repeat(lab: Lab) -> None:
    changes = pretend(trials=6)
    changes["executor"]["lab"]["devices"] = [
        {"memory_gib": 80},
        {"memory_gib": 80, "dies_at": 1200},
    ]
    study = lab.create(confirm={"repeats": 3}, **changes)
    lab.run(study)
    assert [str(t.state) for t in study.trials() if t.is_repeat] == ["complete"] * 6


def test_optuna_and_exports_tell_repeats_apart(lab: Lab) -> None:
    study = lab.create(noisy(0.001), confirm={"repeats": 3}, **SEEDED)
    lab.run(study)
    seen = study.to_optuna()
    assert [t.number for t in seen.get_trials(states=(optuna.trial.TrialState.COMPLETE,))] == [
        0,
        1,
        2,
    ]
    assert seen.best_trial.number < 3
    document = to_document(study)
    assert document["claim"]["status"] == "confirmed"
    assert document["trials"][3]["repeat_of"] == repeats(study)[0][0]
    assert study.to_dataframe()["repeat_of"].notna().sum() == 6


def test_the_mirror_is_not_made_anew_for_repeats(lab: Lab) -> None:
    study = lab.create(noisy(0.001), confirm={"repeats": 3}, **SEEDED)
    lab.run(study)
    mirror = Mirror(lab.workspace.mirror_path, study.spec)
    for _ in range(2):
        mirror.sync(study.trials())
    mirror.close()
    storage = optuna.storages.RDBStorage(f"sqlite:///{lab.workspace.mirror_path}")
    (summary,) = optuna.get_all_study_summaries(storage)
    assert (summary._study_id, summary.n_trials) == (1, 9)
    storage.remove_session()
    storage.engine.dispose()


def test_a_branch_leaves_repeats_behind(lab: Lab) -> None:
    study = lab.create(noisy(0.001), confirm={"repeats": 3}, **SEEDED)
    lab.run(study)
    spec = parse_spec(study.spec.to_dict() | {"name": "child"})
    child, taken = branch(lab.ledger, study.record, spec, lab.folder)
    assert taken == 3
    assert [t.is_repeat for t in lab.ledger.trials(child)] == [False] * 3


def test_the_sampler_is_told_the_mean_of_a_configurations_runs(lab: Lab) -> None:
    from luthier.tools.repeats import for_sampling

    study = lab.create(noisy(1.0), confirm={"repeats": 3}, **SEEDED)
    lab.run(study)
    trials = study.trials()
    seen = for_sampling(study.spec, trials)
    number = next(t.repeat_of for t in trials if t.is_repeat)
    runs = [t.metrics["loss"] for t in trials if number in (t.number, t.repeat_of)]
    assert [t.number for t in seen] == [0, 1, 2]
    assert len(runs) == 4
    assert seen[number].metrics["loss"] == pytest.approx(sum(runs) / 4)
