"""The queue of proposals, with a sampler whose every step the test decides."""

import queue
import threading
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from luthier.agent.classical import Proposal
from luthier.agent.proposals import ProposalQueue
from luthier.tools.outcomes import Outcome
from luthier.tools.records import Decision, TrialRecord

SECONDS = 60.0
"""How long a test waits at most for the queue's thread."""


def trial(number, state="running", x=None):
    return TrialRecord(
        id=number,
        number=number,
        state=state,
        reason="",
        configuration={"x": number if x is None else x},
        metrics={},
        source="test",
        created_at=0.0,
        finished_at=None,
    )


def history(*states):
    return [trial(number, state) for number, state in enumerate(states)]


def smallest_unused(known):
    """Propose as a sampler would that always wants the same point, so that it may repeat itself."""
    used = {t.configuration["x"] for t in known}
    return next(x for x in range(10**6) if x not in used)


class Sampler:
    """Makes a proposal only when the test lets it."""

    def __init__(self):
        self.entered = queue.Queue()
        self.answers = queue.Queue()
        self.over = False

    def propose(self, known):
        if self.over:
            raise RuntimeError("over")
        self.entered.put(list(known))
        answer = self.answers.get(timeout=SECONDS)
        if isinstance(answer, Exception):
            raise answer
        source, seconds = answer
        return proposal(known, source, seconds)

    def asked(self):
        """Wait until it is asked for a proposal; return the history that it is shown."""
        return self.entered.get(timeout=SECONDS)

    def answer(self, source="model", seconds=0.0):
        self.answers.put((source, seconds))

    def fail(self, error=None):
        self.answers.put(error or ValueError("singular matrix"))

    def let_go(self):
        self.over = True
        for _ in range(3):
            self.fail()


def proposal(known, source, seconds=0.0):
    decision = Decision(source=source, reason=source, seconds=seconds)
    return Proposal({"x": smallest_unused(known)}, decision)


class Bench:
    """A queue on a sampler that waits for the test."""

    def __init__(self, depth=1):
        self.sampler = Sampler()
        self.ready = threading.Semaphore(0)
        self.queue = ProposalQueue(
            self.sampler.propose,
            lambda known: proposal(known, "fallback"),
            depth=depth,
            on_ready=self.ready.release,
        )

    def tell(self, *states):
        known = history(*states)
        self.queue.prepare(known, sum(t.is_finished for t in known))

    def until_ready(self):
        assert self.ready.acquire(timeout=SECONDS)

    def make(self, **how):
        """Let the sampler make one proposal; return the history that it was shown."""
        shown = self.sampler.asked()
        self.sampler.answer(**how)
        self.until_ready()
        return shown

    def close(self):
        self.sampler.let_go()
        self.queue.close()


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.close()


@pytest.fixture
def deep():
    made = Bench(depth=3)
    yield made
    made.close()


IMPATIENT = (0.0, 0.0)
PATIENT = (0.0, 60.0)
AFTER_PATIENCE = (60.0, 60.0)


def xs(known):
    return [t.configuration["x"] for t in known]


# --- what is taken --------------------------------------------------------------------------


def test_nothing_is_proposed_before_it_is_asked_for(bench):
    assert bench.queue.take(0.0, 1.0) is None
    assert bench.sampler.entered.empty()


def test_a_proposal_is_prepared_ahead_and_taken_at_once(bench):
    bench.tell(Outcome.COMPLETE, "running")
    assert xs(bench.make()) == [0, 1]
    taken = bench.queue.take(*PATIENT)
    assert taken.configuration == {"x": 2}
    assert taken.decision == Decision("model", "model", 1, 1, 0.0, deadline_missed=False)


def test_after_one_is_taken_the_next_knows_of_it(bench):
    bench.tell(Outcome.COMPLETE)
    bench.make()
    bench.queue.take(*PATIENT)
    shown = bench.make()
    assert xs(shown) == [0, 1]
    assert (shown[1].state, shown[1].is_finished) == ("running", False)
    assert bench.queue.take(*PATIENT).configuration == {"x": 2}


def test_a_fresher_one_is_waited_for_until_patience_ends(bench):
    bench.tell("running")
    bench.make()
    bench.tell(Outcome.COMPLETE)
    bench.sampler.asked()
    assert bench.queue.take(0.0, 5.0) is None
    assert bench.queue.take(4.9, 5.0) is None
    taken = bench.queue.take(5.0, 5.0)
    assert (taken.configuration, taken.decision.deadline_missed) == ({"x": 1}, True)
    assert (taken.decision.seen_ended, taken.decision.seen_pending) == (0, 1)


def test_a_fresher_one_replaces_the_older(bench):
    bench.tell("running")
    bench.make(source="old")
    bench.tell(Outcome.COMPLETE)
    bench.make(source="new")
    taken = bench.queue.take(*PATIENT)
    assert (taken.decision.source, taken.decision.deadline_missed) == ("new", False)


def test_one_that_took_longer_than_the_patience_is_taken_at_once(bench):
    bench.tell("running")
    bench.make(seconds=3.0)
    bench.tell(Outcome.COMPLETE)
    bench.sampler.asked()
    assert bench.queue.take(0.0, 3.5) is None
    assert bench.queue.take(0.0, 2.5).decision.deadline_missed


def test_a_result_that_arrives_meanwhile_does_not_lose_the_work(bench):
    bench.tell("running")
    shown = bench.sampler.asked()
    bench.tell(Outcome.COMPLETE)
    bench.sampler.answer(source="old")
    bench.until_ready()
    assert xs(bench.sampler.asked()) == xs(shown), "the new history is worked on already"
    taken = bench.queue.take(*AFTER_PATIENCE)
    assert (taken.decision.source, taken.decision.deadline_missed) == ("old", True)


def test_as_many_as_wanted_are_prepared_and_each_has_seen_those_before(deep):
    deep.tell(Outcome.COMPLETE)
    assert [xs(deep.make()) for _ in range(3)] == [[0], [0, 1], [0, 1, 2]]
    assert deep.sampler.entered.empty()
    taken = [deep.queue.take(*PATIENT) for _ in range(3)]
    assert [t.configuration["x"] for t in taken] == [1, 2, 3]
    assert not any(t.decision.deadline_missed for t in taken)


def test_one_that_is_made_while_another_is_taken_stays_good(deep):
    deep.tell()
    deep.make()
    assert xs(deep.sampler.asked()) == [0]
    assert deep.queue.take(*PATIENT).configuration == {"x": 0}
    deep.sampler.answer()
    deep.until_ready()
    assert deep.queue.take(*PATIENT).configuration == {"x": 1}


def test_what_is_made_while_an_older_one_is_taken_is_made_again(bench):
    bench.tell("running")
    bench.make(source="old")
    bench.tell(Outcome.COMPLETE)
    assert xs(bench.sampler.asked()) == [0], "it has not seen the one that is taken now"
    assert bench.queue.take(*AFTER_PATIENCE).configuration == {"x": 1}
    bench.sampler.answer(source="blind")
    assert xs(bench.make(source="seeing")) == [0, 1]
    taken = bench.queue.take(*PATIENT)
    assert (taken.configuration, taken.decision.source) == ({"x": 2}, "seeing")


def test_older_ones_that_are_left_are_still_different(deep):
    deep.tell("running")
    for _ in range(3):
        deep.make()
    deep.tell(Outcome.COMPLETE)
    taken = [deep.queue.take(*AFTER_PATIENCE).configuration["x"] for _ in range(3)]
    assert taken == [1, 2, 3]


# --- when the sampler fails -----------------------------------------------------------------


def test_the_fallback_answers_at_once_when_the_sampler_fails(bench):
    bench.tell(Outcome.COMPLETE)
    bench.sampler.asked()
    bench.sampler.fail(ValueError("singular matrix"))
    bench.until_ready()
    taken = bench.queue.take(*PATIENT)
    assert taken.configuration == {"x": 1}
    assert (taken.decision.source, taken.decision.deadline_missed) == ("fallback", True)
    assert taken.decision.reason == "fallback; the sampler failed: singular matrix"


def test_after_a_failure_the_sampler_is_asked_again_with_what_was_taken(bench):
    bench.tell(Outcome.COMPLETE)
    bench.sampler.asked()
    bench.sampler.fail()
    bench.until_ready()
    bench.queue.take(*PATIENT)
    assert xs(bench.make()) == [0, 1]
    assert bench.queue.take(*PATIENT).decision.source == "model"


def test_after_a_failure_a_new_result_lets_the_sampler_try_again(bench):
    bench.tell("running")
    bench.sampler.asked()
    bench.sampler.fail()
    bench.until_ready()
    bench.tell(Outcome.COMPLETE)
    bench.make()
    taken = bench.queue.take(*PATIENT)
    assert (taken.decision.source, taken.decision.seen_ended) == ("model", 1)


def test_a_failure_on_an_old_history_does_not_count_against_the_new_one(bench):
    bench.tell("running")
    bench.sampler.asked()
    bench.tell(Outcome.COMPLETE)
    bench.sampler.fail()
    bench.make()
    assert bench.queue.take(*PATIENT).decision.source == "model"


def test_an_older_proposal_is_better_than_the_fallback(bench):
    bench.tell("running")
    bench.make(source="old")
    bench.tell(Outcome.COMPLETE)
    bench.sampler.asked()
    bench.sampler.fail()
    bench.until_ready()
    taken = bench.queue.take(*PATIENT)
    assert (taken.decision.source, taken.decision.deadline_missed) == ("old", True)


def test_the_fallback_answers_when_the_sampler_hangs(bench):
    bench.tell(Outcome.COMPLETE)
    bench.sampler.asked()
    assert bench.queue.take(10.0, 1.0) is None
    assert bench.queue.take(25.0, 30.0) is None, "patience may be longer than that"
    taken = bench.queue.take(25.0, 1.0)
    assert (taken.decision.source, taken.decision.deadline_missed) == ("fallback", True)
    assert taken.decision.reason == "fallback; the sampler took over 20 s"


def test_what_hung_is_thrown_away_when_it_comes_at_last(bench):
    bench.tell(Outcome.COMPLETE)
    bench.sampler.asked()
    assert bench.queue.take(25.0, 1.0).configuration == {"x": 1}
    bench.sampler.answer(source="too late")
    assert xs(bench.make(source="model")) == [0, 1]
    taken = bench.queue.take(*PATIENT)
    assert (taken.decision.source, taken.configuration) == ("model", {"x": 2})


def test_the_fallback_knows_of_all_that_were_taken(bench):
    bench.tell(Outcome.COMPLETE)
    bench.sampler.asked()
    taken = [bench.queue.take(25.0, 1.0).configuration["x"] for _ in range(3)]
    assert taken == [1, 2, 3]


# --- its end --------------------------------------------------------------------------------


def test_close_waits_for_the_proposal_that_is_being_made():
    bench = Bench()
    bench.tell()
    bench.sampler.asked()
    closing = threading.Thread(target=bench.queue.close)
    closing.start()
    assert closing.is_alive()
    bench.sampler.answer()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert not bench.queue._thread.is_alive()
    assert bench.sampler.entered.empty(), "no other one is begun"


def test_close_ends_an_idle_queue():
    bench = Bench()
    bench.queue.close()
    assert not bench.queue._thread.is_alive()


# --- any order of events --------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Results, takes, answers and failures in any order, as a tuner with some slots makes them."""

    def __init__(self):
        super().__init__()
        self.bench = None
        self.trials = []
        self.handed_out = []
        self.seen = {}
        """Which history each proposal was made from."""
        self.inside = None
        """The history that the sampler is working on, if it is."""

    @initialize(depth=st.integers(1, 3))
    def begin(self, depth):
        self.bench = Bench(depth)
        self.settle()

    def settle(self):
        """Wait until the queue's thread is inside the sampler, or has nothing to do.

        It touches the queue under its lock only, so all that can happen in between is the same.
        """
        while self.inside is None:
            try:
                self.inside = self.bench.sampler.entered.get(timeout=0.001)
            except queue.Empty:
                with self.bench.queue._changed:
                    idle = not self.bench.queue._is_short()
                if idle and self.bench.sampler.entered.empty():
                    return

    def take(self, waited, patience):
        taken = self.bench.queue.take(waited, patience)
        if taken is not None:
            x = taken.configuration["x"]
            assert x not in self.handed_out, "no configuration is handed out twice"
            if taken.decision.source in self.seen:
                known = self.seen[taken.decision.source]
                assert set(self.handed_out) <= set(xs(known)), "it saw all before it"
                if not taken.decision.deadline_missed:
                    ended = [t.number for t in self.trials if t.is_finished]
                    assert ended == [t.number for t in known if t.is_finished]
            else:
                assert taken.decision.source == "fallback"
                assert taken.decision.deadline_missed
            self.handed_out.append(x)
            self.trials.append(trial(len(self.trials), x=x))
        self.settle()
        return taken

    @rule(waited=st.sampled_from([0.0, 1.0, 30.0]), patience=st.sampled_from([0.0, 1.0, 60.0]))
    def take_one(self, waited, patience):
        self.take(waited, patience)

    @rule()
    def take_one_in_any_case(self):
        assert self.take(100.0, 1.0) is not None

    @rule(data=st.data(), share=st.integers(0, 2))
    def results_arrive(self, data, share):
        running = [t for t in self.trials if not t.is_finished]
        if running and share:
            ended = data.draw(st.sampled_from(running))
            self.trials[ended.number] = replace(ended, state=Outcome.COMPLETE)
        self.bench.queue.prepare(self.trials, sum(t.is_finished for t in self.trials))
        self.settle()

    @precondition(lambda self: self.inside is not None)
    @rule(seconds=st.sampled_from([0.0, 10.0]))
    def the_sampler_answers(self, seconds):
        name = f"model {len(self.seen)}"
        self.seen[name], self.inside = self.inside, None
        self.bench.sampler.answer(name, seconds)
        self.settle()

    @precondition(lambda self: self.inside is not None)
    @rule()
    def the_sampler_fails(self):
        self.inside = None
        self.bench.sampler.fail()
        self.settle()

    @invariant()
    def the_queue_is_never_longer_than_wanted(self):
        if self.bench is not None:
            assert len(self.bench.queue._ready) <= self.bench.queue._depth

    def teardown(self):
        if self.bench is not None:
            self.bench.close()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    derandomize=True, deadline=None, max_examples=150, stateful_step_count=40, database=None
)
