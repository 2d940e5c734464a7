"""The texts that every benchmark sends: words from a fixed seed, the same at every run.

The words are everyday ones, so that most are one token to a WordPiece tokenizer, as in real English.
"""

import random
from collections.abc import Sequence

WORDS = """
the a an of to in and that it is was for on with as his they be at one have this from or
had by hot word but what some we can out other were all there when up use your how said
each she which do their time if will way about many then them write would like so these her
long make thing see him two has look more day could go come did number sound no most people
my over know water than call first who may down side been now find any new work part take
get place made live where after back little only round man year came show every good me
give our under name very through just form sentence great think say help low line differ
turn cause much mean before move right boy old too same tell does set three want air well
also play small end put home read hand port large spell add even land here must big high
such follow act why ask men change went light kind off need house picture try us again
animal point mother world near build self earth father engine search index passage vector
meaning retrieval knowledge query document language learning network relevance semantics
storage cluster hospital contract insurance mortgage turbine genome catalyst telescope
photosynthesis infrastructure
""".split()  # noqa: SIM905

#: Words in a query, and in a passage: with its two special tokens a passage stays below MiniLM's 256.
QUERY = (6, 14)
PASSAGE = (150, 215)


def of_lengths(source: random.Random, lengths: Sequence[int]) -> list[str]:
    """A text for each number of words."""
    return [" ".join(source.choices(WORDS, k=length)) for length in lengths]


def mixed(count: int, seed: int = 1) -> list[str]:
    """Lognormal lengths, 4 to 215 words, about 60 in the mean: what an index of web pages looks like."""
    source = random.Random(seed)
    lengths = [int(source.lognormvariate(3.8, 0.9)) for _ in range(count)]
    return of_lengths(source, [min(PASSAGE[1], max(4, length)) for length in lengths])


def queries(count: int, seed: int = 2) -> list[str]:
    source = random.Random(seed)
    return of_lengths(source, [source.randint(*QUERY) for _ in range(count)])


def passages(count: int, seed: int = 3) -> list[str]:
    source = random.Random(seed)
    return of_lengths(source, [source.randint(*PASSAGE) for _ in range(count)])
