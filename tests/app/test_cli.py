"""What each command does for a person."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Luthier, wait_for

Write = Callable[..., Path]

HOSTILE = """
import sys
kind = sys.argv[sys.argv.index("--kind") + 1]
if kind == "crash":
    sys.stderr.write("\\x1b[31mred\\x1b[0m [bold]no markup[/bold]\\x07 <b>\\n")
    sys.exit(3)
value = "nan" if kind == "nan" else len(kind)
print(f"step 1 loss={value}")
"""
HOSTILE_SPACE = {
    "kind": {"type": "categorical", "choices": ["crash", "nan", "[red]markup", "\x1b[2Jclear"]}
}
LISTINGS = [
    ("status",),
    ("status", "small"),
    ("trials", "small"),
    ("show", "small", "0"),
    ("best", "small"),
    ("spec", "show", "small"),
    ("spec", "show", "small", "--resolved"),
    ("spec", "diff", "small", "small"),
    ("doctor",),
]


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_tune_runs_a_study_and_says_what_came_of_it(luthier: Luthier, write: Write) -> None:
    run = luthier("tune", write())

    assert run.code == 0
    assert "Study small finished: all 4 trials are used" in run.out
    assert "best loss " in run.out
    assert run.err.count("trial ") >= 4


def test_tune_again_shows_the_result_of_a_finished_study(luthier: Luthier, write: Write) -> None:
    first = luthier("tune", write())
    second = luthier("tune", "study.yaml")

    assert second.code == 0
    assert second.out == first.out
    assert second.err == ""


def test_another_name_makes_another_study(luthier: Luthier, write: Write) -> None:
    luthier("tune", write(budget={"trials": 1}))
    luthier("tune", "study.yaml", "--name", "other")

    assert [s["name"] for s in strict_json(luthier("status", "--json").out)] == ["small", "other"]


def test_a_study_that_makes_no_sense_halts_with_exit_code_1(luthier: Luthier, write: Write) -> None:
    run = luthier("tune", write(train='print("nothing here")'))

    assert run.code == 1
    assert "ended without reporting loss" in run.out
    assert "nothing here" in run.out


def test_resume_raises_the_budget_of_a_finished_study(luthier: Luthier, write: Write) -> None:
    luthier("tune", write(budget={"trials": 2}))

    assert luthier("resume", "small", "--trials", 3).code == 0
    status = strict_json(luthier("status", "small", "--json").out)
    assert (status["trials"], status["budget"]["trials"], status["state"]) == (3, 3, "finished")


def test_a_branch_takes_over_what_is_still_valid(luthier: Luthier, write: Write) -> None:
    luthier("tune", write())
    made = luthier("branch", "small", write(name="child", budget={"trials": 1}))
    assert "4 of 4 trials taken over" in made.out

    assert luthier("resume", "child").code == 0
    trials = strict_json(luthier("trials", "child", "--json").out)
    assert [trial["imported"] for trial in trials] == [True] * 4 + [False]
    assert strict_json(luthier("status", "child", "--json").out)["parent"] == "small"


def test_trials_can_be_narrowed_to_a_state(luthier: Luthier, write: Write) -> None:
    luthier("tune", write(train=HOSTILE, space=HOSTILE_SPACE, budget={"trials": 12}))
    trials = strict_json(luthier("trials", "small", "--state", "crashed", "--json").out)

    assert {trial["state"] for trial in trials} == {"crashed"}


@pytest.mark.parametrize("listing", LISTINGS, ids=" ".join)
def test_every_listing_is_strict_json_on_demand(
    luthier: Luthier, write: Write, listing: tuple[str, ...]
) -> None:
    luthier("tune", write(train=HOSTILE, space=HOSTILE_SPACE, budget={"trials": 8}))
    run = luthier(*listing, "--json")

    assert run.code == 0
    assert strict_json(run.out) is not None


@pytest.mark.parametrize("listing", LISTINGS, ids=" ".join)
def test_untrusted_text_cannot_steer_the_terminal(
    luthier: Luthier, write: Write, listing: tuple[str, ...]
) -> None:
    tuned = luthier("tune", write(train=HOSTILE, space=HOSTILE_SPACE, budget={"trials": 8}))
    run = luthier(*listing)

    assert run.code == 0
    for text in (tuned.out, tuned.err, run.out):
        assert "\x1b" not in text
        assert "\x07" not in text


def test_names_that_look_like_markup_are_shown_as_they_are(luthier: Luthier, write: Write) -> None:
    space = {"kind": {"type": "categorical", "choices": ["[red]x", "[/]"], "default": "[/]"}}
    luthier("tune", write(train=HOSTILE, space=space, budget={"trials": 2}))

    for listing in (("trials", "small"), ("status", "small"), ("show", "small", 0)):
        assert "[/]" in luthier(*listing).out


def test_show_gives_the_last_words_of_a_failed_trial_as_they_are(
    luthier: Luthier, write: Write
) -> None:
    space = {"kind": {"type": "categorical", "choices": ["crash", "nan"], "default": "crash"}}
    luthier("tune", write(train=HOSTILE, space=space, budget={"trials": 1}))
    run = luthier("show", "small", 0)

    assert "exit code 3" in run.out
    assert "[bold]no markup[/bold]" in run.out


def test_show_tells_why_the_configuration_was_chosen(luthier: Luthier, write: Write) -> None:
    luthier("tune", write(budget={"trials": 1}))

    assert "default: the defaults, to compare with" in luthier("show", "small", 0).out


def test_init_writes_a_spec_that_tune_runs_unchanged(luthier: Luthier, tmp_path: Path) -> None:
    (tmp_path / "fit.py").write_text(
        "import argparse\n"
        "parser = argparse.ArgumentParser()\n"
        'parser.add_argument("--lr", type=float, default=0.01)\n'
        "args = parser.parse_args()\n"
        "for epoch in range(2):\n"
        '    print(f"epoch {epoch} val_loss={args.lr:.4f}")\n',
        encoding="utf-8",
    )
    wrote = luthier("init", "fit.py")
    assert (wrote.code, wrote.err) == (0, "")
    assert "luthier tune luthier.yaml" in wrote.out

    spec = yaml.safe_load((tmp_path / "luthier.yaml").read_text(encoding="utf-8"))
    spec |= {"budget": {"trials": 2}, "sampler": {"kind": "random"}}
    (tmp_path / "luthier.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    assert luthier("tune", "luthier.yaml").code == 0
    trials = strict_json(luthier("trials", "fit", "--json").out)
    assert [trial["state"] for trial in trials] == ["complete", "complete"]


def test_report_names_the_files_that_it_wrote(luthier: Luthier, write: Write) -> None:
    luthier("tune", write())
    paths = luthier("report", "small", "--output", "out").out.split()

    assert [Path(path).suffix for path in paths] == [".html", ".md"]
    assert all(Path(path).stat().st_size > 0 for path in paths)


def test_a_study_is_exported_as_a_table_or_with_everything(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    luthier("tune", write())

    assert luthier("export", "study", "small", "t.csv").code == 0
    assert luthier("export", "study", "small", "t.json").code == 0
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").startswith("number,state,loss,params.x")
    assert len(strict_json((tmp_path / "t.json").read_text(encoding="utf-8"))["trials"]) == 4


def test_the_exported_reporter_runs_without_luthier(luthier: Luthier, tmp_path: Path) -> None:
    luthier("export", "reporter", "reporter.py")
    code = "import reporter; reporter.report(step=1, loss=0.5)"
    environment = {"LUTHIER_METRICS": str(tmp_path / "metrics.jsonl")}
    subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, env=environment, check=True)

    line = strict_json((tmp_path / "metrics.jsonl").read_text(encoding="utf-8"))
    assert line["metrics"] == {"loss": 0.5}


def test_the_reporter_is_not_written_over_a_file(luthier: Luthier, tmp_path: Path) -> None:
    (tmp_path / "reporter.py").write_text("mine", encoding="utf-8")

    assert luthier("export", "reporter", "reporter.py").code == 2
    assert (tmp_path / "reporter.py").read_text(encoding="utf-8") == "mine"


def test_a_resolved_spec_shows_the_defaults_and_means_the_same(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    resolved = luthier("spec", "show", write(), "--resolved").out
    (tmp_path / "resolved.yaml").write_text(resolved, encoding="utf-8")

    assert "grace_seconds: 10.0" in resolved
    assert luthier("spec", "diff", "study.yaml", "resolved.yaml").out == "They are the same.\n"


def test_the_schema_of_a_spec_is_printed(luthier: Luthier) -> None:
    assert "space" in strict_json(luthier("spec", "schema").out)["properties"]


def test_status_of_an_empty_folder_makes_no_workspace(luthier: Luthier, tmp_path: Path) -> None:
    assert "There are no studies" in luthier("status").out
    assert strict_json(luthier("status", "--json").out) == []
    assert not (tmp_path / "home").exists()


def test_doctor_finds_this_machine_fit(luthier: Luthier) -> None:
    run = luthier("doctor")

    assert run.code == 0
    assert "!!" not in run.out


def test_doctor_says_what_is_wrong(
    luthier: Luthier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.db").write_text("no database " * 100, encoding="utf-8")
    run = luthier("doctor")

    assert run.code == 1
    assert "!! workspace" in run.out


WAIT = """
import pathlib, time
print("step 1 loss=1.0", flush=True)
pathlib.Path("begun").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.01)
print("step 2 loss=0.5")
"""


def test_a_detached_study_is_paused_resumed_and_stopped(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    run = luthier("tune", write(train=WAIT, executor={"device": "cpu", "slots": 1}), "--detach")
    assert "luthier watch small" in run.out
    wait_for(tmp_path / "begun")
    try:
        assert luthier("tune", "study.yaml").code == 2  # another worker runs it
        luthier("pause", "small")
        wait_for_state(luthier, "paused")
        luthier("resume", "small")
        wait_for_state(luthier, "running")
        assert "running" in luthier("status", "small").out
    finally:
        luthier("stop", "small")
    assert "it is stopped" in luthier("watch", "small").out
    states = [t["state"] for t in strict_json(luthier("trials", "small", "--json").out)]
    assert states == ["waiting"]

    (tmp_path / "go").touch()
    assert luthier("resume", "small").code == 0
    trials = strict_json(luthier("trials", "small", "--json").out)
    assert [trial["state"] for trial in trials] == ["complete"] * 4
    assert len(trials[0]["attempts"]) == 2


def test_one_trial_is_ended_and_the_others_go_on(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    budget = {"trials": 1}
    spec = write(train=WAIT, executor={"device": "cpu", "slots": 1}, budget=budget)
    luthier("tune", spec, "--detach")
    wait_for(tmp_path / "begun")
    assert "to stop trial 0." in luthier("stop", "small", "--trial", 0).out
    assert "it is finished" in luthier("watch", "small").out

    (trial,) = strict_json(luthier("trials", "small", "--json").out)
    assert trial["state"] == "killed"
    assert trial["reason"].startswith("stopped by ")


DEAF = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("step 1 loss=1.0", flush=True)
pathlib.Path("begun").touch()
signal.pause()
"""


def test_a_trial_that_will_not_listen_is_stopped_now(
    luthier: Luthier, write: Write, tmp_path: Path
) -> None:
    executor = {"device": "cpu", "slots": 1, "grace_seconds": 3600}
    luthier("tune", write(train=DEAF, executor=executor), "--detach")
    wait_for(tmp_path / "begun")
    luthier("stop", "small", "--now")

    assert "it is stopped" in luthier("watch", "small").out


def wait_for_state(luthier: Luthier, state: str) -> None:
    for _ in range(3000):
        if strict_json(luthier("status", "small", "--json").out)["state"] == state:
            return
    raise AssertionError(f"the study is not {state}")


def test_a_study_that_is_interrupted_says_how_to_go_on(write: Write, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "luthier.app", "tune", write(train=WAIT)],
        cwd=tmp_path,
        env={**os.environ, "LUTHIER_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "begun")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Go on with: luthier resume small" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command",
    [
        "init",
        "tune",
        "status",
        "watch",
        "pause",
        "resume",
        "retry",
        "stop",
        "trials",
        "show",
        "best",
    ]
    + ["branch", "report", "export", "doctor", "spec", "demo"],
)
def test_help_names_every_command(luthier: Luthier, command: str) -> None:
    assert command in luthier("--help").out
    assert luthier(command, "--help").code == 0


def test_help_loads_nothing_slow() -> None:
    code = "import luthier.app.cli, sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert not {"pydantic", "yaml", "sqlalchemy", "optuna", "torch"} & set(run.stdout.split())


@pytest.mark.slow
def test_the_demo_beats_the_defaults_and_resumes(luthier: Luthier, tmp_path: Path) -> None:
    run = luthier("demo")

    assert run.code == 0
    assert "Study demo finished" in run.out
    assert "defaults" in run.out
    assert (tmp_path / "home" / "reports" / "demo.html").stat().st_size > 0
    (study,) = strict_json(luthier("status", "--json").out)
    default = strict_json(luthier("show", "demo", 0, "--json").out)
    assert study["trials"] >= 20
    assert study["best"]["val_acc"] > default["metrics"]["val_acc"]
