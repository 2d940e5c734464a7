"""Retrieval for a generator: the best passages for a question, reranked, in a prompt with numbered sources.

    pip install openai numpy
    python examples/rag.py http://localhost:8080 http://localhost:8081

The second URL is that of a reranker, a cross-encoder or a late-interaction model. This stops at the prompt,
which is for any chat model.
"""

import sys

from bicycles import Embedder, documents, passage
from openai import OpenAI

QUESTIONS = (
    "I ran out of energy after two hours",
    "It hurts to sit after a long tour",
)
CANDIDATES, SOURCES = 20, 3

PROMPT = """\
Answer the question from the sources alone, and name them by their numbers. If they do not answer it, say so.

{sources}

Question: {question}"""


class Reranker:
    """Asked at /v1/rerank, as Cohere, Jina, Infinity and vLLM have it; OpenAI's client posts to any path."""

    def __init__(self, url: str) -> None:
        self.client = OpenAI(base_url=f"{url}/v1", api_key="none")
        self.model = self.client.models.list().data[0].id

    def __call__(self, question: str, passages: list[str], count: int) -> list[tuple[int, float]]:
        """The places and scores of the best passages, the best first."""
        body = {"model": self.model, "query": question, "documents": passages, "top_n": count}
        reply = self.client.post("/rerank", cast_to=object, body=body)
        return [(one["index"], one["relevance_score"]) for one in reply["results"]]


def main() -> None:
    """Prints what was found at each stage, and the prompt."""
    embed, rerank = Embedder(sys.argv[1]), Reranker(sys.argv[2])
    found = documents()
    passages = [passage(document) for document in found]
    vectors = embed(passages)
    for question in QUESTIONS:
        scores = vectors @ embed([question])[0]
        near = [int(place) for place in (-scores).argsort()[:CANDIDATES]]
        best = rerank(question, [passages[place] for place in near], SOURCES)
        print(
            f"{len(near)} of {len(passages)} passages by {embed.model}, {SOURCES} by {rerank.model}:"
        )
        for place, score in best:
            title = found[near[place]]["title"]
            print(f"  {score:.3f}  {title} (number {place + 1} before)")
        texts = [passages[near[place]] for place, _ in best]
        sources = "\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))
        print("\n" + PROMPT.format(sources=sources, question=question))


if __name__ == "__main__":
    main()
