"""results/*.json -> plots as SVG: python plots.py RESULTS FOLDER. Runs in the environment of peers/tools.txt.

Only what was measured has a plot.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "kubeembed"  # the same figures make the same file
mpl.rcParams["svg.fonttype"] = "none"  # text stays text: small files

Points = dict[str, list[dict[str, Any]]]


def of(points: Points, server: str, field: str) -> list[float]:
    return [
        median(float(row[field]) for row in rows if row["server"] == server)
        for rows in points.values()
    ]


def against(points: Points, label: str, name: str, folder: Path) -> None:
    """Throughput, then p50 and p99, of each server over the points' keys."""
    where = [float(key) for key in points]
    servers = list(dict.fromkeys(row["server"] for rows in points.values() for row in rows))
    figure, (rate, latency) = pyplot.subplots(1, 2, figsize=(10, 4))
    for color, server in zip(("C3", "C0", "C1", "C2"), sorted(servers), strict=False):
        rate.plot(where, of(points, server, "texts_per_second"), "o-", color=color, label=server)
        for field, style in (("p50", "o-"), ("p99", "o:")):
            values = [1e3 * each for each in of(points, server, field)]
            latency.plot(where, values, style, color=color, label=f"{server} {field}")
    rate.set_ylabel("texts/s")
    latency.set_ylabel("ms (p50 solid, p99 dotted)")
    latency.set_yscale("log")
    for axes in (rate, latency):
        axes.set_xlabel(label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(where, [f"{each:g}" for each in where])
        axes.grid(alpha=0.3)
    rate.legend(fontsize="small")
    saved(figure, name, folder)


def bars(found: dict[str, dict[str, float]], label: str, name: str, folder: Path) -> None:
    """load -> case -> value: a group of bars per load."""
    cases = list(next(iter(found.values())))
    figure, axes = pyplot.subplots(figsize=(7, 4))
    width = 0.8 / len(cases)
    for index, case in enumerate(cases):
        places = [group + index * width for group in range(len(found))]
        axes.bar(places, [values[case] for values in found.values()], width, label=case)
    axes.set_xticks([group + 0.4 - width / 2 for group in range(len(found))], list(found))
    axes.set_ylabel(label)
    axes.legend(fontsize="small")
    saved(figure, name, folder)


def saved(figure: Any, name: str, folder: Path) -> None:
    figure.tight_layout()
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def main() -> None:
    results, folder = map(Path, sys.argv[1:])
    folder.mkdir(exist_ok=True)

    def drawn(file: str, draw: Callable[[Any], None]) -> None:
        if (results / f"{file}.json").exists():
            draw(json.loads((results / f"{file}.json").read_text()))

    def curves(found: Any) -> None:
        against(
            found["concurrency"], "clients, 2 texts of mixed length each", "concurrency", folder
        )
        against(found["length"], "words per text, 8 clients", "length", folder)
        against(found["open"], "queries offered per second", "open", folder)

    drawn("curves", curves)
    drawn("encode", lambda found: bars(found, "tokens/s", "packing", folder))
    drawn("adapters", lambda found: bars(found, "ms per batch of 32", "adapters", folder))


if __name__ == "__main__":
    main()
