"""A table of cosine similarities of a few sentences, computed by an embedding service.

    python examples/similarity.py http://minilm.default.svc minilm

Only the standard library, so that it runs in any pod that has Python.
"""

import json
import math
import sys
import urllib.request

SENTENCES = (
    "A man is eating food.",
    "Somebody has lunch.",
    "The girl is carrying a baby.",
    "A cheetah chases its prey.",
)


def embed(endpoint: str, model: str, texts: tuple[str, ...]) -> list[list[float]]:
    """One vector per text, in the order of the texts. Raises HTTPError, whose body says why."""
    body = json.dumps({"model": model, "input": texts}).encode()
    request = urllib.request.Request(
        f"{endpoint}/v1/embeddings", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [item["embedding"] for item in json.load(answer)["data"]]


def cosine(a: list[float], b: list[float]) -> float:
    """-1 to 1."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.hypot(*a) * math.hypot(*b))


def main() -> None:
    """Prints the table."""
    endpoint, model = sys.argv[1:]
    vectors = embed(endpoint, model, SENTENCES)
    width = max(map(len, SENTENCES))
    print(f"{len(vectors)} vectors of {len(vectors[0])} dimensions from {endpoint}\n")
    for sentence, vector in zip(SENTENCES, vectors, strict=True):
        row = "  ".join(f"{cosine(vector, other):5.2f}" for other in vectors)
        print(f"{sentence:{width}}  {row}")


if __name__ == "__main__":
    main()
