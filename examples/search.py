"""Semantic search: texts and their vectors in Qdrant, questions answered by meaning, of one topic or of all.

    pip install openai qdrant-client
    python examples/search.py http://localhost:8080

Qdrant runs inside this process; QdrantClient(url=...) would ask a server, and nothing else would change.
"""

import sys

from bicycles import Embedder, documents, passage
from qdrant_client import QdrantClient
from qdrant_client.models import (
    Distance,
    FieldCondition,
    Filter,
    MatchValue,
    PointStruct,
    VectorParams,
)

COLLECTION = "bicycles"
QUESTIONS = (
    ("two tiny slits in the inner tube", None),
    ("what should I do before winter?", None),
    ("what should I do before winter?", "electric"),
)


def fill(database: QdrantClient, embed: Embedder) -> None:
    """A point for each document, with the document itself as its payload."""
    found = documents()
    vectors = embed([passage(document) for document in found])
    size = vectors.shape[1]
    database.create_collection(COLLECTION, VectorParams(size=size, distance=Distance.COSINE))
    points = [
        PointStruct(
            id=place,
            vector=vector.tolist(),
            payload={"title": document["title"], **document["metadata"]},
        )
        for place, (document, vector) in enumerate(zip(found, vectors, strict=True))
    ]
    database.upsert(COLLECTION, points)
    print(f"{len(points)} documents of {size} dimensions from {embed.model}")


def search(database: QdrantClient, embed: Embedder, question: str, topic: str | None) -> None:
    """Prints the three nearest documents, of one topic if one is given."""
    wanted = [FieldCondition(key="topic", match=MatchValue(value=topic))] if topic else None
    answer = database.query_points(
        COLLECTION,
        query=embed([question])[0].tolist(),
        query_filter=Filter(must=wanted),
        limit=3,
    )
    print(f"\n{question}" + (f" (topic: {topic})" if topic else ""))
    for point in answer.points:
        print(f"  {point.score:.3f}  {point.payload['title']}")


def main() -> None:
    """Fills a database and asks it."""
    embed = Embedder(sys.argv[1])
    database = QdrantClient(":memory:")
    fill(database, embed)
    for question, topic in QUESTIONS:
        search(database, embed, question, topic)
    database.close()


if __name__ == "__main__":
    main()
