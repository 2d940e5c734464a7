"""MTEB against an embedding service: a task of the examples' corpus, and a model that is an endpoint.

    pip install openai mteb
    python examples/mteb_task.py http://localhost:8080

With internet, `mteb.get_tasks(tasks=["NFCorpus"])` in the place of [Bicycles()] runs a published one. This
file is not called mteb.py, which would hide the package.
"""

import sys

import mteb
import numpy as np
from bicycles import Embedder, documents, judgements, questions
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder


class Bicycles(AbsTaskRetrieval):
    """examples/corpus, which kubeembed-runtime evaluate reads as well."""

    metadata = TaskMetadata(
        name="Bicycles",
        description="Questions about bicycles, and short texts that answer them.",
        dataset={"path": "examples/corpus", "revision": "1"},
        type="Retrieval",
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )

    def load_data(self, *args: object, **options: object) -> None:
        """From the folder, where MTEB's own tasks ask the hub."""
        corpus = [
            {"id": one["_id"], "title": one["title"], "text": one["text"]} for one in documents()
        ]
        asked = [{"id": one["_id"], "text": one["text"]} for one in questions()]
        split = {
            "corpus": Dataset.from_list(corpus),
            "queries": Dataset.from_list(asked),
            "relevant_docs": judgements(),
            "top_ranked": None,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


class Endpoint(AbsEncoder):
    """A model as MTEB wants it."""

    def __init__(self, url: str) -> None:
        self.embed = Embedder(url)
        self.mteb_model_meta = ModelMeta.create_empty({"name": f"endpoint/{self.embed.model}"})

    def encode(self, inputs: object, **options: object) -> np.ndarray:
        """(texts, dimensions). OpenAI's contract has no word for queries and documents."""
        return np.concatenate([self.embed(batch["text"]) for batch in inputs])


def main() -> None:
    """Prints the scores that leaderboards show."""
    endpoint = Endpoint(sys.argv[1])
    found = mteb.evaluate(endpoint, [Bicycles()], cache=None, show_progress_bar=False)
    scores = found.task_results[0].scores["test"][0]
    print(f"{endpoint.embed.model} on {found.task_results[0].task_name}")
    for name in ("ndcg_at_10", "mrr_at_10", "recall_at_100"):
        print(f"  {name:14} {scores[name]:.4f}")


if __name__ == "__main__":
    main()
