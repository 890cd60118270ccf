import math
import subprocess
import sys
import warnings
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.tools.analysis import best_so_far, best_trials, counts, feasible, importance
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord, TrialState
from luthier.tools.space import Configuration
from luthier.tools.spec import StudySpec, parse_spec


def spec(metrics: Mapping[str, str], *limits: str, **space: object) -> StudySpec:
    return parse_spec(
        {
            "name": "study",
            "objective": {"kind": "callable", "reference": "module:function"},
            "space": space or {"x": {"type": "float", "low": 0, "high": 1}},
            "metrics": {name: {"direction": direction} for name, direction in metrics.items()},
            "limits": list(limits),
        }
    )


def trial(
    number: int,
    state: TrialState = Outcome.COMPLETE,
    configuration: Configuration | None = None,
    **metrics: float,
) -> TrialRecord:
    return TrialRecord(
        id=number + 1,
        number=number,
        state=state,
        reason="",
        configuration=configuration or {"x": 0.5},
        metrics=metrics,
        source="random",
        created_at=1e9 + number,
        finished_at=1e9 + number + 1 if isinstance(state, Outcome) else None,
    )


LOSS = spec({"loss": "minimize"})
ACC = spec({"acc": "maximize"})
TWO = spec({"acc": "maximize", "ms": "minimize"})


def numbers(trials: list[TrialRecord]) -> list[int]:
    return [trial.number for trial in trials]


class TestFeasible:
    def test_a_complete_trial_without_limits(self):
        assert feasible(trial(0, loss=1.0), LOSS)

    @pytest.mark.parametrize("state", [Outcome.PRUNED, Outcome.CRASHED, "running", "waiting"])
    def test_a_trial_that_is_not_complete_is_not(self, state):
        assert not feasible(trial(0, state, loss=1.0), LOSS)

    @pytest.mark.parametrize(("ms", "kept"), [(20.0, True), (20.1, False), (math.nan, False)])
    def test_every_limit_must_be_kept(self, ms, kept):
        limited = spec({"loss": "minimize", "ms": "watch"}, "ms <= 20")
        assert feasible(trial(0, loss=1.0, ms=ms), limited) is kept

    def test_a_limit_on_a_metric_that_is_missing_is_broken(self):
        limited = spec({"loss": "minimize", "ms": "watch"}, "ms <= 20")
        assert not feasible(trial(0, loss=1.0), limited)


class TestBestTrials:
    def test_minimize(self):
        assert numbers(best_trials(LOSS, [trial(0, loss=2), trial(1, loss=1)])) == [1]

    def test_maximize(self):
        assert numbers(best_trials(ACC, [trial(0, acc=2), trial(1, acc=1)])) == [0]

    def test_the_earliest_of_equals(self):
        assert numbers(best_trials(LOSS, [trial(1, loss=1), trial(0, loss=1)])) == [0]

    def test_none_without_feasible_trials(self):
        assert best_trials(LOSS, [trial(0, Outcome.PRUNED, loss=1)]) == []

    def test_a_trial_that_breaks_a_limit_is_passed_over(self):
        limited = spec({"loss": "minimize"}, "loss >= 2")
        assert numbers(best_trials(limited, [trial(0, loss=1), trial(1, loss=3)])) == [1]

    def test_the_pareto_front_by_number(self):
        trials = [trial(0, acc=1, ms=1), trial(1, acc=3, ms=3), trial(2, acc=2, ms=4)]
        assert numbers(best_trials(TWO, trials)) == [0, 1]

    def test_the_earliest_of_equals_stands_on_the_front(self):
        trials = [trial(0, acc=1, ms=1), trial(1, acc=1, ms=1), trial(2, acc=2, ms=2)]
        assert numbers(best_trials(TWO, trials)) == [0, 2]

    values = st.sampled_from([0.0, 1.0, 2.0, 3.0])

    @given(st.lists(st.tuples(values, values), max_size=30))
    def test_every_trial_is_matched_by_the_front_and_no_member_by_another(self, points):
        trials = [trial(i, acc=acc, ms=ms) for i, (acc, ms) in enumerate(points)]
        front = best_trials(TWO, trials)

        def at_least_as_good(one, other):
            return one.metrics["acc"] >= other.metrics["acc"] and (
                one.metrics["ms"] <= other.metrics["ms"]
            )

        assert all(any(at_least_as_good(member, t) for member in front) for t in trials)
        assert not any(
            at_least_as_good(one, other) for one in front for other in front if one is not other
        )


class TestBestSoFar:
    def test_failures_leave_no_point(self):
        trials = [trial(0, loss=3), trial(1, Outcome.CRASHED), trial(2, loss=5), trial(3, loss=1)]
        assert best_so_far(LOSS, trials) == [(0, 3), (2, 3), (3, 1)]

    def test_several_objectives_are_refused(self):
        with pytest.raises(ValueError, match=r"single objective, but the study has 'acc', 'ms'"):
            best_so_far(TWO, [])

    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30))
    def test_it_never_gets_worse_and_ends_at_the_best(self, values):
        trials = [trial(i, acc=value) for i, value in enumerate(values)]
        progress = [value for _, value in best_so_far(ACC, trials)]
        assert progress == sorted(progress)
        assert progress[-1:] == [best.metrics["acc"] for best in best_trials(ACC, trials)]


class TestImportance:
    space = {
        "x": {"type": "float", "low": 0, "high": 1},
        "idle": {"type": "float", "low": 0, "high": 1},
        "kind": {"type": "categorical", "choices": ["a", "b", None]},
        "inner": {"type": "int", "low": 1, "high": 9, "when": {"kind": "a"}},
    }
    spec = spec({"loss": "minimize"}, **space)

    def trials(self, count):
        made = []
        for i in range(count):
            configuration = {
                "x": i * 0.37 % 1,
                "idle": i * 0.61 % 1,
                "kind": ["a", "b", None][i % 3],
            }
            if i % 3 == 0:
                configuration["inner"] = 1 + i % 9
            made.append(trial(i, configuration=configuration, loss=(configuration["x"] - 0.3) ** 2))
        return made

    def test_what_matters_comes_first(self):
        shares = importance(self.spec, self.trials(60))
        assert next(iter(shares)) == "x"

    def test_shares_of_all_parameters_add_up_to_one(self):
        shares = importance(self.spec, self.trials(60))
        assert set(shares) == set(self.space)
        assert sum(shares.values()) == pytest.approx(1)

    def test_none_with_few_trials(self):
        assert importance(self.spec, self.trials(9)) is None

    def test_none_if_all_values_are_equal(self):
        trials = [trial(i, configuration={"x": i / 20}, loss=1.0) for i in range(20)]
        assert importance(LOSS, trials) is None

    def test_none_if_all_configurations_are_equal(self):
        assert importance(LOSS, [trial(i, loss=float(i)) for i in range(20)]) is None

    def test_a_parameter_that_stood_still_has_no_share(self):
        space = {name: {"type": "float", "low": 0, "high": 1} for name in ("fixed", "x")}
        trials = [
            trial(i, configuration={"fixed": 0.5, "x": i / 20}, loss=float(i)) for i in range(20)
        ]
        assert importance(spec({"loss": "minimize"}, **space), trials) == {"x": 1.0, "fixed": 0.0}

    def test_several_objectives(self):
        trials = [
            trial(i, configuration={"x": i / 20}, acc=i / 20, ms=5 - abs(i - 10)) for i in range(20)
        ]
        assert importance(TWO, trials) == {"x": 1.0}

    def test_it_warns_of_nothing(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            importance(self.spec, self.trials(11))


def test_counts_are_in_the_order_of_the_outcomes():
    states = ["running", Outcome.CRASHED, Outcome.COMPLETE, Outcome.CRASHED]
    found = counts(trial(i, state) for i, state in enumerate(states))
    assert list(found.items()) == [("complete", 1), ("crashed", 2), ("running", 1)]


def test_import_needs_neither_plotly_nor_optuna():
    code = "import sys, luthier.tools.analysis; assert not {'plotly', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
