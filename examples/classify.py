"""Classification without training: each text gets the label whose description is nearest to it.

pip install openai numpy
python examples/classify.py http://localhost:8080
"""

import sys
from collections import Counter

from bicycles import Embedder, documents, passage

LABELS = {
    "brakes": "brakes, stopping and slowing down",
    "gears": "gears, chain, shifting and derailleurs",
    "wheels": "wheels, tyres, tubes, spokes and punctures",
    "fit": "riding position, comfort and pain of the body",
    "law": "traffic law, safety on the road and theft",
    "touring": "travelling by bicycle with luggage",
    "history": "the history of the bicycle and its inventors",
    "electric": "electric bicycles, motors and batteries",
    "care": "cleaning, lubricating, tools and repair at home",
    "racing": "bicycle racing, training and nutrition",
}


def main() -> None:
    """Prints how many labels are right, by label, and which ones were confused most often."""
    embed = Embedder(sys.argv[1])
    found = documents()
    names = list(LABELS)
    scores = embed([passage(document) for document in found]) @ embed(list(LABELS.values())).T
    given = [names[place] for place in scores.argmax(axis=1)]
    truth = [document["metadata"]["topic"] for document in found]
    right = Counter(label for label, said in zip(truth, given, strict=True) if label == said)
    for label, count in Counter(truth).items():
        print(f"{label:9} {right[label]:2} of {count}")
    print(f"{sum(right.values())} of {len(truth)} have the right label")
    wrong = Counter(pair for pair in zip(truth, given, strict=True) if pair[0] != pair[1])
    for (label, said), count in wrong.most_common(3):
        print(f"  {count} of {label} were taken for {said}")


if __name__ == "__main__":
    main()
