"""An evaluation -> a table for people, or JSON for scripts."""

from collections.abc import Mapping
from typing import Any

import msgspec

from kubeembed_runtime.evaluation.evaluate import Evaluation
from kubeembed_runtime.evaluation.measures import Figures

MEASURES = ("NDCG@10", "MRR@10", "Recall@100")


def as_text(evaluation: Evaluation, about: Mapping[str, Any]) -> str:
    """Four decimals, as papers and leaderboards have it (some times 100)."""
    rows = evaluation.rows
    width = max(len(row.kind) for row in rows)
    told = {**about, "dimensions": evaluation.dimensions}
    lines = [f"{name}: {value}" for name, value in told.items() if value is not None]
    lines += ["", " " * width + "".join(f"{name:>12}" for name in MEASURES)]
    lines += [_line(row.kind, width, row.alone) for row in rows]
    again = [_line(row.kind, width, row.reranked) for row in rows if row.reranked is not None]
    return "\n".join([*lines, *(["reranked", *again] if again else [])]) + "\n"


def as_json(evaluation: Evaluation, about: Mapping[str, Any]) -> str:
    """One object. Figures as they are, unrounded."""
    rows = [
        {
            "vectors": row.kind,
            "alone": _named(row.alone),
            "reranked": row.reranked and _named(row.reranked),
        }
        for row in evaluation.rows
    ]
    told = {**about, "dimensions": evaluation.dimensions, "figures": rows}
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode() + "\n"


def _line(name: str, width: int, figures: Figures) -> str:
    return f"{name:{width}}" + "".join(f"{figure:12.4f}" for figure in _values(figures))


def _named(figures: Figures) -> dict[str, float]:
    return dict(zip(MEASURES, _values(figures), strict=True))


def _values(figures: Figures) -> tuple[float, float, float]:
    return figures.ndcg_at_10, figures.mrr_at_10, figures.recall_at_100
