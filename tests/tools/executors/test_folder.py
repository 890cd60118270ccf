import json
import resource
import subprocess
import sys

import pytest
from luthier.tools.executors.folder import claim, read_json, write_atomically


def test_an_attempt_is_claimed_once(tmp_path):
    assert claim(tmp_path, {"pid": 1})
    assert not claim(tmp_path, {"abandoned": True})
    assert json.loads((tmp_path / "process.json").read_text()) == {"pid": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["process.json"]


def test_of_many_claims_at_once_one_succeeds(tmp_path):
    code = (
        "import sys; from pathlib import Path; from luthier.tools.executors.folder import claim;"
        "sys.stdin.read(); print(claim(Path(sys.argv[1]), {}))"
    )
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.close()  # all of them go on now
    answers = []
    for rival in rivals:
        with rival:
            assert rival.stdout is not None
            answers.append(rival.stdout.read().strip())
    assert sorted(answers) == ["False", "False", "False", "True"]


@pytest.fixture
def full_disk():
    """No file may grow beyond 10 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path, request):
    path = tmp_path / "outcome.json"
    write_atomically(path, {"exit_code": 0})
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match="File too large"):
        write_atomically(path, {"exit_code": 1})
    assert json.loads(path.read_text()) == {"exit_code": 0}


def test_a_folder_that_is_gone_is_made_anew(tmp_path):
    folder = tmp_path / "0" / "1"
    write_atomically(folder / "outcome.json", {"exit_code": 0})
    assert read_json(folder / "outcome.json") == {"exit_code": 0}


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "[" * 100_000])
def test_a_damaged_file_is_as_good_as_none(tmp_path, content):
    path = tmp_path / "stop"
    if content is not None:
        path.write_text(content)
    assert read_json(path) is None


def test_a_folder_in_the_place_of_a_file_is_as_good_as_none(tmp_path):
    assert read_json(tmp_path) is None
