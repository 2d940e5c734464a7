"""Deduplication: texts that say the same in other words, found by the cosine of their vectors.

    pip install openai numpy
    python examples/deduplicate.py http://localhost:8080 [THRESHOLD]

The right threshold depends on the model: look at the pairs on both sides of it, which is what this prints.
"""

import sys

import numpy as np
from bicycles import Embedder, documents, passage

THRESHOLD = 0.8


def pairs(vectors: np.ndarray) -> list[tuple[float, int, int]]:
    """Cosine and places of any two, the most alike first."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors / lengths) @ (vectors / lengths).T
    ones, others = np.triu_indices(len(vectors), k=1)
    order = np.argsort(-cosines[ones, others])
    return [(float(cosines[ones[i], others[i]]), int(ones[i]), int(others[i])) for i in order]


def main() -> None:
    """Prints each pair above the threshold, the first ones below it, and how many texts are left."""
    embed = Embedder(sys.argv[1])
    threshold = float(sys.argv[2]) if len(sys.argv) > 2 else THRESHOLD
    found = documents()
    ranked = pairs(embed([passage(document) for document in found]))
    above = [pair for pair in ranked if pair[0] >= threshold]
    for name, some in (("the same", above), ("different", ranked[len(above) :][:5])):
        print(f"{name}:")
        for cosine, one, other in some:
            print(f"  {cosine:.3f}  {found[one]['title']} = {found[other]['title']}")
    kept = len(found) - len({other for _, _, other in above})
    print(f"{kept} of {len(found)} texts are left")


if __name__ == "__main__":
    main()
