"""The conversations of a server, without a browser: who answers, and what outlives whom."""

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from luthier.agent.conversations import ConversationError
from luthier.agent.toolbox.desk import Desk
from luthier.app.ui.chat import ChatColumn, UsageError
from luthier.app.ui.talking import Talks, UploadError
from luthier.app.ui.watching import Watch
from luthier.app.ui.writing import write
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.server import serve
from luthier.evals.browsing import until
from luthier.tools.workspace import Workspace
from PIL import Image

Model = Callable[[Callable[[Request], Reply]], None]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"LUTHIER_LLM_{name}", raising=False)
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    import contextlib

    with contextlib.ExitStack() as stack:

        def set_up(mind: Callable[[Request], Reply]) -> None:
            server = stack.enter_context(serve(mind))
            monkeypatch.setenv("LUTHIER_LLM_BASE_URL", server.url)
            monkeypatch.setenv("LUTHIER_LLM_MODEL", server.model)

        yield set_up


@pytest.fixture
def talks(tmp_path: Path) -> Talks:
    return Talks(Desk(Workspace(tmp_path / "home"), tmp_path, person="ada"))


@pytest.fixture
def chat(talks: Talks) -> ChatColumn:
    return ChatColumn(talks, Watch(talks.desk.workspace))


def said(talks: Talks, id: str) -> list[str]:
    """Return what was said, once nobody says more."""
    until(lambda: not talks.talk(id).live.busy, "the end of the turn")
    return [data["text"] for kind, data in talks.view(id).turns if kind in ("person", "text")]


def test_what_is_said_is_answered_without_anybody_looking(chat: ChatColumn, talks: Talks) -> None:
    id = chat.say(None, {"text": "/help", "files": []})
    question, *answer = said(talks, id)
    assert question == "/help"
    assert "/tune" in " ".join(answer)
    assert talks.latest() == id
    assert talks.spoken() == [(id, "/help")]


def test_a_conversation_goes_on_in_another_server(
    chat: ChatColumn, talks: Talks, tmp_path: Path
) -> None:
    id = chat.say(None, {"text": "/help", "files": []})
    before = said(talks, id)
    other = Talks(talks.desk)
    assert said(other, id) == before
    ChatColumn(other, Watch(talks.desk.workspace)).say(id, {"text": "/status", "files": []})
    assert said(other, id)[: len(before) + 1] == [*before, "/status"]


def test_another_persons_conversation_is_not_shown(chat: ChatColumn, talks: Talks) -> None:
    id = chat.say(None, {"text": "/help", "files": []})
    said(talks, id)
    eve = Talks(Desk(talks.desk.workspace, talks.desk.project, person="eve"))
    with pytest.raises(ConversationError, match="ada's, not eve's"):
        eve.talk(id)
    assert eve.spoken() == []


def test_an_answer_can_be_stopped_in_the_middle(
    chat: ChatColumn, talks: Talks, model: Model
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(request: Request) -> Reply:
        asked.set()
        go_on.wait(30)
        return Reply(("one two three four five six",))

    model(slow)
    id = chat.say(None, {"text": "tell me all", "files": []})
    asked.wait(30)
    talks.talk(id).stop()
    go_on.set()
    until(lambda: not talks.talk(id).live.busy, "the end of the turn")
    assert [data["reason"] for kind, data in talks.view(id).turns if kind == "interrupted"] == [
        "you stopped it; what it had started goes on"
    ]


def test_the_model_may_be_set_up_between_two_turns(
    chat: ChatColumn, talks: Talks, model: Model
) -> None:
    id = chat.say(None, {"text": "hello", "files": []})
    assert "/help" in said(talks, id)[-1]
    model(lambda request: Reply(("I am here now.",)))
    chat.say(id, {"text": "hello again", "files": []})
    assert said(talks, id)[-1] == "I am here now."


def test_settings_that_make_no_sense_are_told_and_the_talk_goes_on(
    chat: ChatColumn, talks: Talks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("LUTHIER_LLM_BASE_URL", "not a URL")
        patch.setenv("LUTHIER_LLM_MODEL", "m")
        id = chat.say(None, {"text": "/help", "files": []})
        until(lambda: not talks.talk(id).live.busy, "the end of the turn")
        assert "base_url" in talks.talk(id).live.problem
    chat.say(id, {"text": "/help", "files": []})
    assert "/tune" in said(talks, id)[-1]


def test_a_file_that_is_dropped_lies_in_the_project_and_replaces_none(
    chat: ChatColumn, talks: Talks, tmp_path: Path
) -> None:
    upload = tmp_path / "cache" / "table.csv"
    upload.parent.mkdir()
    upload.write_text("a,b\n1,2\n")
    id = chat.say(None, {"text": "", "files": [str(upload)]})
    upload.write_text("a,b\n3,4\n")
    chat.say(id, {"text": "and this", "files": [str(upload)]})
    assert (tmp_path / "uploads" / "table.csv").read_text() == "a,b\n1,2\n"
    assert (tmp_path / "uploads" / "table-2.csv").read_text() == "a,b\n3,4\n"
    assert "and this\nI have put uploads/table-2.csv here." in said(talks, id)


def test_a_zip_of_images_becomes_a_file_to_train_on(
    chat: ChatColumn, talks: Talks, tmp_path: Path
) -> None:
    upload = tmp_path / "pets.zip"
    with zipfile.ZipFile(upload, "w") as file:
        for name, color in (("cat", "red"), ("dog", "blue")):
            content = io.BytesIO()
            Image.new("RGB", (8, 8), color).save(content, "PNG")
            file.writestr(f"{name}/1.png", content.getvalue())
    id = chat.say(None, {"text": "", "files": [str(upload)]})
    words = "I have put uploads/pets.npz (2 images of 2 classes, made 32 x 32 pixels large) here."
    assert words in said(talks, id)
    assert np.load(tmp_path / "uploads" / "pets.npz")["y"].tolist() == ["cat", "dog"]


def test_a_file_of_another_kind_is_refused_and_nothing_is_said(
    chat: ChatColumn, talks: Talks, tmp_path: Path
) -> None:
    upload = tmp_path / "weights.exe"
    upload.write_bytes(b"MZ")
    with pytest.raises(UploadError, match=r"weights.exe.*\.csv, \.parquet"):
        chat.say(None, {"text": "use this", "files": [str(upload)]})
    assert talks.latest() is None
    assert not (tmp_path / "uploads").exists()


@pytest.mark.parametrize("given", [{}, {"text": "  \n", "files": []}, {"text": None}])
def test_an_empty_message_is_no_message(chat: ChatColumn, given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="nothing to send"):
        chat.say(None, given)


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://elsewhere.example/secret.png)",
        "[click](javascript:alert(1)) <https://elsewhere.example>",
        "<img src=http://elsewhere.example/x onerror=alert(1)><script>alert(1)</script>",
        "[x]: http://elsewhere.example 'y'\n\n![x]",
    ],
)
def test_nothing_that_a_model_says_can_act_or_fetch(text: str) -> None:
    items = [{"kind": "luthier", "text": text, "by": "planner"}]
    html = write("chat", items=items, left_out=0, model="m", examples=())
    for tag in ("<img", "<a ", "<script", "href=", "src=x"):
        assert tag not in html
