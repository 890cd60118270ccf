"""The parts of the UI that need no browser."""

import math
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from luthier.app.ui.acts import Act
from luthier.app.ui.analysis import AnalysisPanel
from luthier.app.ui.clicks import move
from luthier.app.ui.curves import CurvesPanel
from luthier.app.ui.export import ExportPanel
from luthier.app.ui.place import Place, read_place
from luthier.app.ui.server import ServerError, check_address
from luthier.app.ui.sight import Panel, Sight
from luthier.app.ui.start import Starting
from luthier.app.ui.trials import columns, matches, order
from luthier.app.ui.watching import Watch
from luthier.app.ui.writing import link, write
from luthier.evals.browsing import served
from luthier.tools.errors import LuthierError
from luthier.tools.ledger import StudyNotFoundError

from ..conftest import Luthier
from .conftest import Bench


class TestPlaces:
    @pytest.mark.parametrize(
        "place",
        [
            Place(),
            Place(study="a-b.c", panel="curves", trial=0),
            Place(compare=(3, 1), sort="metric:a&b=c", descending=False, page=2),
        ],
    )
    def test_a_link_leads_back_to_the_place(self, place: Place) -> None:
        assert read_place(place.query()) == place

    @pytest.mark.parametrize(
        "query",
        [
            {"panel": "etc/passwd"},
            {"trial": "-1"},
            {"trial": "1e999"},
            {"compare": "x,,-3"},
            {"study": "x" * 10_000},
            {"page": [1]},
            {"unknown": "field"},
        ],
    )
    def test_what_makes_no_sense_is_left_out(self, query: dict[str, object]) -> None:
        assert read_place({"study": "digits", **query}).but(study="digits") == Place(study="digits")

    def test_a_link_holds_no_markup(self) -> None:
        assert link(Place(study='"><b>')) == "?study=%22%3E%3Cb%3E"


class TestMoves:
    def test_a_second_click_on_a_heading_turns_the_order(self) -> None:
        once = move(Place(), Act("sort", "seconds"))
        assert once == Place(sort="seconds", descending=True)
        assert move(once, Act("sort", "seconds")) == Place(sort="seconds", descending=False)

    def test_a_trial_is_compared_and_left_out_again(self) -> None:
        once = move(Place(), Act("compare", "3"))
        assert once == Place(compare=(3,))
        assert move(once, Act("compare", "3")) == Place()

    def test_only_so_many_are_compared_the_latest(self) -> None:
        place = Place(compare=tuple(range(8)))
        assert move(place, Act("compare", "8")) == Place(compare=tuple(range(1, 9)))

    @pytest.mark.parametrize("act", [Act("open", "x"), Act("page", "-1"), Act("rm", "/")])
    def test_anything_else_leads_nowhere(self, act: Act) -> None:
        assert move(Place(), act) is None


class TestFigures:
    @pytest.mark.parametrize(
        ("panel", "others"), [(CurvesPanel(), (0.0, [])), (AnalysisPanel(), ())]
    )
    def test_the_value_that_a_control_is_given_draws_nothing_anew(
        self, panel: Panel, others: tuple[object, ...], bench: Bench
    ) -> None:
        study = bench.study()
        watch = Watch(bench.workspace)
        sight = Sight(study, watch.look(study.name), Place(study=study.name))
        choice, *_ = panel.render(sight, None, *others)
        assert choice.value is not None
        assert panel.key(sight, choice.value, *others) == panel.key(sight, None, *others)


class TestReports:
    def test_one_that_was_written_is_shown_whatever_a_tab_was_told_meanwhile(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(bench.project / "copies"))
        study, panel = bench.study(), ExportPanel()
        sight = Sight(study, Watch(bench.workspace).look(study.name), Place(study=study.name))
        before, hidden = panel.key(sight), panel.render(sight)[2]
        panel.write(study)
        after, shown = panel.key(sight), panel.render(sight)[2]
        assert not hidden.visible
        assert after != before
        assert shown.visible
        assert study.name in shown.value

    def test_one_whose_files_are_gone_can_be_written_anew(self, bench: Bench) -> None:
        study, panel = bench.study(), ExportPanel()
        sight = Sight(study, Watch(bench.workspace).look(study.name), Place(study=study.name))
        panel.write(study)
        (bench.workspace.reports / f"{study.name}.csv").unlink()
        assert not panel.render(sight)[2].visible


class TestAddresses:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
    def test_this_machine_needs_no_password(self, host: str) -> None:
        check_address(host, None)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "my-server", ""])
    def test_any_other_address_does(self, host: str) -> None:
        with pytest.raises(ServerError, match="LUTHIER_UI_PASSWORD"):
            check_address(host, None)
        check_address(host, "long enough")

    def test_a_short_password_is_refused(self) -> None:
        with pytest.raises(ServerError, match="shorter than 8"):
            check_address("0.0.0.0", "1234567")


class TestTrials:
    def test_gaps_stand_last_in_either_order(self, bench: Bench) -> None:
        study = bench.study()
        for number, value in enumerate([0.5, None, 0.75, math.nan]):
            trial = bench.begin(study, number)
            bench.end(study, trial, value)
        trials = study.trials(curves=False)
        column = next(c for c in columns(study.spec) if c.key == "metric:acc")

        for descending, numbers in ((True, [2, 0, 1, 3]), (False, [0, 2, 1, 3])):
            ordered = order(trials, column, descending=descending)
            assert [trial.number for trial in ordered] == numbers

    def test_mixed_choices_can_be_ordered(self, bench: Bench) -> None:
        study = bench.study(space={"x": {"type": "categorical", "choices": ["a", 1, True, 0.5]}})
        trials = [
            replace(bench.begin(study, n), configuration={"x": x})
            for n, x in enumerate(["a", 1, True, 0.5])
        ]
        column = next(c for c in columns(study.spec) if c.key == "parameter:x")

        assert [t.number for t in order(trials, column, descending=False)] == [3, 1, 2, 0]

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", True),
            ("sobol", True),
            ("SOBOL, lr < 0.2", True),
            ("lr > 0.2", False),
            ("acc >= 0.5, complete", True),
            ("loss < 3", False),  # it has no such metric
            ("lr=0.1", True),
            ("nothing like it", False),
        ],
    )
    def test_a_text_is_matched(self, bench: Bench, text: str, found: bool) -> None:
        study = bench.study()
        trial = bench.end(study, bench.begin(study, 0), 0.5)

        assert matches(trial, text) is found


class TestWatching:
    def test_only_what_something_happened_to_is_read_again(self, bench: Bench) -> None:
        study = bench.study()
        kept, changed = bench.run(study, 0, 0.5), bench.begin(study, 1)
        watch = Watch(bench.workspace)
        before = watch.look("digits")
        bench.end(study, changed, 0.75)
        watch.forget()
        after = watch.look("digits")

        assert after.trials[0] is before.trials[0]
        assert [str(trial.state) for trial in after.trials] == ["complete", "complete"]
        assert after.trials == study.trials(curves=False)
        assert after.trials[0].metrics == kept.metrics

    def test_another_ledger_in_its_place_is_read_instead(self, bench: Bench) -> None:
        bench.study()
        watch = Watch(bench.workspace)
        assert [study.name for study in watch.studies()] == ["digits"]
        bench.writers.clear()
        for path in bench.workspace.folder.glob("ledger.db*"):
            path.unlink()
        with pytest.raises(StudyNotFoundError):
            watch.look("digits")
        other = Bench(bench.project)
        other.study("other")
        watch.forget()

        assert [study.name for study in watch.studies()] == ["other"]
        assert watch.look("other").state == "running"
        other.close()


TRAIN = "import sys\nprint(sys.argv)\n"


class TestStarting:
    @pytest.fixture
    def starting(self, bench: Bench) -> Starting:
        (bench.project / "train.py").write_text(TRAIN, encoding="utf-8")
        return Starting(Watch(bench.workspace), bench.project)

    @pytest.mark.parametrize("name", ["../train.py", "/etc/passwd", "missing.py", ".", "a\0.py"])
    def test_only_scripts_of_the_project_are_read(self, starting: Starting, name: str) -> None:
        with pytest.raises(LuthierError):
            starting.script(name)

    def test_scripts_are_found_but_not_those_of_packages(self, starting: Starting) -> None:
        for folder in ("src", ".venv", "node_modules/x"):
            (starting.project / folder).mkdir(parents=True)
            (starting.project / folder / "a.py").write_text("", encoding="utf-8")

        assert starting.scripts() == ["train.py", str(Path("src") / "a.py")]

    def test_what_was_changed_after_it_was_confirmed_is_not_started(
        self, starting: Starting
    ) -> None:
        text = (
            "objective: {kind: script, command: [python, train.py]}\n"
            "name: a\nspace: {x: {type: float, low: 0, high: 1}}\n"
            "metrics: {loss: {direction: minimize}}\nbudget: {trials: 1}\n"
        )
        checked = starting.check(text, "train.py")
        assert checked.spec is not None, checked.page
        with pytest.raises(LuthierError, match="look it over again"):
            starting.start(
                text.replace("trials: 1", "trials: 9"), "train.py", checked.spec.content_hash()
            )
        assert starting.watch.studies() == []


def test_every_value_is_escaped() -> None:
    assert write("message", text="<b>&\x1b[31m", kind="hint").count("<b>") == 0


class TestServing:
    def test_an_open_address_is_refused_before_anything_is_served(self, luthier: Luthier) -> None:
        run = luthier("ui", "--host", "0.0.0.0")

        assert run.code == 2
        assert "can be reached from other machines" in run.err

    def test_with_a_password_nothing_is_told_without_it(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.study()
        monkeypatch.setenv("LUTHIER_UI_PASSWORD", "correct horse")
        with served(bench.workspace.folder, bench.project) as ui:
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"{ui.url.rstrip('/')}/config")
