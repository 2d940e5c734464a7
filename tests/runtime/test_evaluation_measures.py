"""The measures against trec_eval itself, digit for digit, and the tie-breaks that this takes."""

import random
from dataclasses import astuple

import pytest
import pytrec_eval

from kubeembed_runtime.evaluation.measures import Figures, mean, measured, ordered

Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]

MEASURES = {"ndcg_cut.10", "recip_rank", "recall.100"}
NOTHING = Figures(ndcg_at_10=0.0, mrr_at_10=0.0, recall_at_100=0.0)


def trec_eval(qrels: Qrels, run: Run) -> dict[str, Figures]:
    """By query. trec_eval's reciprocal rank looks at the whole run: below a tenth it is behind rank 10."""
    evaluated = pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(run)
    return {
        query: Figures(
            ndcg_at_10=found["ndcg_cut_10"],
            mrr_at_10=found["recip_rank"] if found["recip_rank"] >= 0.1 else 0.0,
            recall_at_100=found["recall_100"],
        )
        for query, found in evaluated.items()
    }


def ours(qrels: Qrels, run: Run) -> dict[str, Figures]:
    return {
        query: measured(qrels[query], ordered(scores))
        for query, scores in run.items()
        if query in qrels
    }


def score(draw: random.Random) -> float:
    """Many are equal, some only in float32, and some are negative."""
    return draw.choice(
        [
            float(draw.randint(-3, 3)),
            draw.randint(0, 5) / 3 + draw.random() * 1e-9,
            draw.gauss(0, 1),
        ]
    )


def drawn(seed: int) -> tuple[Qrels, Run]:
    """Judged queries without a run, runs without judgements, grades of -1 to 3, ids of any alphabet."""
    draw = random.Random(seed)
    documents = [f"{draw.choice(['d', 'D', 'é', '語', ''])}{n}" for n in range(300)]
    queries = [f"q{n}" for n in range(12)]
    qrels = {
        query: {name: draw.randint(-1, 3) for name in draw.sample(documents, draw.randint(1, 60))}
        for query in draw.sample(queries, 9)
    }
    run = {
        query: {name: score(draw) for name in draw.sample(documents, draw.randint(1, 250))}
        for query in draw.sample(queries, 9)
    }
    return qrels, run


@pytest.mark.parametrize("seed", range(40))
def test_figures_of_random_runs_are_those_of_trec_eval(seed: int) -> None:
    qrels, run = drawn(seed)
    theirs = trec_eval(qrels, run)
    assert ours(qrels, run) == theirs
    columns = zip(*map(astuple, theirs.values()), strict=True)
    means = [pytrec_eval.compute_aggregated_measure("ndcg", list(column)) for column in columns]
    assert astuple(mean(ours(qrels, run).values())) == pytest.approx(means, rel=1e-12)


def test_random_runs_have_what_is_hard_to_get_right() -> None:
    """Otherwise the comparison would say little."""
    ties = unjudged = unanswered = hopeless = 0
    for seed in range(40):
        qrels, run = drawn(seed)
        ties += sum(len(set(scores.values())) < len(scores) for scores in run.values())
        unjudged += len(run.keys() - qrels.keys())
        unanswered += len(qrels.keys() - run.keys())
        hopeless += sum(max(judged.values()) <= 0 for judged in qrels.values())
    assert (ties, unjudged, unanswered, hopeless) == (339, 91, 91, 3)


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ({"a": 1.0, "b": 2.0, "c": 0.5}, ["b", "a", "c"]),
        ({"a": 1.0, "b": 1.0, "B": 1.0}, ["b", "a", "B"]),
        ({"a": 1.0, "b": 1.0 - 1e-9}, ["b", "a"]),
        ({"10": 1.0, "9": 1.0}, ["9", "10"]),
    ],
    ids=["by score", "equal: the larger id first", "equal in float32", "ids are no numbers"],
)
def test_order_is_that_of_trec_eval(scores: dict[str, float], order: list[str]) -> None:
    assert ordered(scores) == order
    for place, name in enumerate(order, start=1):
        assert trec_eval({"q": {name: 1}}, {"q": scores})["q"].mrr_at_10 == 1 / place


def test_measures_look_so_deep_and_no_deeper() -> None:
    ranking = [f"d{place}" for place in range(1, 102)]
    assert measured({"d10": 1}, ranking).mrr_at_10 == 0.1
    assert measured({"d11": 1}, ranking) == Figures(ndcg_at_10=0, mrr_at_10=0, recall_at_100=1)
    assert measured({"d101": 1}, ranking) == NOTHING
    assert measured({"d1": 0, "d2": -1}, ranking) == NOTHING
