"""What a pod and a user of the node may rely on, seen on a real one."""

import http.server
import itertools
import json
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodekit import RESTRICTED, Kube, audited, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PROBE = "localhost/kubeembed/probe:1"
Manifest = dict[str, Any]
NUMBERS = itertools.count()


def ask(address: str, path: str = "/", port: int = 8080, **query: str) -> str:
    """The probe's answer. Raises AssertionError with its error."""
    url = f"http://{address}:{port}{path}?{urllib.parse.urlencode(query)}"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return str(direct.open(url, timeout=30).read().decode())
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error


def pod(name: str, *, claim: str | None = None, limits: dict[str, str] | None = None) -> Manifest:
    """A pod that a restricted namespace takes; the claim is mounted at /data."""
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": PROBE,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                    "resources": {"limits": limits or {}},
                    "volumeMounts": [{"name": v["name"], "mountPath": "/data"} for v in volumes],
                }
            ],
            "volumes": volumes,
        },
    }


def claim(name: str, *, size: str = "1Gi", storage_class: str | None = None) -> Manifest:
    chosen = {"storageClassName": storage_class} if storage_class else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": size}},
            **chosen,
        },
    }


def service(name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


@pytest.fixture
def make_namespace(node: dict[str, Any]) -> Iterator[Callable[[str], Kube]]:
    """Namespaces that enforce the restricted level; deleted afterwards."""
    made: list[Kube] = []

    def make(name: str) -> Kube:
        kube = Kube(node, name)
        kube.ctl("create", "namespace", name)
        made.append(kube)
        kube.ctl("label", "namespace", name, RESTRICTED)
        until("the default account", lambda: kube.get("sa", "default"), 60)
        return kube

    yield make
    for kube in made:
        kube.ctl("delete", "namespace", "--wait=false", kube.namespace)


@pytest.fixture
def kube(make_namespace: Callable[[str], Kube]) -> Kube:
    return make_namespace(f"trial-{next(NUMBERS)}")


def start(kube: Kube, *manifests: Manifest) -> list[str]:
    """Apply, wait until the pods among them are ready. Returns the pods' addresses."""
    kube.apply(*manifests)
    names = [each["metadata"]["name"] for each in manifests if each["kind"] == "Pod"]
    kube.ctl("wait", "--for=condition=Ready", "--timeout=180s", *(f"pod/{name}" for name in names))
    return [kube.get("pod", name)["status"]["podIP"] for name in names]


def test_a_namespace_that_enforces_the_restricted_level_refuses_a_root_pod(kube: Kube) -> None:
    root = pod("root")
    root["spec"]["securityContext"] = {}
    assert "violates PodSecurity" in kube.apply(root, check=False)


def test_a_plain_read_write_many_claim_is_shared_by_pods_that_are_not_root(kube: Kube) -> None:
    writer, reader = start(
        kube, claim("shared"), pod("writer", claim="shared"), pod("reader", claim="shared")
    )
    ask(writer, "/write", file="/data/word", text="shared")
    assert ask(reader, "/read", file="/data/word") == "shared"
    bound = kube.get("pvc", "shared")
    assert bound["status"]["accessModes"] == ["ReadWriteMany"]
    assert bound["spec"]["storageClassName"] == "standard"


def test_claims_of_two_namespaces_have_folders_of_their_own(
    node: dict[str, Any], make_namespace: Callable[[str], Kube]
) -> None:
    for name in ("first", "second"):
        kube = make_namespace(name)
        [address] = start(kube, claim("data"), pod("writer", claim="data"))
        ask(address, "/write", file="/data/word", text=name)
        folder = Path(node["volumes"]) / kube.get("pvc", "data")["spec"]["volumeName"]
        assert (folder / "word").read_text() == name


def test_the_folder_goes_with_its_claim(node: dict[str, Any], kube: Kube) -> None:
    start(kube, claim("data"), pod("writer", claim="data"))
    folder = Path(node["volumes"]) / kube.get("pvc", "data")["spec"]["volumeName"]
    assert folder.is_dir()
    kube.ctl("delete", "pod/writer", "pvc/data")
    until("the folder is gone", lambda: not folder.exists(), 60)


def test_a_small_claim_fills_up_and_takes_more_once_it_is_made_larger(
    node: dict[str, Any], kube: Kube, tool: Callable[..., str]
) -> None:
    [address] = start(
        kube, claim("small", size="4Mi", storage_class="small"), pod("writer", claim="small")
    )
    with pytest.raises(AssertionError, match="no space left on device"):
        ask(address, "/write", file="/data/big", text="x", bytes=str(6 << 20))
    volume = kube.get("pvc", "small")["spec"]["volumeName"]
    folder = f"{node['volumes']}/{volume}"
    tool("exec", "tests", "mount", "-o", "remount,size=16M", folder)
    assert ask(address, "/write", file="/data/big", text="x", bytes=str(6 << 20)) == str(6 << 20)


def answer_in_time(address: str, path: str = "/", port: int = 8080, **query: str) -> object:
    """As `ask`, once kube-proxy, or the DNS, has heard of a Service that was just made."""

    def once() -> str | None:
        try:
            return ask(address, path, port, **query)
        except (AssertionError, OSError):  # refused: there are no endpoints yet
            return None

    return until(f"{address}:{port}{path} {query} answers", once, 60)


def test_services_are_reached_by_name_from_pods_and_by_address_from_the_machine(kube: Kube) -> None:
    client, _ = start(kube, pod("client"), pod("server"), service("server"), service("client"))
    address = kube.get("service", "server")["spec"]["clusterIP"]
    whole = f"server.{kube.namespace}.svc.cluster.local"
    assert answer_in_time(client, "/lookup", name=whole) == address
    assert answer_in_time(client, "/lookup", name="server") == address
    assert answer_in_time(address, port=80) == "server"
    assert answer_in_time(client, "/get", url="http://server") == "server"
    itself = f"http://client.{kube.namespace}"
    assert answer_in_time(client, "/get", url=itself) == "client"


def policy(name: str, *peers: Manifest) -> Manifest:
    rule = {"from": list(peers), "ports": [{"port": 8080, "protocol": "TCP"}]}
    spec = {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {**spec, "ingress": [rule]},
    }


def test_a_network_policy_lets_in_whom_it_names_and_the_nodes_probes(
    make_namespace: Callable[[str], Kube],
) -> None:
    ours, theirs = make_namespace("guarded"), make_namespace("others")
    friend = {"podSelector": {"matchLabels": {"app": "friend"}}}
    friendly, unnamed, server = start(
        ours, pod("friend"), pod("neighbour"), pod("server"), policy("server", friend)
    )
    [foreign] = start(theirs, pod("friend"))
    url = f"http://{server}:8080/"

    def reached(client: str) -> bool:
        try:
            return ask(client, "/get", url=url) == "server"
        except AssertionError:
            return False

    def let_in() -> list[bool]:
        return [reached(client) for client in (friendly, unnamed, foreign)]

    until("others are kept out", lambda: let_in() == [True, False, False], 120)
    ours.ctl("delete", "pod", "server")
    [server] = start(ours, pod("server"))  # ready: the kubelet's probe got through
    ours.ctl("delete", "networkpolicy", "server")
    url = f"http://{server}:8080/"
    until("everybody is let in again", lambda: reached(foreign), 60)


def test_a_name_outside_the_cluster_is_answered_with_no_such_host(kube: Kube) -> None:
    [address] = start(kube, pod("client"))
    with pytest.raises(AssertionError, match="no such host"):
        ask(address, "/lookup", name="example.com.")


def test_a_pod_reaches_a_server_that_runs_on_the_machine(node: dict[str, Any], kube: Kube) -> None:
    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the machine")

        def log_message(self, *_words: object) -> None:
            return

    [address] = start(kube, pod("client"))
    with http.server.ThreadingHTTPServer((node["hostAddress"], 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{node['hostAddress']}:{server.server_port}/"
        assert ask(address, "/get", url=url) == "from the machine"
        server.shutdown()


def test_logs_exec_and_port_forward_work(node: dict[str, Any], kube: Kube) -> None:
    start(kube, pod("server"))
    assert kube.ctl("logs", "server") == "probe listens\n"
    assert kube.ctl("exec", "server", "--", "/probe", "say", "hello") == "hello\n"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = (node["kubectl"], "--kubeconfig", node["kubeconfig"], "-n", kube.namespace)
    with subprocess.Popen(
        [*command, "port-forward", "pod/server", f"{port}:8080"], stdout=subprocess.PIPE
    ) as forward:
        assert forward.stdout is not None
        assert forward.stdout.readline()
        assert ask("127.0.0.1", port=port) == "server"
        forward.terminate()


def test_pretended_gpus_are_given_out_until_none_is_left(node: dict[str, Any], kube: Kube) -> None:
    assert node["gpus"] == 4
    two = {"nvidia.com/gpu": "2"}
    start(kube, pod("first", limits=two), pod("second", limits=two))
    kube.apply(pod("third", limits=two))
    refused = until("the scheduler's verdict", lambda: scheduled(kube, "third"), 60)
    assert refused["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in refused["message"]


def scheduled(kube: Kube, name: str) -> Any:
    conditions = kube.get("pod", name)["status"].get("conditions", ())
    return next((each for each in conditions if each["type"] == "PodScheduled"), None)


def test_every_request_is_in_the_audit_log_with_who_did_what(
    node: dict[str, Any], kube: Kube
) -> None:
    kube.ctl("create", "configmap", "audited")

    def found() -> list[Manifest]:
        rows = audited(node)
        return [row for row in rows if row.get("objectRef", {}).get("name") == "audited"]

    [event] = until("the request", found, 60)  # written after it has been answered
    assert event["verb"] == "create"
    assert event["user"]["username"] == "admin"
    assert event["userAgent"].startswith("kubectl/")
    assert event["objectRef"]["resource"] == "configmaps"
    assert event["objectRef"]["namespace"] == kube.namespace


def test_a_service_account_has_no_rights_that_nobody_gave_it(kube: Kube) -> None:
    account = f"--as=system:serviceaccount:{kube.namespace}:default"
    assert "Forbidden" in kube.ctl("get", "pods", account, check=False)


def test_an_image_that_is_there_is_not_loaded_again(
    node: dict[str, Any], probe: Path, tool: Callable[..., str]
) -> None:
    done = subprocess.run(
        ["python3", "dev/cluster", "load", "tests", str(probe)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr.strip() == f"{PROBE}: on tests already"


def test_up_on_a_running_cluster_changes_nothing(
    node: dict[str, Any], tool: Callable[..., str]
) -> None:
    tool("up", "tests", "--audit", "--gpus", "4")
    assert json.loads(tool("status", "tests", "--json")) == node


def test_a_component_that_is_killed_comes_back_and_pods_run_on(
    node: dict[str, Any], kube: Kube, tool: Callable[..., str]
) -> None:
    [address] = start(kube, pod("survivor"))
    before = component_pids(node)
    for component in ("containerd", "kubelet"):
        tool("crash", "tests", component, "--away", "0.5")
    until("up again", lambda: tool("status", "tests", "--json", check=False), 120)
    changed = {name for name, pid in component_pids(node).items() if pid != before[name]}
    assert changed == {"containerd", "kubelet"}
    start(kube, pod("another"))
    assert ask(address) == "survivor"
    [status] = kube.get("pod", "survivor")["status"]["containerStatuses"]
    assert status["restartCount"] == 0


def component_pids(node: dict[str, Any]) -> dict[str, str]:
    folder = Path(node["kubeconfig"]).parent / "running"
    return {path.stem: path.read_text() for path in folder.iterdir()}
