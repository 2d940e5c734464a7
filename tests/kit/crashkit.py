"""Processes of a cluster, ended with SIGKILL at random moments, and whose vectors may come meanwhile."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from adapterkit import Vectors, nearest
from loadkit import Answer
from nodekit import Kube, Manifest, run

#: By what the pods of each are found: namespace of the chart or of the model, and labels.
COMPONENT = "app.kubernetes.io/component"
PODS = {
    "operator": f"{COMPONENT}=operator",
    "fetch": f"{COMPONENT} in (weights,adapter,collect)",
    "serving": f"{COMPONENT}=serving",
}
COMPONENTS = ("kubelet", "containerd")

#: Seconds that the kubelet or containerd is away at most, and that a pod of a kind is waited for.
AWAY, NONE_RUNS = 3.0, 3.0

#: Seconds after a roll-out in which an old pod, which drains, may still get a connection.
DRAINS = 10.0

#: What a client may get while pods die, beside vectors: no answer, no such adapter, too many wait, not ready.
NO_VECTOR = (0, 404, 429, 503)


@dataclass
class Killer:
    """`strike` ends one of the victims; which and when follows from `chance`."""

    model: Kube
    system: Kube
    chance: random.Random
    killed: list[str] = field(default_factory=list)

    def strike(self) -> str:
        """What was killed: "serving m-7c..." or "kubelet"."""
        kinds = [*PODS, *COMPONENTS]
        self.chance.shuffle(kinds)
        found = next(name for kind in kinds if (name := self._kill(kind)))
        self.killed.append(found)
        return found

    def revive(self) -> None:
        """Replaces pods that the kubelet lets wait after they were killed more than once: for minutes."""
        for kube in (self.model, self.system):
            waiting = [pod["metadata"]["name"] for pod in kube.list("pods") if _backs_off(pod)]
            if waiting:
                kube.ctl("delete", "pod", "--wait=false", "--ignore-not-found", *waiting)

    def _kill(self, kind: str) -> str:
        """Empty where there is none of the kind to be killed."""
        if kind in COMPONENTS:
            away = f"{self.chance.uniform(0, AWAY):.1f}"
            name = self.model.info["name"]
            run(sys.executable, "dev/cluster", "crash", name, kind, "--away", away)
            return f"{kind} for {away} s"
        end = time.monotonic() + NONE_RUNS
        while time.monotonic() < end:
            pods = self._running(kind)
            self.chance.shuffle(pods)
            for pod in pods:
                if kill_processes(pod):
                    return f"{kind} {pod['metadata']['name']}"
            time.sleep(0.1)
        return ""

    def _running(self, kind: str) -> list[Manifest]:
        kube = self.system if kind == "operator" else self.model
        pods = (kube.get("pods", "-l", PODS[kind]) or {}).get("items", [])
        return [pod for pod in pods if pod["status"].get("phase") == "Running"]


def kill_processes(pod: Manifest) -> bool:
    """SIGKILL to every process of its containers; whether there was one."""
    found = list(processes_of(pod))
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def processes_of(pod: Manifest) -> Iterator[int]:
    """By their cgroup, which has the pod's uid. The sandbox's own is left alone: it holds the network."""
    mark = f"pod{pod['metadata']['uid']}"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            ours = mark in (entry / "cgroup").read_text()
            if ours and (entry / "comm").read_text().strip() != "pause":
                yield int(entry.name)


def _backs_off(pod: Manifest) -> bool:
    states = (each.get("state", {}) for each in pod["status"].get("containerStatuses", ()))
    return any(each.get("waiting", {}).get("reason") == "CrashLoopBackOff" for each in states)


class Document(Protocol):
    """What a document asks for, as far as vectors differ by it."""

    @property
    def base(self) -> str: ...

    def adapter(self, model: str) -> str | None:
        """Of the model "m:NAME"; empty for "m", None for an adapter that there is not."""
        ...


@dataclass(frozen=True, slots=True)
class Epoch:
    """A document, since when it was applied, and since when nothing older than it serves."""

    document: Document
    applied: float
    alone: float = float("inf")


def label(base: str, adapter: str | None) -> str | None:
    """Of a vector space; None where there is no such adapter."""
    return None if adapter is None else "/".join((base, *([adapter] if adapter else [])))


@dataclass
class Journal:
    """The documents in their order, and whether answers are of those that were in force: of the base and the
    adapter of one document, never of one's base and another's adapter.
    """

    vectors: Mapping[str, Vectors]
    epochs: list[Epoch] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    #: Label by fingerprint. No label has two.
    marks: dict[str, str] = field(default_factory=dict)

    def applied(self, document: Document) -> None:
        """To be called just before it is applied."""
        self.epochs.append(Epoch(document, time.monotonic()))

    def settled(self) -> None:
        """The newest document is what every pod serves."""
        last = self.epochs[-1]
        if last.alone == float("inf"):
            self.epochs[-1] = Epoch(last.document, last.applied, time.monotonic() + DRAINS)

    def allowed(self, answer: Answer) -> set[str | None]:
        """Labels, and None where the model may be unknown."""
        begun = [epoch for epoch in self.epochs if epoch.applied <= answer.done]
        old = max((i for i, each in enumerate(begun) if each.alone <= answer.asked), default=0)
        documents = [epoch.document for epoch in begun[old:]]
        return {label(each.base, each.adapter(answer.model)) for each in documents}

    def judge(self, answers: list[Answer]) -> None:
        """Takes them out of the list. Raises AssertionError for a wrong one."""
        while answers:
            self._judge(answers.pop())

    def _judge(self, answer: Answer) -> None:
        self.counts[str(answer.status)] = self.counts.get(str(answer.status), 0) + 1
        allowed = self.allowed(answer)
        shown = f"{answer.model}: {answer.status} {str(answer.body)[:200]}; allowed: {allowed}"
        if answer.status != 200:
            assert answer.status in NO_VECTOR, shown
            assert answer.status != 404 or None in allowed, shown
            return
        got = nearest(self.vectors, answer.body["data"][0]["embedding"])
        assert got in allowed, f"{shown}, got: {got} from {answer.fingerprint}"
        assert self.marks.setdefault(answer.fingerprint, got) == got, shown
        assert len(set(self.marks.values())) == len(self.marks), self.marks
