"""Gateway processes against a real API server: that they learn, wake once, and survive its absence."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from crowdkit import FEW_FILES, ask_at_once
from gatewaykit import model, service
from kubeembed_api.names import MANAGED_BY, MANAGED_BY_VALUE, MODEL_LABEL
from nodekit import Kube, Manifest, audited, until
from proxykit import Proxy
from runtimekit import free_ports
from stubkit import launch_stub

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

#: Both gateways have the same ports, as pods do, so each has a loopback address of its own.
HOSTS = ("127.0.0.1", "127.0.0.2")
PORT = 29_101


@dataclass
class Process:
    popen: "subprocess.Popen[bytes]"
    host: str
    admin_port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{PORT}"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.admin_port}/readyz", timeout=2):
                return True
        except OSError:
            return False

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.host}:{self.admin_port}/metrics") as got:
            lines = got.read().decode().splitlines()
        return sum(float(each.split()[-1]) for each in lines if each.startswith(name))

    def ask(self) -> tuple[int, Any]:
        data = json.dumps({"model": "stub", "input": "a"}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/embeddings", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as got:
                return got.status, json.load(got)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture
def kube(api: dict[str, Any]) -> Iterator[Kube]:
    made = Kube(api, f"gw-{uuid.uuid4().hex[:6]}")
    made.ctl("create", "namespace", made.namespace)
    yield made
    made.ctl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture
def gateways(kube: Kube, tmp_path: Path) -> Iterator[Any]:
    """gateways(kubeconfig): a process on each host."""
    started: list[Process] = []

    def start(kubeconfig: str, hosts: tuple[str, ...] = HOSTS) -> list[Process]:
        admin_port, port = free_ports(2)
        for host in hosts:
            command = [*FEW_FILES, sys.executable, "-m", "kubeembed_gateway"]
            command += ["--host", host]
            command += ["--namespace", kube.namespace, "--admin-port", str(admin_port)]
            command += ["--port", str(port)]
            environment = {**os.environ, "KUBECONFIG": kubeconfig}
            with (tmp_path / f"{host}.log").open("wb") as log:
                popen = subprocess.Popen(command, stderr=log, env=environment, cwd=tmp_path)
            started.append(Process(popen, host, admin_port))
        for process in started:
            until(f"{process.host} ready", process.ready, 60)
        return started

    yield start
    for process in started:
        process.popen.kill()
        process.popen.wait()


@pytest.fixture
def stub(tmp_path: Path, api: dict[str, Any]) -> Iterator[int]:
    """The port of a pod: a runtime without a model, at an address that an endpoint may have."""
    process = launch_stub(tmp_path).until_ready()
    with Proxy(("127.0.0.1", process.port), api["hostAddress"]) as proxy:
        yield proxy.port
    process.end()


def sleeping(kube: Kube) -> None:
    """A model that nobody looks after, as the operator leaves one that sleeps."""
    spec = {"model": {"source": "hf://acme/stub"}, "scaling": {"min": 0}}
    head = {"apiVersion": "kubeembed.dev/v1alpha1", "kind": "EmbeddingModel"}
    kube.apply({**head, **model("stub", namespace=kube.namespace, **spec)})
    leading = service("stub", PORT, namespace=kube.namespace)
    kube.apply(
        {"apiVersion": "v1", "kind": "Service", **leading, "spec": {"ports": [{"port": 80}]}}
    )
    kube.ctl("create", "deployment", "stub", "--image=image.invalid/none:1", "--replicas=0")


def slice_at(kube: Kube, address: str, port: int) -> Manifest:
    """As Kubernetes makes one for a Service with a selector."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "stub-abcde",
            "labels": {
                "kubernetes.io/service-name": "stub",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                MANAGED_BY: MANAGED_BY_VALUE,
                MODEL_LABEL: "stub",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }


def wakes(kube: Kube) -> list[int]:
    """The statuses of the gateways' patches in the namespace."""
    return [
        row["responseStatus"]["code"]
        for row in audited(kube.info)
        if row.get("userAgent", "").startswith("kubeembed-gateway/")
        and row["verb"] == "patch"
        and row["objectRef"].get("namespace") == kube.namespace
        and row["stage"] == "ResponseComplete"
    ]


class Asking(threading.Thread):
    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self.answer: tuple[int, Any] = (0, None)
        self.start()

    def run(self) -> None:
        self.answer = self.process.ask()

    def done(self) -> tuple[int, Any]:
        self.join(60)
        return self.answer


def test_a_model_is_woken_once_by_all_gateways_and_every_request_answered(
    kube: Kube, gateways: Any, stub: int
) -> None:
    sleeping(kube)
    both = gateways(kube.info["kubeconfig"])
    asking = [Asking(process) for process in both for _ in range(10)]
    until("awake", lambda: kube.get("deploy", "stub")["spec"]["replicas"] == 1, 60)
    until("held", lambda: sum(each.metric("kubeembed_gateway_held{") for each in both) == 20, 60)
    kube.apply(slice_at(kube, kube.info["hostAddress"], stub))
    answers = [each.done() for each in asking]
    assert {status for status, _ in answers} == {200}
    assert {len(body["data"]) for _, body in answers} == {1}
    assert wakes(kube).count(200) == 1
    assert sum(each.metric("kubeembed_gateway_wakes_total") for each in both) == 1
    kube.ctl("delete", "endpointslice", "stub-abcde")
    kube.ctl("scale", "deploy/stub", "--replicas=0")
    until("told", lambda: both[1].metric("kubeembed_gateway_pods") == 0, 60)
    again = Asking(both[1])
    until("awake again", lambda: kube.get("deploy", "stub")["spec"]["replicas"] == 1, 60)
    kube.apply(slice_at(kube, kube.info["hostAddress"], stub))
    assert again.done()[0] == 200


def test_the_files_of_a_login_do_not_bound_the_clients(kube: Kube, gateways: Any) -> None:
    sleeping(kube)
    (process,) = gateways(kube.info["kubeconfig"], HOSTS[:1])
    heads = ask_at_once(process.popen.pid, process.host, PORT, "/health")
    assert heads == {b"HTTP/1.1 200 OK"}


def test_requests_are_answered_while_the_api_server_is_away(
    kube: Kube, gateways: Any, stub: int, tmp_path: Path
) -> None:
    sleeping(kube)
    kube.apply(slice_at(kube, kube.info["hostAddress"], stub))
    with Proxy(api_server(kube)) as proxy:
        (process,) = gateways(by_way_of(kube, proxy, tmp_path), HOSTS[:1])
        until("forwarded", lambda: process.ask()[0] == 200, 60)
        proxy.cut()
        kube.ctl("delete", "endpointslice", "stub-abcde")
        for _ in range(10):
            assert process.ask()[0] == 200
        proxy.mend()
        until("told", lambda: process.metric("kubeembed_gateway_pods") == 0, 60)
        asking = Asking(process)
        until("awake", lambda: kube.get("deploy", "stub")["spec"]["replicas"] == 1, 60)
        kube.apply(slice_at(kube, kube.info["hostAddress"], stub))
        assert asking.done()[0] == 200


def test_a_signal_ends_it_after_the_last_answer(kube: Kube, gateways: Any, stub: int) -> None:
    sleeping(kube)
    (process,) = gateways(kube.info["kubeconfig"], HOSTS[:1])
    asking = Asking(process)
    until("held", lambda: process.metric("kubeembed_gateway_held{") == 1, 60)
    process.popen.send_signal(signal.SIGTERM)
    until("unready", lambda: not process.ready(), 60)
    time.sleep(1)
    kube.apply(slice_at(kube, kube.info["hostAddress"], stub))
    assert asking.done()[0] == 200
    assert process.popen.wait(60) == 0


def api_server(kube: Kube) -> tuple[str, int]:
    told = yaml.safe_load(Path(kube.info["kubeconfig"]).read_text())
    host, _, port = told["clusters"][0]["cluster"]["server"].removeprefix("https://").partition(":")
    return host, int(port)


def by_way_of(kube: Kube, proxy: Proxy, folder: Path) -> str:
    told = yaml.safe_load(Path(kube.info["kubeconfig"]).read_text())
    told["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
    (folder / "kubeconfig").write_text(yaml.safe_dump(told))
    return str(folder / "kubeconfig")
