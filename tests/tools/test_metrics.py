import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools.metrics import (
    MAX_LINE,
    MetricsFile,
    OutputReader,
    Report,
    compile_pattern,
    parse_report,
)

examples = settings(derandomize=True, deadline=None, max_examples=80, database=None)


def read(line, *, patterns=None, names=()):
    return OutputReader(patterns or {}, frozenset(names)).read(line)


@pytest.mark.parametrize(
    ("pattern", "line", "step", "value"),
    [
        ("loss {value}", "loss 0.25", 1, 0.25),
        ("loss {value}", "LOSS \t 2.5e-3,", 1, 0.0025),
        ("loss={value}%", "loss=-12% of all", 1, -12.0),
        ("epoch {step} * val_acc={value}", "epoch 3 (2.1 s) loss=1 val_acc=.5", 3, 0.5),
        ("[{step}/*] acc {value}", "INFO [7/10] acc 1.", 7, 1.0),
        ("a.c {value}", "abc 1", None, None),
        ("loss {value}", "loss none", None, None),
        ("loss {value}", "loss inf", 1, math.inf),
        ("loss {value}", "loss -Infinity", 1, -math.inf),
        ("(loss) {value} [$^", "(loss) 3 [$^", 1, 3.0),
    ],
)
def test_a_pattern_is_literal_text_with_placeholders(pattern, line, step, value):
    reports = read(line, patterns={"m": pattern})
    assert reports == ([] if value is None else [Report(step, {"m": value})])


def test_nan_is_a_value():
    (report,) = read("loss nan", patterns={"loss": "loss {value}"})
    assert math.isnan(report.metrics["loss"])


def test_matches_without_a_step_are_counted_for_each_metric():
    reader = OutputReader({"a": "a {value}", "b": "b {value}"}, frozenset())
    lines = ["a 1", "b 2", "a 3 b 4", "nothing"]
    assert [reader.read(line) for line in lines] == [
        [Report(1, {"a": 1.0})],
        [Report(1, {"b": 2.0})],
        [Report(2, {"a": 3.0}), Report(2, {"b": 4.0})],
        [],
    ]


@pytest.mark.parametrize(
    ("line", "reports"),
    [
        ('{"epoch": 2, "acc": 0.5, "lr": 1}', [Report(2, {"acc": 0.5})]),
        ('  {"step": 0, "acc": 1}', [Report(0, {"acc": 1.0})]),
        ('{"acc": 1}', [Report(None, {"acc": 1.0})]),
        ('{"step": -1, "acc": 1}', [Report(None, {"acc": 1.0})]),
        ('{"step": Infinity, "acc": 1}', [Report(None, {"acc": 1.0})]),
        ('{"acc": "1"}', []),
        ('{"acc": true}', []),
        ('{"acc": 1' + "0" * 400 + "}", []),
        ('{"lr": 1}', []),
        ('{"acc": 1', []),
        ("{" * 5000, []),
        ('{"acc": ' + "[" * 5000, []),
    ],
)
def test_json_lines_on_standard_output_report_the_metrics_that_are_asked_for(line, reports):
    assert read(line, names=["acc"]) == reports


def test_a_huge_line_is_looked_at_only_in_its_beginning():
    patterns = {"loss": "loss {value}"}
    assert read("loss 1 " + "x" * 10**7, patterns=patterns) == [Report(1, {"loss": 1.0})]
    assert read("x" * MAX_LINE + " loss 1", patterns=patterns) == []


@pytest.mark.parametrize("step", ["9" * 20, "9" * 5000], ids=["20 digits", "5000 digits"])
def test_a_step_that_no_database_holds_is_passed_over(step):
    assert read(f"epoch {step} loss 1", patterns={"loss": "epoch {step} loss {value}"}) == []
    assert parse_report(b'{"step": %s, "metrics": {"a": 1}}' % step.encode()) is None


@examples
@given(st.text(max_size=200))
def test_no_line_breaks_the_reader(line):
    patterns = {"a": "{step} * {value}", "b": "loss {value}"}
    for report in read(line, patterns=patterns, names=["a"]):
        assert report.step is None or report.step >= 0


@examples
@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(line):
    parse_report(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"metrics": {}}',
        b'{"metrics": {"a": null}}',
        b'{"metrics": {"a": 1}, "step": -1}',
        b'{"metrics": {"a": 1}, "step": 1.5}',
        b'{"metrics": {"a": 1}, "step": true}',
        b'{"metrics": [1]}',
        b'\xff{"metrics": {"a": 1}}',
    ],
)
def test_what_is_no_report_is_none(line):
    assert parse_report(line) is None


def line_of(**metrics):
    return json.dumps({"step": 1, "metrics": metrics}).encode() + b"\n"


def test_a_file_is_followed_as_it_grows(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    assert file.read_new() == []
    file.path.write_bytes(line_of(a=1))
    assert file.read_new() == [Report(1, {"a": 1.0})]
    assert file.read_new() == []
    with file.path.open("ab") as appended:
        appended.write(line_of(a=2) + line_of(a=3))
    assert [report.metrics["a"] for report in file.read_new()] == [2.0, 3.0]


@examples
@given(st.integers(0, 100))
def test_a_torn_line_is_read_once_it_is_whole(tmp_path_factory, cut):
    content = line_of(a=1) + line_of(b=2) + line_of(c=3)
    file = MetricsFile(tmp_path_factory.mktemp("torn") / "metrics.jsonl")
    file.path.write_bytes(content[:cut])
    first = file.read_new()
    file.path.write_bytes(content)
    names = [name for report in first + file.read_new() for name in report.metrics]
    assert names == ["a", "b", "c"]


@pytest.mark.parametrize("later", [[2], [2, 3, 4], [2] * 100])
def test_a_file_that_was_replaced_is_read_from_its_start(tmp_path, later):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.path.write_bytes(line_of(a=0) + line_of(a=1))
    assert len(file.read_new()) == 2
    file.path.unlink()
    file.path.write_bytes(b"".join(line_of(a=value) for value in later))
    assert [report.metrics["a"] for report in file.read_new()] == later


def test_foreign_and_huge_lines_are_passed_over(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    huge = b'{"metrics": {"a": 1}, "x": "' + b"x" * (3 << 20) + b'"}\n'
    file.path.write_bytes(b"hello\n\xff\n{}\n" + line_of(a=1) + huge + line_of(b=2))
    assert file.read_new() == [Report(1, {"a": 1.0})]
    assert file.read_new() == [Report(1, {"b": 2.0})]
    assert file.read_new() == []


def test_a_name_with_half_a_character_is_mended():
    report = parse_report(b'{"metrics": {"\\ud800a": 1, "\\u00e9": 2}}')
    assert report == Report(None, {"?a": 1.0, "\u00e9": 2.0})


def test_a_long_line_that_almost_matches_does_not_make_the_search_explode() -> None:
    pattern = compile_pattern("a * b * c * d * e={value}")

    assert pattern.search("a b c d " * 1250) is None
    assert pattern.search("a b c d " * 100 + "e=3")["value"] == "3"
