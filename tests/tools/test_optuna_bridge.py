import io
import json
import math
from dataclasses import replace

import optuna
import pytest
from luthier.tools.optuna_bridge import (
    Mirror,
    rebuild,
    rebuild_for_sampling,
    violations,
)
from luthier.tools.outcomes import Outcome
from luthier.tools.records import AttemptRecord, TrialRecord
from luthier.tools.spec import parse_spec
from optuna.trial import TrialState


def make_spec(**changes):
    return parse_spec(
        {
            "name": "digits",
            "objective": {"kind": "callable", "reference": "m:f"},
            "space": {
                "x": {"type": "float", "low": 0.1, "high": 0.8, "step": 0.1},
                "kind": {"type": "categorical", "choices": ["a", "b", None]},
                "n": {"type": "int", "low": 1, "high": 64, "log": True, "when": {"kind": "a"}},
            },
            "metrics": {"loss": {"direction": "minimize"}, "ms": {"direction": "watch"}},
            **changes,
        }
    )


SPEC = make_spec()
TWO = make_spec(metrics={"loss": {"direction": "minimize"}, "acc": {"direction": "maximize"}})


def trial(number, state=Outcome.COMPLETE, *, curve=None, x=0.3, **metrics):
    finished = isinstance(state, Outcome)
    return TrialRecord(
        id=number + 1,
        number=number,
        state=state,
        reason="why",
        configuration={"x": x, "kind": "b"},
        metrics=metrics,
        source="sobol",
        created_at=1000.0 + number,
        finished_at=2000.0 + number if finished else None,
        attempts=(AttemptRecord(number, 1, "cpu:0", 1000.0),),
        curves={} if curve is None else {"loss": curve},
    )


EACH = [
    trial(0, loss=0.5, curve={1: 0.9, 2: 0.5}),
    replace(trial(1, loss=0.4), configuration={"x": 0.8, "kind": "a", "n": 3}),
    trial(2, Outcome.PRUNED, loss=0.9, curve={1: 0.9}),
    trial(3, Outcome.OUT_OF_MEMORY),
    trial(4, Outcome.DIVERGED, loss=math.nan, curve={1: math.nan}),
    trial(5, Outcome.TIMED_OUT, loss=0.6),
    trial(6, Outcome.CRASHED),
    trial(7, Outcome.KILLED),
    trial(8, Outcome.INVALID),
    trial(9, Outcome.INFRASTRUCTURE),
    trial(10, "running", curve={1: 0.7}),
    trial(11, "waiting"),
]


# --- rebuilt in memory ----------------------------------------------------------------------


def test_a_rebuilt_study_has_the_ledgers_states_and_values():
    study = rebuild(SPEC, EACH)
    assert study.direction.name == "MINIMIZE"
    assert [t.number for t in study.trials] == [t.number for t in EACH]
    states = [t.state.name for t in study.trials]
    assert states == ["COMPLETE"] * 2 + ["PRUNED"] + ["FAIL"] * 7 + ["RUNNING"] * 2
    assert [t.params for t in study.trials] == [t.configuration for t in EACH]
    assert [t.values for t in study.trials[:2]] == [[0.5], [0.4]]
    assert study.best_trial.number == 1
    assert study.trials[0].intermediate_values == {1: 0.9, 2: 0.5}
    assert study.trials[3].user_attrs["outcome"] == "out_of_memory"


def test_a_multi_objective_study_has_its_values_in_the_specs_order():
    study = rebuild(TWO, [trial(0, acc=0.9, loss=0.5), trial(1, Outcome.CRASHED)])
    assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.trials[0].values == [0.5, 0.9]
    assert study.best_trials == [study.trials[0]]


def test_limits_become_constraints():
    spec = make_spec(limits=["ms <= 20", "ms >= 5"])
    assert violations(trial(0, loss=1.0, ms=10.0), spec) == {"ms <= 20": -10.0, "ms >= 5": -5.0}
    assert violations(trial(0, loss=1.0, ms=23.0), spec) == {"ms <= 20": 3.0, "ms >= 5": -18.0}
    assert violations(trial(0, loss=1.0), spec) == {"ms <= 20": 1.0, "ms >= 5": 1.0}
    strict = make_spec(limits=["ms < 20"])
    assert violations(trial(0, loss=1.0, ms=20.0), strict)["ms < 20"] > 0
    study = rebuild(spec, [trial(0, loss=0.1, ms=99.0), trial(1, loss=0.5, ms=10.0)])
    assert study.best_trial.number == 1


def test_nothing_is_written_on_the_users_screen(capfd):
    rebuild(SPEC, EACH)
    rebuild_for_sampling(SPEC, EACH)
    assert capfd.readouterr() == ("", "")


# --- what samplers are taught ---------------------------------------------------------------


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_failures_teach_a_sampler_the_worst_value_and_a_broken_constraint(direction):
    spec = make_spec(metrics={"loss": {"direction": direction}})
    study = rebuild_for_sampling(spec, EACH)
    worst = 0.9 if direction == "minimize" else 0.4
    by_constraint = {-1.0: [], 1.0: []}
    for taught in study.trials:
        if taught.state is TrialState.COMPLETE:
            by_constraint[taught.constraints["failed"]].append(taught.value)
    assert by_constraint == {-1.0: [0.5, 0.4, 0.9], 1.0: [worst] * 5}
    assert [t.state for t in study.trials].count(TrialState.RUNNING) == 2


def test_what_was_no_fault_of_the_configuration_teaches_nothing():
    no_fault = [trial(0, loss=0.5), trial(1, Outcome.KILLED), trial(2, Outcome.INFRASTRUCTURE)]
    assert len(rebuild_for_sampling(SPEC, no_fault).trials) == 1


def test_failures_before_any_success_are_not_made_up_values():
    assert rebuild_for_sampling(SPEC, [trial(0, Outcome.CRASHED)]).trials == []


# --- the mirror -----------------------------------------------------------------------------


@pytest.fixture
def mirror(tmp_path):
    made = Mirror(tmp_path / "optuna.db", SPEC)
    yield made
    made.close()


def load(path, name="digits"):
    """Open the mirror as any Optuna program does; return what it sees."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    study = optuna.load_study(study_name=name, storage=storage)
    trials = study.get_trials()
    names = study.metric_names
    storage.engine.dispose()
    return names, trials


def seen(trials):
    """Return what of the trials does not depend on when they were copied."""
    return [
        (
            t.number,
            t.state,
            t.values,
            t.params,
            t.distributions,
            str(t.intermediate_values),
            {k: v for k, v in t.user_attrs.items() if t.state.is_finished()},
            t.constraints,
            t.datetime_start,
        )
        for t in trials
    ]


def full_copy(tmp_path, trials):
    made = Mirror(tmp_path / "full.db", SPEC)
    made.sync(trials)
    made.close()
    return seen(load(tmp_path / "full.db")[1])


def test_optuna_loads_the_mirror_as_a_study_of_its_own(tmp_path, mirror):
    mirror.sync(EACH)
    names, trials = load(tmp_path / "optuna.db")
    assert names == ["loss"]
    expected = rebuild(SPEC, EACH).trials
    for copy, wanted in zip(trials, expected, strict=True):
        assert (copy.state, copy.values, copy.params) == (
            wanted.state,
            wanted.values,
            wanted.params,
        )


HISTORIES = {
    "as it goes": [
        [trial(0, "running")],
        [trial(0, "running", curve={1: 0.9}), trial(1, "running")],
        [trial(0, loss=0.5, curve={1: 0.9, 2: 0.5}), trial(1, "running", curve={1: math.nan})],
        [trial(0, loss=0.5, curve={1: 0.9, 2: 0.5}), trial(1, Outcome.DIVERGED)],
    ],
    "a finished trial waits again": [
        [trial(0, Outcome.INFRASTRUCTURE), trial(1, loss=0.4)],
        [trial(0, "waiting"), trial(1, loss=0.4)],
        [trial(0, loss=0.3), trial(1, loss=0.4)],
    ],
    "unseen, a finished trial has run again": [
        [trial(0, Outcome.INFRASTRUCTURE)],
        [trial(0, loss=0.3)],
    ],
    "unseen, it has failed otherwise": [
        [trial(0, Outcome.INFRASTRUCTURE)],
        [trial(0, Outcome.CRASHED)],
    ],
    "a second attempt begins afresh": [
        [trial(0, "running", curve={1: 0.9, 2: 0.8})],
        [trial(0, "waiting", curve={1: 0.9, 2: 0.8})],
        [trial(0, "running", curve={1: 0.7})],
    ],
    "a second attempt differs": [
        [trial(0, "running", curve={1: 0.9})],
        [trial(0, loss=0.5, curve={1: 0.7, 2: 0.5})],
    ],
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES.keys())
def test_many_small_syncs_make_what_one_makes(tmp_path, mirror, history):
    for trials in history:
        mirror.sync(trials)
        mirror.sync(trials)
    assert seen(load(tmp_path / "optuna.db")[1]) == full_copy(tmp_path, history[-1])


def test_a_sync_without_news_writes_nothing(tmp_path, mirror):
    trials = [t for t in EACH if t.number != 10]
    trials = [replace(t, number=i) for i, t in enumerate([*trials, EACH[4]])]
    mirror.sync(trials)
    study_id = mirror._study_id
    mirror.sync(trials)
    assert mirror._study_id == study_id


def test_a_mirror_is_opened_again_where_it_was_left(tmp_path):
    for end in (3, 8):
        made = Mirror(tmp_path / "optuna.db", SPEC)
        made.sync(EACH[:end])
        made.close()
    assert len(load(tmp_path / "optuna.db")[1]) == 8


def test_studies_share_a_mirror(tmp_path, mirror):
    other = Mirror(tmp_path / "optuna.db", make_spec(name="other"))
    mirror.sync(EACH[:2])
    other.sync(EACH[:3])
    other.close()
    assert len(load(tmp_path / "optuna.db", "digits")[1]) == 2
    assert len(load(tmp_path / "optuna.db", "other")[1]) == 3


def test_the_mirror_writes_nothing_on_the_users_screen(tmp_path, capfd):
    made = Mirror(tmp_path / "optuna.db", make_spec(limits=["ms <= 20"]))
    made.sync([EACH[0], EACH[1]])
    made.sync([replace(EACH[0], state="waiting"), EACH[1]])
    made.close()
    assert capfd.readouterr() == ("", "")


def test_optunas_dashboard_shows_the_mirror(tmp_path, mirror):
    optuna_dashboard = pytest.importorskip("optuna_dashboard")
    mirror.sync(EACH)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'optuna.db'}")
    application = optuna_dashboard.wsgi(storage)

    def get(path):
        status = []
        environment = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "QUERY_STRING": "after=0",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
        }
        body = application(environment, lambda line, *_: status.append(line))
        text = b"".join(body)
        assert status == ["200 OK"], text
        return json.loads(text)

    (study,) = get("/api/studies")["study_summaries"]
    assert study["study_name"] == "digits"
    shown = get(f"/api/studies/{study['study_id']}")["trials"]
    assert [t["number"] for t in shown] == list(range(12))
    storage.engine.dispose()
