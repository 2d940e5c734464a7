"""The cohere client: v1 and v2, sync and async, embed and rerank."""

import asyncio
import base64
import struct

import cohere
from cohere.core import RequestOptions
from reference import EMBEDDER, QUERY, RERANKER, TEXTS, ranked, refused, same

ONCE = RequestOptions(max_retries=0)


def main() -> None:
    embed_v2(cohere.ClientV2("none", base_url=EMBEDDER))
    embed_v1(cohere.Client("none", base_url=EMBEDDER))
    for made in (cohere.ClientV2, cohere.Client):
        reply = made("none", base_url=RERANKER).rerank(
            model="reranker", query=QUERY, documents=TEXTS, top_n=3
        )
        ranked(*zip(*[(one.index, one.relevance_score) for one in reply.results], strict=True))
    asyncio.run(concurrently())


def embed_v2(client: cohere.ClientV2) -> None:
    kinds = ["float", "base64", "int8", "uint8", "binary", "ubinary"]
    reply = client.embed(
        model="minilm", input_type="search_document", texts=TEXTS, embedding_types=kinds
    )
    made = reply.embeddings
    same(made.float_)
    same([struct.unpack("<384f", base64.b64decode(one)) for one in made.base64])
    assert {len(one) for one in made.int8 + made.uint8} == {384}
    assert {len(one) for one in made.binary + made.ubinary} == {48}
    bits = [f"{byte:08b}" for byte in made.ubinary[0]]
    assert "".join(bits) == "".join("1" if value > 0 else "0" for value in made.float_[0])
    assert reply.meta.billed_units.input_tokens > len(TEXTS)
    short = client.embed(
        model="minilm",
        input_type="search_query",
        texts=TEXTS,
        output_dimension=64,
        embedding_types=["float"],
    )
    assert {len(one) for one in short.embeddings.float_} == {64}
    errors(client)


def errors(client: cohere.ClientV2) -> None:
    wanted = {"input_type": "search_query", "embedding_types": ["float"], "request_options": ONCE}
    with refused(cohere.NotFoundError, "have: minilm"):
        client.embed(model="minilm:legal", texts=["a"], **wanted)
    with refused(cohere.BadRequestError, "text 1 is empty"):
        client.embed(model="minilm", texts=["a", ""], **wanted)


def embed_v1(client: cohere.Client) -> None:
    plain = client.embed(texts=TEXTS, model="minilm", input_type="search_document")
    assert plain.response_type == "embeddings_floats"
    same(plain.embeddings)
    typed = client.embed(
        texts=TEXTS, model="minilm", input_type="search_document", embedding_types=["float"]
    )
    same(typed.embeddings.float_)


async def concurrently() -> None:
    async with cohere.AsyncClientV2("none", base_url=EMBEDDER) as client:
        calls = [
            client.embed(
                model="minilm",
                input_type="search_document",
                texts=[text],
                embedding_types=["float"],
            )
            for text in TEXTS
        ]
        same([reply.embeddings.float_[0] for reply in await asyncio.gather(*calls)])


main()
