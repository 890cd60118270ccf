"""How many trials a language model earns."""

from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.agent.credit import Record, Turn, is_models_turn, records, share_of

STARTS = [Turn("nobody", loss=float(loss)) for loss in (9, 5, 7, 6, 8)]


def play(model: float, classical: float, trials: int = 40) -> list[str]:
    """Let both propose, each with trials that are as good as its skill, and return who did.

    A skill is the share of all earlier trials that each of its trials beats.
    """
    turns = list(STARTS)
    for _ in range(trials):
        by = "model" if is_models_turn(turns) else "classical"
        skill = model if by == "model" else classical
        known = sorted(turn.loss for turn in turns if turn.loss is not None)
        at = round((1 - skill) * len(known))
        low = known[at - 1] if at else known[0] - 1.0
        high = known[at] if at < len(known) else known[-1] + 1.0
        turns.append(Turn(by, loss=(low + high) / 2))  # type: ignore[arg-type]
    return [turn.by for turn in turns[len(STARTS) :]]


def test_the_first_turn_after_the_start_is_the_models() -> None:
    assert is_models_turn(STARTS)


def test_a_model_that_always_has_the_best_gets_most_trials() -> None:
    by = play(model=1.0, classical=0.5)
    assert by.count("model") > 24


def test_a_model_that_always_has_the_worst_gets_a_probe_now_and_then() -> None:
    by = play(model=0.0, classical=0.8)
    assert by[:10].count("model") <= 3
    assert 1 <= by[10:].count("model") <= 4


def test_a_model_that_becomes_good_gets_its_trials_back() -> None:
    bad = [Turn("model", loss=10.0)] * 3
    ours = [Turn("classical", loss=4.0), Turn("classical", loss=4.5)]
    turns = [*STARTS, *bad, *ours]
    low = share_of(*records(turns))
    turns += [Turn("model", loss=4.0 - k) for k in range(1, 6)]
    assert share_of(*records(turns)) > low + 0.2


def test_a_model_as_good_as_the_classical_optimiser_gets_less_than_half_because_it_costs() -> None:
    same = Record(5.0, 5.0)
    assert 0.2 < share_of(same, same) < 0.5


def test_advice_that_was_nothing_counts_as_a_trial_without_merit() -> None:
    before, _ = records(STARTS)
    after, _ = records(STARTS, refused=1)
    assert (after.wins, after.losses) == (0.9 * before.wins, 0.9 * before.losses + 1)


def test_who_passes_the_exam_begins_at_once_and_who_fails_waits_for_a_probe() -> None:
    assert is_models_turn(STARTS, exam=0.9)
    for exam in (0.3, 0.0, -1.0):
        turns = list(STARTS)
        for k in range(10):
            assert not is_models_turn(turns, exam=exam)
            turns.append(Turn("classical", loss=4.0 - k))
        assert is_models_turn(turns, exam=exam)


def test_a_running_trial_is_a_turn_that_was_taken_but_shows_nothing() -> None:
    running = Turn("model", ended=False)
    assert records([*STARTS, running]) == records(STARTS)
    assert not is_models_turn([*STARTS, running])


def test_a_failed_trial_has_no_merit() -> None:
    failed, _ = records([*STARTS, Turn("model", loss=None)])
    worst, _ = records([*STARTS, Turn("model", loss=99.0)])
    assert failed == worst


turns_of_any_kind = st.lists(
    st.builds(
        Turn,
        st.sampled_from(["model", "classical", "nobody"]),
        st.booleans(),
        st.none() | st.floats(-1e9, 1e9),
    ),
    max_size=40,
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(turns_of_any_kind, st.integers(0, 5))
def test_a_share_is_a_share_and_depends_on_nothing_else(turns: list[Turn], refused: int) -> None:
    share = share_of(*records(turns, refused))
    assert share == 0.0 or 0.2 <= share <= 1.0
    assert share_of(*records(turns, refused)) == share
