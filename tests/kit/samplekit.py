"""Where a server's main thread spends its CPU time, by stages of a request: a sample each millisecond of it.

A sample belongs to the innermost frame that a stage names. What C does without a frame of its own is its
caller's; what the event loop does between two callbacks, above all reading from sockets, is the next one's.
"""

import json
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.001

#: stage -> ends of file names, or of "file:function", which go before.
STAGES: dict[str, tuple[str, ...]] = {
    "read, HTTP parsing": (
        "httptools_impl.py",
        "api/connection.py",
        "api/lingering.py",
        "uvicorn/server.py",
    ),
    "framework": ("fastapi/", "starlette/", "typing_extensions.py", "contextlib.py"),
    "route, ids, headers": ("api/contract.py", "api/edge.py", "lifecycle.py", "api/direct.py"),
    "body": ("api/body.py", "starlette/requests.py"),
    "decode, validate": (
        "api/openai.py:parse",
        "api/openai.py:inputs",
        "api/openai.py:_texts",
        "api/limits.py",
        "api/structure.py",
        "api/openai.py",
    ),
    "hand-over": (
        "api/contract.py:unless_gone",
        "kubeembed_runtime/pipeline.py",
        "kubeembed_runtime/batcher.py",
        "kubeembed_runtime/queueing.py",
        "kubeembed_runtime/sizes.py",
        "asyncio/futures.py",
        "concurrent/futures/_base.py",
    ),
    "stub encoder": ("kit/stubkit.py",),
    "encode": ("api/openai.py:reply", "api/openai.py:<listcomp>", "api/vectors.py"),
    "write": (
        "starlette/responses.py",
        "httptools_impl.py:send",
        "httptools_impl.py:on_response_complete",
        "api/connection.py:on_response_complete",
        "api/lingering.py:write",
    ),
    "metrics": ("api/metrics.py", "prometheus_client/"),
}
REST = "rest"


class Sampler:
    """Counts while it runs. In the main thread."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self._known: dict[tuple[str, str], str | None] = {}

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def stop(self, file: Path) -> None:
        """Writes what was counted, as JSON."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_text(json.dumps(self.stages))

    def _sample(self, number: int, frame: FrameType | None) -> None:
        while frame is not None:
            code = frame.f_code
            key = (code.co_filename, code.co_name)
            if key not in self._known:
                self._known[key] = stage_of(*key)
            stage = self._known[key]
            if stage is not None:
                self.stages[stage] += 1
                return
            frame = frame.f_back
        self.stages[REST] += 1


def stage_of(file: str, function: str) -> str | None:
    """The stage that names it most closely: with its function, then by the longest end of its file."""
    best: tuple[bool, int, str] | None = None
    for stage, patterns in STAGES.items():
        for pattern in patterns:
            name, _, wanted = pattern.partition(":")
            fits = f"/{name}" in file if name.endswith("/") else file.endswith(name)
            if fits and wanted in ("", function):
                found = (bool(wanted), len(name), stage)
                best = max(best, found) if best else found
    return best[2] if best else None


def table(found: dict[str, dict[str, int]]) -> str:
    """Markdown: a row for each stage, a column for each case, shares of its samples in percent."""
    lines = [f"| share of CPU time, % | {' | '.join(found)} |", "|---" + "|--:" * len(found) + "|"]
    for stage in (*STAGES, REST):
        shares = [100 * one.get(stage, 0) / max(1, sum(one.values())) for one in found.values()]
        lines.append(f"| {stage} | {' | '.join(f'{share:.1f}' for share in shares)} |")
    samples = [str(sum(one.values())) for one in found.values()]
    return "\n".join([*lines, f"| samples | {' | '.join(samples)} |"])
