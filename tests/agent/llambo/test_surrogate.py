"""Predictions: values with uncertainty, and the probability of being among the best."""

import math
import re

import numpy as np
import pytest
from luthier.agent.llambo.asking import Conversation
from luthier.agent.llambo.calibration import (
    LEAST_PAIRS,
    Calibration,
    Pair,
    calibrate,
    pairs_of,
)
from luthier.agent.llambo.context import History, Observation, Problem
from luthier.agent.llambo.predictions import Predictions
from luthier.agent.llambo.surrogate import (
    Calibrated,
    GenerativeSurrogate,
    SampledSurrogate,
    TableSurrogate,
    held_out,
)
from luthier.agent.llm.answers import LLMError
from luthier.evals.advisers import minds
from luthier.evals.suites import load_task
from scipy.stats import norm, spearmanr

CLASSES = [TableSurrogate, SampledSurrogate, GenerativeSurrogate]


@pytest.fixture
def candidates(problem):
    rng = np.random.default_rng(5)
    return [problem.space.sample(rng) for _ in range(5)]


@pytest.mark.parametrize("surrogate", CLASSES)
def test_it_predicts_as_a_gaussian_process_does(surrogate, problem, history, candidates, model):
    made = surrogate(Conversation(model(minds.textbook())), problem, history, 0)

    predictions = made.predict(candidates)

    assert predictions.mean.shape == predictions.sd.shape == (5,)
    assert np.isfinite(predictions.mean).all()
    assert (predictions.sd > 0).all()


@pytest.mark.parametrize("surrogate", CLASSES)
@pytest.mark.parametrize("logprobs", [True, False])
def test_an_adviser_who_knows_the_task_predicts_its_order(surrogate, logprobs, model):
    task = load_task("digits-mlp")
    rng = np.random.default_rng(0)
    tried = [task.space.sample(rng) for _ in range(30)]
    told = [Observation(c, task.objective(c, 0).noise_free) for c in tried[:15]]
    truth = [task.objective(c, 0).noise_free for c in tried[15:]]
    llm = model(minds.expert(task), has_logprobs=logprobs)
    problem = Problem(task.space, task.direction)

    made = surrogate(Conversation(llm), problem, History(tuple(told)), 0)
    predicted = made.predict(tried[15:]).mean

    assert spearmanr(predicted, truth).statistic > 0.7


def test_the_table_takes_one_request_and_the_samples_two_a_candidate(
    problem, history, candidates, model
):
    for surrogate, calls in ((TableSurrogate, 1), (SampledSurrogate, 10)):
        llm = model(minds.textbook())
        surrogate(Conversation(llm), problem, history, 0).predict(candidates)
        assert llm.usage.calls == calls


def test_the_examples_are_shuffled_and_the_same_for_the_same_seed(
    problem, history, candidates, model
):
    def examples(seed):
        llm = model(minds.textbook())
        SampledSurrogate(Conversation(llm), problem, history, seed).predict(candidates[:1])
        texts = [messages[1].content for _, messages in llm.asked]
        return sorted(re.search(r"examples:\n(.*)\(end of examples\)", t, re.S)[1] for t in texts)

    first, second = examples(0)
    assert first != second
    assert sorted(first.splitlines()) == sorted(second.splitlines())
    assert examples(0) == [first, second]
    assert examples(7) != [first, second]


def test_quantiles_become_a_mean_and_a_deviation(problem, history, candidates, says):
    rows = [[i, 1.0, 2.0, 3.5632] for i in range(1, 6)]

    predictions = TableSurrogate(Conversation(says({"scores": rows})), problem, history, 0).predict(
        candidates
    )

    assert predictions.mean == pytest.approx([2.0] * 5)
    assert predictions.sd == pytest.approx([1.0] * 5, rel=1e-4)


def test_what_the_model_leaves_out_is_what_the_history_tells(problem, history, candidates, says):
    rows = [[1, 1, 2, 3], ["2", "1", "2", "3"], [3, 3, 2, 1], [4, 1, None, 3], [99, 1, 2, 3]]
    conversation = Conversation(says({"scores": rows}))

    predictions = TableSurrogate(conversation, problem, history, 0).predict(candidates)

    assert predictions.mean[:3] == pytest.approx([2.0] * 3)
    assert predictions.mean[3:] == pytest.approx([np.mean(history.values)] * 2)
    assert predictions.sd[3:] == pytest.approx([np.std(history.values)] * 2)
    assert conversation.faults["no prediction"] == 2


def test_a_model_can_be_neither_wild_nor_certain(problem, history, candidates, says):
    rows = [[1, 2, 2, 2], [2, -1e299, 1e299, 1e299], [3, 1, 2, 3], [4, 1, 2, 3], [5, 1, 2, 3]]
    spread = np.std(history.values)

    predictions = TableSurrogate(Conversation(says({"scores": rows})), problem, history, 0).predict(
        candidates
    )

    assert predictions.sd[:2] == pytest.approx([1e-3 * spread, 100 * spread])
    assert predictions.mean[1] == pytest.approx(np.mean(history.values) + 100 * spread)
    assert np.isfinite(predictions.expected_improvement(1.0, 1)).all()


@pytest.mark.parametrize("answer", [{"scores": []}, {"scores": [[1, 2, 3, 4], "x", [1e400]]}, "no"])
@pytest.mark.parametrize("surrogate", CLASSES)
def test_too_few_predictions_are_no_answer(problem, history, candidates, says, answer, surrogate):
    llm = says(answer)
    llm.has_logprobs = False
    if surrogate is not TableSurrogate:
        llm = says("no idea")
        llm.has_logprobs = False

    with pytest.raises(LLMError) as raised:
        surrogate(Conversation(llm), problem, history, 0).predict(candidates)
    assert raised.value.cause == "malformed"


def test_a_generative_surrogate_gives_the_probability_that_it_says(problem, history, candidates):
    class Weighing:
        name, has_logprobs = "weighing", True

        def weigh(self, messages, options, **_):
            from luthier.agent.llm.answers import Usage, Weights

            return Weights({"1": 0.2, "0": 0.8}, Usage(10, 1, calls=1))

    made = GenerativeSurrogate(Conversation(Weighing()), problem, history, 0)
    predictions = made.predict(candidates)

    assert made.probabilities(candidates) == pytest.approx([0.2] * 5)
    third_best = sorted(history.values)[2]  # the best quarter of twelve ends there
    below = norm.cdf((third_best - predictions.mean) / predictions.sd)
    assert below == pytest.approx([0.2] * 5)


def test_an_endpoint_that_turns_out_to_have_no_log_probabilities_is_sampled(
    problem, history, candidates, model
):
    llm = model(minds.textbook())

    def weigh(messages, options, **_):
        llm.has_logprobs = False
        raise LLMError("no log-probabilities here", "malformed")

    llm.weigh = weigh
    made = GenerativeSurrogate(Conversation(llm), problem, history, 0)

    assert np.isfinite(made.probabilities(candidates)).all()
    assert {purpose for purpose, _ in llm.asked} == {"promising"}


def test_a_model_that_fails_says_why(problem, history, candidates, failing):
    conversation = Conversation(failing("rate_limited"))

    with pytest.raises(LLMError) as raised:
        SampledSurrogate(conversation, problem, history, 0).predict(candidates)
    assert raised.value.cause == "rate_limited"
    assert conversation.usage.calls == 10


# --- expected improvement -------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_expected_improvement_is_what_it_says(sign):
    rng = np.random.default_rng(0)
    predictions = Predictions(np.array([0.3, -0.2]), np.array([0.5, 0.1]))
    drawn = predictions.mean + predictions.sd * rng.normal(size=(200_000, 2))

    expected = np.maximum(sign * (0.1 - drawn), 0).mean(axis=0)

    assert predictions.expected_improvement(0.1, sign) == pytest.approx(expected, abs=3e-3)


# --- calibration ----------------------------------------------------------------------------


def pairs(count, slope=1.0, offset=0.0, noise=1.0, claimed=1.0, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=count) * 3
    values = offset + slope * means + noise * rng.normal(size=count)
    return [Pair(float(m), claimed, float(v)) for m, v in zip(means, values, strict=True)]


def test_with_few_pairs_nothing_is_corrected():
    few = pairs(LEAST_PAIRS - 1, slope=5.0)

    assert calibrate(few) == Calibration(pairs=LEAST_PAIRS - 1)


def test_an_offset_a_slope_and_overconfidence_are_corrected():
    calibration = calibrate(pairs(300, slope=0.5, offset=2.0, noise=1.0, claimed=0.2))

    assert calibration.intercept == pytest.approx(2.0, abs=0.2)
    assert calibration.slope == pytest.approx(0.5, abs=0.1)
    assert calibration.scale == pytest.approx(5.0, abs=0.6)
    assert calibration.coverage == pytest.approx(0.68, abs=0.06)


def test_what_is_right_already_is_left_nearly_as_it_is():
    calibration = calibrate(pairs(300))

    assert (calibration.slope, calibration.scale) == pytest.approx((1, 1), abs=0.1)


def test_a_surrogate_that_is_always_wrong_loses_its_slope_but_not_its_order():
    calibration = calibrate(pairs(300, slope=-1.0))
    corrected = calibration.apply(Predictions(np.array([1.0, 2.0]), np.array([1.0, 1.0])))

    assert calibration.slope == pytest.approx(0.1)
    assert corrected.mean[0] < corrected.mean[1]


def test_a_calibrated_surrogate_corrects_what_it_predicts(problem, history, candidates, says):
    rows = [[i, 1.0, 2.0, 3.5632] for i in range(1, 6)]
    plain = TableSurrogate(Conversation(says({"scores": rows})), problem, history, 0)

    corrected = Calibrated(plain, Calibration(1.0, 0.5, 2.0)).predict(candidates)

    assert corrected.mean == pytest.approx([2.0] * 5)
    assert corrected.sd == pytest.approx([2.0] * 5, rel=1e-4)


def test_held_out_predictions_have_not_seen_their_trial(problem, history, model):
    llm = model(minds.textbook())

    found = held_out(
        lambda kept: TableSurrogate(Conversation(llm), problem, kept, 0), history, folds=3
    )

    assert sorted(pair.value for pair in found) == sorted(history.values)
    for _, messages in llm.asked:
        text = messages[1].content
        known = text.split("history:\n")[1].split("(end of history)")[0].count("> [")
        assert known == 8
    assert math.isfinite(calibrate(found).log_loss or math.nan)


def test_a_history_remembers_what_was_predicted():
    told = History((Observation({"x": 1}, 2.0, predicted=(1.5, 0.5)), Observation({"x": 2}, 3.0)))

    assert pairs_of(told) == [Pair(1.5, 0.5, 2.0)]
