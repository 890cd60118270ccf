import io
import logging
import threading

import optuna
import pytest
from luthier.tools.quiet import quiet

SECONDS = 60.0
"""How long a test waits at most for another thread."""


@pytest.fixture
def shown():
    """What Optuna's own handler writes, in place of the screen."""
    screen = io.StringIO()
    (handler,) = [
        h for h in logging.getLogger("optuna").handlers if type(h) is logging.StreamHandler
    ]
    before = handler.setStream(screen)
    yield screen.getvalue
    if before is not None:
        handler.setStream(before)


def say(word):
    optuna.logging.get_logger("optuna.study").warning(word)


def test_what_optuna_logs_is_dropped_inside_only(shown):
    say("before")
    with quiet():
        say("inside")
    say("after")
    assert "before" in shown()
    assert "inside" not in shown()
    assert "after" in shown()


def test_another_thread_is_still_heard(shown):
    inside, over = threading.Event(), threading.Event()

    def work():
        with quiet():
            say("muted")
            inside.set()
            over.wait(SECONDS)
            say("still muted")

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(SECONDS)
    say("heard")
    over.set()
    thread.join(SECONDS)
    assert "heard" in shown()
    assert "muted" not in shown()


def test_it_may_stand_within_itself(shown):
    with quiet():
        with quiet():
            pass
        say("inside")
    assert shown() == ""


def test_an_error_ends_it(shown):
    with pytest.raises(KeyError), quiet():
        raise KeyError
    say("heard")
    assert "heard" in shown()


def test_the_users_level_stays(shown):
    before = optuna.logging.get_verbosity()
    with quiet():
        assert optuna.logging.get_verbosity() == before


def test_optunas_experimental_features_are_not_warned_of(recwarn):
    with quiet():
        optuna.create_study(sampler=optuna.samplers.GPSampler(seed=0))
    assert not [w for w in recwarn if w.category is optuna.exceptions.ExperimentalWarning]
