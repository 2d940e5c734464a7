"""What a start from zero costs through the gateway, beside a bare Deployment, and before crowds.

On the cluster that `make demo` leaves (--cluster), with the weights it fetched. In turns: a model asleep and
one request to its Service; a copy of its Deployment without any of us and `kubectl scale --replicas=1`. Goal:
the first at most 1.15 times the second. Then crowds: 200 requests at once, all to be answered after one wake,
and 2,000 of unmodified clients, of which the gateway holds hold.requests per pod: the others come again.
"""

import argparse
import asyncio
import copy
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kit"))

from clientkit import CLIENTS, printed
from nodekit import ROOT, SYSTEM, Kube, embedding_model, until
from sleepkit import address, replicas

NAMESPACE, DEMO, MODEL, BARE = "kubeembed-demo", "minilm", "waking", "bare"
TEXT = {"model": MODEL, "input": "A cat sleeps in the sun until somebody calls."}
SCALING = {"min": 0, "max": 1, "idleAfter": "5s"}
#: Of the crowd of unmodified clients: openai, cohere, sie-sdk.
SHARES = (0.5, 0.25, 0.25)


def cluster(name: str) -> Kube:
    """With a profile of which several pods fit a small machine."""
    command = (sys.executable, str(ROOT / "dev" / "cluster"), "status", name, "--json")
    info = json.loads(subprocess.check_output(command))
    helm = [info["helm"], "--kubeconfig", info["kubeconfig"], "upgrade", "kubeembed"]
    helm += [str(ROOT / "charts" / "kubeembed"), "-n", SYSTEM, "--reuse-values", "--wait"]
    helm += ["--set", "profiles.cpu.resources.requests.cpu=100m"]
    subprocess.run(helm, check=True, stdout=subprocess.DEVNULL)
    return Kube(info, NAMESPACE)


def cached(kube: Kube) -> dict[str, str]:
    """The demo's model, by the revision that it has: the hub that it came from is gone."""
    made = kube.get("em", DEMO)
    return {
        "source": made["spec"]["model"]["source"],
        "revision": made["status"]["model"]["revision"],
    }


def answered(client: httpx.Client, url: str) -> bool:
    try:
        return client.post(f"{url}/v1/embeddings", json=TEXT).status_code == 200
    except httpx.TransportError:
        return False


def asleep(kube: Kube) -> None:
    """Until it sleeps, and its last pod is gone."""
    until("asleep", lambda: replicas(kube, MODEL) == 0, 120)
    gone(kube, "app.kubernetes.io/component=serving,kubeembed.dev/model=waking")


def gone(kube: Kube, selector: str) -> None:
    until("no pods", lambda: not kube.ctl("get", "pods", "-l", selector, "-o", "name"), 120)


def by_gateway(kube: Kube, client: httpx.Client) -> float:
    """Seconds of the first request to a model asleep."""
    asleep(kube)
    begun = time.monotonic()
    assert answered(client, address(kube, MODEL))
    return time.monotonic() - begun


def by_hand(kube: Kube, client: httpx.Client) -> float:
    """Seconds from `kubectl scale` until the bare copy answers."""
    url, begun = address(kube, BARE), time.monotonic()
    kube.ctl("scale", f"deployment/{BARE}", "--replicas=1")
    while not answered(client, url):
        time.sleep(0.01)
    seconds = time.monotonic() - begun
    kube.ctl("scale", f"deployment/{BARE}", "--replicas=0")
    gone(kube, f"app={BARE}")
    return seconds


def bare(kube: Kube) -> list[dict[str, Any]]:
    """A Deployment of no replicas with the pods of the model, and a Service."""
    made = kube.get("deployment", MODEL)
    template = copy.deepcopy(made["spec"]["template"])
    labels = template["metadata"]["labels"] = {"app": BARE}
    metadata = {"name": BARE, "namespace": NAMESPACE}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"port": 80, "targetPort": "http"}]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": ports},
        },
    ]


async def crowd(url: str, count: int) -> list[int]:
    """The statuses of so many requests at once."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=300, limits=limits) as client:
        asked = (client.post(f"{url}/v1/embeddings", json=TEXT) for _ in range(count))
        return [answer.status_code for answer in await asyncio.gather(*asked)]


def one_wake(kube: Kube, count: int) -> str:
    """A crowd before a model asleep, and how often its Deployment was written."""
    asleep(kube)
    before = kube.get("deployment", MODEL)["metadata"]["generation"]
    begun = time.monotonic()
    statuses = asyncio.run(crowd(address(kube, MODEL), count))
    seconds = time.monotonic() - begun
    wakes = kube.get("deployment", MODEL)["metadata"]["generation"] - before
    return f"{count} at once: {statuses.count(200)} x 200, {wakes} wake, {seconds:.1f} s"


def clients(kube: Kube, count: int) -> str:
    """Unmodified clients, all at once: what each sort of them says."""
    asleep(kube)
    url = address(kube, MODEL)
    openai, cohere, sie = (str(round(count * share)) for share in SHARES)
    begun = time.monotonic()
    python = sys.executable
    http = (python, __file__, "--as", "http", "crowd_http", url, MODEL, openai, cohere)
    both = (http, (python, __file__, "--as", "sie", "crowd_sie", url, MODEL, sie))
    running = [subprocess.Popen(one, stdout=subprocess.PIPE, text=True) for one in both]
    said = [process.communicate()[0].strip() for process in running]
    seconds = time.monotonic() - begun
    return f"{count} clients, [answers, of them not at the first try]: {' '.join(said)}, {seconds:.1f} s"


def side_by_side(kube: Kube, rounds: int) -> None:
    """The two starts, in turns."""
    through: list[float] = []
    hand: list[float] = []
    with httpx.Client(timeout=300) as client:
        for number in range(rounds):
            through.append(by_gateway(kube, client))
            hand.append(by_hand(kube, client))
            print(
                f"{number + 1}: gateway {through[-1]:.2f} s, by hand {hand[-1]:.2f} s", flush=True
            )
    found, other = statistics.median(through), statistics.median(hand)
    print(
        f"median: gateway {found:.2f} s, by hand {other:.2f} s: {found / other:.2f} times",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", default="kubeembed", help="of dev/cluster (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of the two (%(default)s)")
    parser.add_argument("--crowds", type=int, nargs=2, default=(200, 2000), help="(%(default)s)")
    parser.add_argument("--as", nargs="+", dest="tour", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tour:
        environment, script, *arguments = options.tour
        print(printed(environment, CLIENTS / "tours" / f"{script}.py", *arguments, seconds=900))
        return
    kube = cluster(options.cluster)
    kube.apply(embedding_model(MODEL, model=cached(kube), scaling=SCALING))
    kube.wait_ready(MODEL)
    kube.apply(*bare(kube))
    side_by_side(kube, options.rounds)
    print(one_wake(kube, options.crowds[0]), flush=True)
    print(clients(kube, options.crowds[1]), flush=True)
    kube.ctl("delete", "em", MODEL)
    kube.ctl("delete", "deployment,service", BARE)


if __name__ == "__main__":
    main()
