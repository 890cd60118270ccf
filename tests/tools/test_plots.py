import io
import json
import logging
import math
from dataclasses import replace

import pytest
from luthier.tools.evidence_plots import predictions
from luthier.tools.outcomes import Outcome
from luthier.tools.plot_style import OUTCOME_COLORS
from luthier.tools.plots import panels
from luthier.tools.records import AttemptRecord, Decision, Prediction, TrialRecord
from luthier.tools.spec import StudySpec, parse_spec

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
    "layers": {"type": "int", "low": 1, "high": 8},
    "optimizer": {"type": "categorical", "choices": ["adam", "sgd", None]},
    "momentum": {"type": "float", "low": 0, "high": 1, "when": {"optimizer": "sgd"}},
}
ONE = {"acc": {"direction": "maximize"}, "ms": {"direction": "watch"}}
TWO = {"acc": {"direction": "maximize"}, "ms": {"direction": "minimize"}}
THREE = TWO | {"mb": {"direction": "minimize"}}


def spec(metrics=ONE, space=SPACE, **fields) -> StudySpec:
    objective = {"kind": "callable", "reference": "module:function"}
    return parse_spec(
        {"name": "s", "objective": objective, "space": space, "metrics": metrics} | fields
    )


def trial(
    number, state=Outcome.COMPLETE, configuration=None, curve=None, imported=False, **metrics
):
    start = 1e9 + 10 * number
    end = start + 8 if isinstance(state, Outcome) else None
    if configuration is None:
        configuration = {"lr": 10 ** -(1 + number % 40 / 10), "layers": 1 + number % 8}
        configuration["optimizer"] = ["adam", "sgd", None][number % 3]
        if configuration["optimizer"] == "sgd":
            configuration["momentum"] = number % 7 / 7
    outcome = state if isinstance(state, Outcome) else None
    attempt = AttemptRecord(number, 1, f"cpu:{number % 2}", start, end, outcome, "", 8.0, None, "")
    return TrialRecord(
        id=number,
        number=number,
        state=state,
        reason="",
        configuration=configuration,
        metrics=metrics
        or {"acc": number % 17 / 17, "ms": number % 5 + 1.0, "mb": number % 3 + 1.0},
        source="random",
        created_at=start,
        finished_at=end,
        attempts=(attempt,),
        curves={
            "acc": {step: step / (number + 2) for step in range(5)} if curve is None else curve
        },
        imported=imported,
    )


def mixed(count):
    """Return trials of every kind."""
    states = [Outcome.COMPLETE, Outcome.COMPLETE, *Outcome, "running", "waiting"]
    return [trial(number, states[number % len(states)]) for number in range(count)]


def by_title(spec, trials):
    return {panel.title: panel for panel in panels(spec, trials)}


def text_of(figure):
    return json.dumps(json.loads(figure.to_json()), ensure_ascii=False)


TITLES = [
    "Progress",
    "Learning curves",
    "Importance of parameters",
    "Parameters together",
    "acc by parameter",
    "The two that matter most",
    "Who found what",
    "Timeline",
]


class TestPanels:
    def test_all_are_drawn_of_a_mixed_study(self):
        drawn = panels(spec(limits=["ms <= 4"]), mixed(40))
        assert [panel.title for panel in drawn] == TITLES
        assert all(panel.figure is not None for panel in drawn)

    def test_without_trials_each_says_why_it_is_missing(self):
        drawn = panels(spec(), [])
        assert [panel.title for panel in drawn] == TITLES
        assert all(panel.figure is None and panel.note for panel in drawn)

    def test_without_a_complete_trial_the_timeline_is_left(self):
        trials = [trial(0, Outcome.CRASHED, curve={}), trial(1, "running", curve={})]
        drawn = panels(spec(), trials)
        assert [panel.title for panel in drawn if panel.figure is not None] == ["Timeline"]

    def test_two_objectives_have_a_pareto_front(self):
        drawn = by_title(spec(TWO), mixed(40))
        assert drawn["Pareto front of acc and ms"].figure is not None
        assert drawn["ms by parameter"].figure is not None

    def test_three_objectives_have_a_flat_front_of_each_pair(self):
        fronts = [panel for panel in panels(spec(THREE), mixed(40)) if "Pareto" in panel.title]
        assert [panel.title for panel in fronts] == [
            "Pareto front of acc and ms",
            "Pareto front of acc and mb",
            "Pareto front of ms and mb",
        ]
        assert {trace.type for panel in fronts for trace in panel.figure.data} == {"scatter"}

    def test_the_panels_do_not_depend_on_how_far_the_study_is(self):
        titles = [panel.title for panel in panels(spec(THREE), mixed(40))]
        assert [panel.title for panel in panels(spec(THREE), [])] == titles

    def test_a_single_parameter(self):
        one = spec(space={"x": {"type": "float", "low": 0, "high": 1}})
        drawn = by_title(one, [trial(i, configuration={"x": i / 20}) for i in range(20)])
        assert drawn["acc by parameter"].figure is not None
        assert drawn["Importance of parameters"].note == "There is a single parameter."
        assert drawn["Parameters together"].figure is None

    def test_a_study_in_which_everything_is_the_same(self):
        drawn = by_title(
            spec(),
            [trial(i, configuration=trial(0).configuration, acc=1.0, ms=1.0) for i in range(20)],
        )
        assert drawn["Importance of parameters"].figure is None
        assert drawn["Parameters together"].figure is not None

    @pytest.mark.parametrize("metrics", [ONE, TWO])
    def test_nothing_is_logged_or_printed(self, metrics, capfd, monkeypatch):
        # Pytest adds handlers of its own kinds.
        handlers = logging.getLogger("optuna").handlers
        (handler,) = (one for one in handlers if type(one) is logging.StreamHandler)
        logged = io.StringIO()
        monkeypatch.setattr(handler, "stream", logged)
        for count in (0, 1, 3, 12):
            panels(spec(metrics), mixed(count))
        panels(spec(metrics, limits=["ms <= 0"]), mixed(12))
        assert logged.getvalue() == ""
        assert capfd.readouterr() == ("", "")


class TestCurves:
    def test_gaps_are_drawn_as_gaps(self):
        trials = [trial(0, curve={1: 0.5, 2: math.nan, 3: math.inf, 4: 0.6}, acc=0.6)]
        figure = by_title(spec(), trials)["Learning curves"].figure
        assert json.loads(figure.to_json())["data"][0]["y"] == [0.5, None, None, 0.6]

    def test_only_gaps_are_no_curve(self):
        trials = [trial(0, Outcome.DIVERGED, curve={1: math.nan})]
        panel = by_title(spec(), trials)["Learning curves"]
        assert panel.note == "No trial reported 'acc' along its way."

    def test_the_best_lies_on_top(self):
        figure = by_title(spec(), [trial(0, acc=0.9), trial(1, acc=0.5)])["Learning curves"].figure
        assert [trace.name for trace in figure.data] == ["trial 1", "trial 0"]

    def test_points_of_many_curves_are_not_marked_but_a_lone_point_is(self):
        few = [trial(0, curve=dict.fromkeys(range(10), 1.0))]
        many = [trial(n, curve=dict.fromkeys(range(100), 1.0)) for n in range(20)]
        lone = trial(20, curve={0: 1.0})
        drawn = {
            len(trials): by_title(spec(), trials)["Learning curves"].figure.data
            for trials in (few, [*many, lone])
        }
        assert drawn[1][0].mode == "lines+markers"
        modes = {trace.name: trace.mode for trace in drawn[21]}
        assert modes.pop("trial 20") == "lines+markers"
        assert set(modes.values()) == {"lines"}

    def test_a_long_curve_is_thinned_and_keeps_its_end(self):
        curve = {step: 1.0 for step in range(100_001)}
        figure = by_title(spec(), [trial(0, curve=curve)])["Learning curves"].figure
        assert len(figure.data[0].x) <= 202
        assert figure.data[0].x[-1] == 100_000


class TestSources:
    def test_it_counts_trials_and_those_that_were_the_best_so_far(self):
        rows = [("sobol", 0.5), ("llm", 0.7), ("sobol", 0.6), ("llm", 0.9), ("gp", 0.9)]
        trials = [replace(trial(i, acc=v), source=source) for i, (source, v) in enumerate(rows)]
        bars = by_title(spec(), trials)["Who found what"].figure.data
        counted = [dict(zip(bar.y, bar.x, strict=True)) for bar in bars]
        assert counted == [{"sobol": 2, "llm": 2, "gp": 1}, {"sobol": 1, "llm": 2, "gp": 0}]


class TestContour:
    def test_it_is_over_two_parameters_that_the_study_has(self):
        figure = by_title(spec(), mixed(60))["The two that matter most"].figure
        named = {figure.layout.xaxis.title.text, figure.layout.yaxis.title.text}
        assert len(named) == 2
        assert named < set(SPACE)


class TestPredictions:
    def expected(self, mean, low, high):
        return Decision("llm", "", prediction=Prediction(mean, low, high, (mean, 1.0)))

    def test_it_says_how_many_outcomes_lie_where_they_were_expected(self):
        decisions = {0: self.expected(0.5, 0.4, 0.6), 1: self.expected(0.5, 0.4, 0.6)}
        panel = predictions(spec(), [trial(0, acc=0.55), trial(1, acc=0.9)], decisions)
        assert panel.note.startswith("1 of 2 outcomes")
        assert list(panel.figure.data[0].x) == [0.5, 0.5]
        assert list(panel.figure.data[0].y) == [0.55, 0.9]

    def test_without_any_it_says_so(self):
        panel = predictions(spec(), [trial(0)], {0: Decision("gp", "")})
        assert panel.figure is None
        assert "No trial" in panel.note


class TestTimeline:
    def test_every_outcome_has_its_color(self):
        states = [*Outcome, "running"]
        trials = [trial(number, state) for number, state in enumerate(states)]
        figure = by_title(spec(), trials)["Timeline"].figure
        colors = {trace.name.replace(" ", "_"): trace.marker.color for trace in figure.data}
        assert colors == {str(state): OUTCOME_COLORS[state] for state in states}

    def test_imported_trials_did_not_run_here(self):
        panel = by_title(spec(), [trial(0, imported=True)])["Timeline"]
        assert panel.note == "No trial of this study has run yet."


class TestNames:
    hostile = "</script><b>bold</b><img src=x>"

    @pytest.mark.parametrize("metrics", [ONE, TWO])
    def test_tags_in_names_and_choices_are_literal(self, metrics):
        space = {
            self.hostile: {"type": "float", "low": 0, "high": 1},
            "<i>": {"type": "categorical", "choices": [self.hostile, "<u>", "&lt;"]},
        }
        hostile = {self.hostile: metrics["acc"], "ms": metrics["ms"]}
        trials = [
            trial(
                i,
                configuration={
                    self.hostile: i / 20,
                    "<i>": [self.hostile, "<u>", "&lt;"][i % 3],
                },
                curve={},
                **{self.hostile: float(i), "ms": float(i % 7)},
            )
            for i in range(20)
        ]
        for panel in panels(spec(hostile, space), trials):
            if panel.figure is not None:
                text = text_of(panel.figure).replace("<extra>", "").replace("</extra>", "")
                assert "<" not in text, panel.title

    def test_a_logarithmic_axis_counts_in_powers_of_ten(self):
        figure = by_title(spec(), mixed(40))["acc by parameter"].figure
        formats = {axis.type: axis.exponentformat for axis in figure.select_xaxes()}
        assert formats["log"] == "e"

    def test_long_names_leave_room(self):
        space = {"x" * 90: {"type": "float", "low": 0, "high": 1}, "y": SPACE["layers"]}
        trials = [trial(i, configuration={"x" * 90: i / 20, "y": 1 + i % 8}) for i in range(20)]
        figure = by_title(spec(space=space), trials)["acc by parameter"].figure
        assert figure.layout.xaxis.title.text == "x" * 23 + "…"


def test_thousands_of_trials_are_drawn_as_a_spread_with_the_best():
    trials = [
        trial(number, acc=1.0 if number == 1234 else number % 97 / 100, ms=1.0)
        for number in range(3000)
    ]
    drawn = by_title(spec(), trials)
    curves = drawn["Learning curves"]
    assert curves.note == "An even spread of 201 of 3000 is drawn, the best included."
    assert curves.figure.data[-1].name == "trial 1234"
    assert sum(len(panel.figure.to_json()) for panel in drawn.values()) < 3_000_000
