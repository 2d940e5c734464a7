"""A model that changes while things are killed: what is asked of it, and whether it came to that."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adapterkit import nearest
from crashkit import Journal, Killer, label
from kubeembed_api.keys import KEY
from nodekit import Kube, Manifest, until

TEXT = "the quick brown fox"
MODELS = ("m", "m:lora-0", "m:lora-1")
PATIENCE = 240


@dataclass(frozen=True)
class Wish:
    """A document, as far as it changes. An adapter "lora-0@v2" is lora-0 at that revision."""

    revision: str = "main"
    pooling: str = "mean"
    replicas: int = 1
    adapters: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        return f"{self.revision}/{self.pooling}"

    def adapter(self, model: str) -> str | None:
        """Of "m:NAME"; empty for "m", None where there is none."""
        name = model.partition(":")[2]
        found = [each for each in self.adapters if each.partition("@")[0] == name]
        return "" if not name else found[0] if found else None

    def space(self, model: str) -> str | None:
        """Label of the vectors of "m" or "m:NAME"; None where it is unknown."""
        return label(self.base, self.adapter(model))

    def manifest(self) -> Manifest:
        adapters = []
        for each in self.adapters:
            name, _, revision = each.partition("@")
            adapters.append({"name": name, "source": f"hf://acme/{name}"})
            if revision:
                adapters[-1]["revision"] = revision
        return {
            "apiVersion": "kubeembed.dev/v1alpha1",
            "kind": "EmbeddingModel",
            "metadata": {"name": "m"},
            "spec": {
                "model": {"source": "hf://acme/other", "revision": self.revision},
                "recipe": {"dtype": "float32", "pooling": self.pooling},
                "scaling": {"min": self.replicas, "max": self.replicas},
                "adapters": adapters,
            },
        }


@dataclass
class Scene:
    """The model, what was asked of it, and whether it has come to that."""

    kube: Kube
    killer: Killer
    journal: Journal
    wish: Wish
    url: str = ""

    def want(self, wish: Wish) -> None:
        self.wish = wish
        self.journal.applied(wish)
        self.kube.apply(wish.manifest())

    def pods(self) -> list[Manifest]:
        """All of the namespace but those of Jobs that have ended, well or killed: they go with their Job."""
        return [pod for pod in self.kube.list("pods") if not is_over(pod)]

    def settled(self) -> bool:
        """Whether the status says that the document is what is served."""
        model = self.kube.get("em", "m")
        status, count = model.get("status", {}), self.wish.replicas
        conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
        loaded = {each["name"]: each["ready"] for each in status.get("adapters", ())}
        names = [each.partition("@")[0] for each in self.wish.adapters]
        done = (
            status.get("observedGeneration") == model["metadata"]["generation"]
            and conditions.get("Ready") == "True"
            and loaded == dict.fromkeys(names, f"{count}/{count}")
            and status["replicas"]["summary"] == f"{count}/{count}"
        )
        if done:
            self.journal.settled()
        return done

    def wait(self) -> None:
        """Until the document is what is served."""
        self._until("settled", self.settled)

    def wait_for_the_end(self) -> None:
        """Until nothing is left but what the document asks for."""
        self._until("as the document says", lambda: self.settled() and self.amiss() == [])

    def amiss(self) -> list[str]:
        """What of pods, Jobs and the claim is not as the document says."""
        pods, status = self.pods(), self.kube.get("em", "m")["status"]
        told = [f"pod {pod['metadata']['name']}" for pod in pods if not is_serving(pod)]
        if len(pods) != self.wish.replicas:
            told.append(f"{len(pods)} pods")
        jobs = [job for job in self.kube.list("jobs") if not job["status"].get("completionTime")]
        told += [f"Job {job['metadata']['name']}" for job in jobs]
        keys = {status["weights"]["key"], *(each["key"] for each in status.get("adapters", ()))}
        if self.copies() != keys:
            told.append(f"copies {self.copies()}, not {keys}")
        return told

    def copies(self) -> set[str]:
        """What is on the disk of the claim, whole or in part."""
        volume = self.kube.get("pvc", "kubeembed-weights")["spec"]["volumeName"]
        root = Path(self.kube.info["volumes"]) / volume
        folders = (root, root / ".partial", root / ".removed")
        found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
        return {name for name in found if KEY.search(name)}

    def served(self) -> dict[str, set[str | None]]:
        """By model, the labels that its pods give, each asked by itself."""
        found: dict[str, set[str | None]] = {model: set() for model in MODELS}
        for pod in self.pods():
            for model in MODELS:
                found[model].add(self._label(pod["status"]["podIP"], model))
        return found

    def _label(self, address: str, model: str) -> str | None:
        body = json.dumps({"model": model, "input": TEXT}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{address}:8080/v1/embeddings", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as got:
                return nearest(self.journal.vectors, json.load(got)["data"][0]["embedding"])
        except urllib.error.HTTPError as error:
            with error:
                return None if error.code == 404 else str(error)

    def fingerprints(self) -> dict[str, str]:
        """By the label that each should have, as status tells."""
        status = self.kube.get("em", "m")["status"]
        told = {f"m:{each['name']}": each["fingerprint"] for each in status.get("adapters", ())}
        told["m"] = status["model"]["fingerprint"]
        return {str(self.wish.space(model)): mark for model, mark in told.items()}

    def _until(self, what: str, found: Callable[[], bool]) -> None:
        def seen() -> bool:
            self.killer.revive()
            return found()

        try:
            until(what, seen, PATIENCE)
        except AssertionError as late:
            killed = "\n".join(self.killer.killed)
            story = self.kube.story("m")
            raise AssertionError(f"{late}\n{self.amiss()}\n{killed}\n{story}") from late


def is_over(pod: Manifest) -> bool:
    of_a_job = "job-name" in pod["metadata"]["labels"]
    return of_a_job and pod["status"]["phase"] in ("Succeeded", "Failed")


def is_serving(pod: Manifest) -> bool:
    """Whether it is one of the model's, ready and not on its way out."""
    component = pod["metadata"]["labels"].get("app.kubernetes.io/component")
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    stays = "deletionTimestamp" not in pod["metadata"]
    return component == "serving" and stays and conditions.get("Ready") == "True"
