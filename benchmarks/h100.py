"""What an H100 can do at most, from the arithmetic of the models: the tables of docs/h100.md.

    python benchmarks/h100.py

A token costs 2 FLOPs per parameter of the linear layers it passes, and 4 x hidden x layers x length for
attention: queries by keys, and weights by values, each a multiply and an add. Nothing here is measured.
"""

from dataclasses import dataclass

#: FLOP/s, dense, bfloat16 or float16: NVIDIA's data sheets.
PEAKS = {"H100 SXM": 989e12, "H100 PCIe": 756e12, "L4": 121e12}

#: Share of the peak that is the goal at 512 tokens.
GOAL = 0.60

#: Tokens a second that one core tokenises: encode_batch_fast with MiniLM's tokenizer.
TOKENIZER = 0.7e6

#: Seconds of one core to write a vector of so many numbers as JSON with orjson: 10 us for 384.
JSON_SECONDS_PER_NUMBER = 10e-6 / 384

#: Bytes a second of the card's memory: H100 SXM.
BANDWIDTH = 3.35e12

LENGTHS = (128, 512, 8192)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An encoder's shape. limit: the most tokens it reads."""

    name: str
    layers: int
    hidden: int
    inner: int
    limit: int

    @property
    def linear(self) -> int:
        """FLOPs per token of the layers' products: q, k, v, out; up and down."""
        return 2 * self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.inner)

    @property
    def elementwise(self) -> int:
        """Bytes per token that separate kernels move: two additions (3 hidden each), two norms (2), GELU."""
        return 2 * self.layers * (10 * self.hidden + 2 * self.inner)

    def per_token(self, length: int) -> int:
        """FLOPs per token of a text of so many tokens, attention included."""
        return self.linear + 4 * self.layers * self.hidden * length


MODELS = (
    Model(name="all-MiniLM-L6-v2", layers=6, hidden=384, inner=1536, limit=512),
    Model(name="bge-base", layers=12, hidden=768, inner=3072, limit=512),
    Model(name="bge-m3", layers=24, hidden=1024, inner=4096, limit=8192),
)


def expected(model: Model, length: int, share: float, peak: float) -> float:
    """Tokens per second at that share of the peak."""
    return share * peak / model.per_token(length)


def tokenizer_cores(rate: float) -> float:
    return rate / TOKENIZER


def json_cores(model: Model, length: int, rate: float) -> float:
    """Cores that write the vectors of so many tokens a second as JSON numbers."""
    return rate / length * model.hidden * JSON_SECONDS_PER_NUMBER


def rows() -> list[str]:
    """A line of a Markdown table for each model and length it reads."""
    found = []
    for model in MODELS:
        for length in LENGTHS:
            if length > model.limit:
                continue
            peak = PEAKS["H100 SXM"]
            rate = expected(model, length, GOAL, peak)
            cells = (
                model.name,
                f"{length:,}",
                f"{model.per_token(length) / 1e6:,.1f} M",
                f"{peak / model.per_token(length) / 1e6:.2f} M",
                f"{rate / 1e6:.2f} M",
                f"{rate / length:,.0f}",
                f"{tokenizer_cores(rate):.1f}",
                f"{json_cores(model, length, rate):.1f}",
            )
            found.append(f"| {' | '.join(cells)} |")
    return found


def products_share(model: Model, length: int) -> float:
    """Of the peak, what the products must reach for the goal where elementwise kernels run beside none."""
    peak = PEAKS["H100 SXM"]
    left = model.per_token(length) / (GOAL * peak) - model.elementwise / BANDWIDTH
    return model.per_token(length) / peak / left


HEAD = (
    "| model | tokens per text | FLOPs per token | limit, tokens/s | at 60 %, tokens/s | texts/s "
    "| cores to tokenise | cores to write JSON |"
)


def main() -> None:
    print(HEAD)
    print("|---|" + "--:|" * 7)
    print("\n".join(rows()))
    for model in MODELS:
        share = products_share(model, 512)
        print(
            f"{model.name}: {model.elementwise / 1e3:.0f} kB elementwise, products at {share:.0%}"
        )


if __name__ == "__main__":
    main()
