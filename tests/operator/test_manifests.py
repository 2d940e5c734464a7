"""The builders, by whole values; then one small assertion for each feature."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from kubeembed_api.caches import cache_claim
from kubeembed_api.document import EmbeddingModel, Resolved
from kubeembed_api.golden import Digests
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.adapters import adapter_list
from kubeembed_operator.manifests.deployment import deployment
from kubeembed_operator.manifests.metadata import stamp, stamped
from kubeembed_operator.manifests.scaling import first_replicas, scale
from kubeembed_operator.manifests.serving import document, fetch_document, service, service_account
from kubeembed_operator.manifests.weights import claim, fetch_job, fetch_request
from kubeembed_operator.rolledout import template_name
from kubeembed_operator.settings import Settings

Build = Callable[..., EmbeddingModel]

KEY = "0123456789abcdef0123456789abcdef"

SERVING_LABELS = {
    "app.kubernetes.io/component": "serving",
    "app.kubernetes.io/instance": "minilm",
    "app.kubernetes.io/managed-by": "kubeembed",
    "app.kubernetes.io/name": "embeddingmodel",
    "kubeembed.dev/model": "minilm",
}
WEIGHTS_LABELS = {**SERVING_LABELS, "app.kubernetes.io/component": "weights"}

OWNERS = [
    {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "blockOwnerDeletion": False,
        "controller": True,
        "kind": "EmbeddingModel",
        "name": "minilm",
        "uid": "7d5b2a60-0000-4000-8000-000000000001",
    }
]

POD_SECURITY = {
    "fsGroup": 10001,
    "fsGroupChangePolicy": "OnRootMismatch",
    "runAsGroup": 10001,
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


@pytest.fixture
def resolved(model: Build) -> Build:
    def build(**fields: Any) -> EmbeddingModel:
        found = Resolved(revision="c0ffee", key=KEY)
        return model(**fields).model_copy(update={"resolved": found})

    return build


ITS_DOCUMENT = {
    "fieldRef": {
        "apiVersion": "v1",
        "fieldPath": "metadata.annotations['kubeembed.dev/document']",
    },
    "path": "model.yaml",
}


def test_the_deployment_of_the_simplest_model(resolved: Build, settings: Settings) -> None:
    assert deployment(resolved(), settings) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "labels": SERVING_LABELS,
            "name": "minilm",
            "namespace": "search",
            "ownerReferences": OWNERS,
        },
        "spec": {
            "revisionHistoryLimit": 2,
            "selector": {
                "matchLabels": {
                    "app.kubernetes.io/component": "serving",
                    "kubeembed.dev/model": "minilm",
                }
            },
            "strategy": {
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
                "type": "RollingUpdate",
            },
            "template": {
                "metadata": {
                    "annotations": {
                        "kubeembed.dev/adapters": adapter_list(resolved()),
                        "kubeembed.dev/document": document(resolved()),
                        "kubeembed.dev/template": template_name(deployment(resolved(), settings)),
                    },
                    "labels": SERVING_LABELS,
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "args": [
                                "serve",
                                "/etc/kubeembed/model.yaml",
                                "--host",
                                "0.0.0.0",
                                "--cache",
                                "/var/cache/kubeembed",
                            ],
                            "command": ["kubeembed-runtime"],
                            "env": [{"name": "HOME", "value": "/tmp"}],
                            "image": "kubeembed/runtime:1",
                            "imagePullPolicy": "IfNotPresent",
                            "livenessProbe": {
                                "failureThreshold": 3,
                                "httpGet": {"path": "/livez", "port": "admin"},
                                "periodSeconds": 10,
                                "timeoutSeconds": 5,
                            },
                            "name": "runtime",
                            "ports": [
                                {"containerPort": 8080, "name": "http", "protocol": "TCP"},
                                {"containerPort": 8081, "name": "admin", "protocol": "TCP"},
                            ],
                            "readinessProbe": {
                                "failureThreshold": 2,
                                "httpGet": {"path": "/readyz", "port": "admin"},
                                "periodSeconds": 2,
                                "timeoutSeconds": 2,
                            },
                            "resources": {
                                "limits": {"memory": "2Gi"},
                                "requests": {"cpu": "1", "memory": "1Gi"},
                            },
                            "securityContext": CONTAINER_SECURITY,
                            "startupProbe": {
                                "failureThreshold": 1200,
                                "httpGet": {"path": "/livez", "port": "admin"},
                                "periodSeconds": 1,
                                "timeoutSeconds": 2,
                            },
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [
                                {
                                    "mountPath": "/etc/kubeembed",
                                    "name": "document",
                                    "readOnly": True,
                                },
                                {"mountPath": "/tmp", "name": "tmp"},
                                {
                                    "mountPath": "/var/cache/kubeembed",
                                    "name": "weights",
                                    "readOnly": True,
                                },
                            ],
                        }
                    ],
                    "enableServiceLinks": False,
                    "securityContext": POD_SECURITY,
                    "serviceAccountName": "minilm",
                    "terminationGracePeriodSeconds": 90,
                    "topologySpreadConstraints": [
                        {
                            "labelSelector": {
                                "matchLabels": {
                                    "app.kubernetes.io/component": "serving",
                                    "kubeembed.dev/model": "minilm",
                                }
                            },
                            "matchLabelKeys": ["pod-template-hash"],
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                        }
                    ],
                    "volumes": [
                        {
                            "name": "document",
                            "projected": {
                                "sources": [
                                    {"downwardAPI": {"items": [ITS_DOCUMENT]}},
                                    {
                                        "configMap": {
                                            "items": [
                                                {
                                                    "key": f"adapters-{adapter_list(resolved())}.json",
                                                    "path": "adapters.json",
                                                }
                                            ],
                                            "name": "minilm",
                                        }
                                    },
                                ]
                            },
                        },
                        {"emptyDir": {}, "name": "tmp"},
                        {
                            "name": "weights",
                            "persistentVolumeClaim": {
                                "claimName": "kubeembed-weights",
                                "readOnly": True,
                            },
                        },
                    ],
                },
            },
        },
    }


def test_api_keys_are_one_file_of_the_secret_and_origins_are_flags(
    resolved: Build, settings: Settings
) -> None:
    plain = deployment(resolved(), settings)
    origins = ["https://app.example", "*"]
    asked = resolved(serving={"apiKeysSecret": "our-keys", "corsOrigins": origins})
    found = deployment(asked, settings)
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][-4:] == [
        "--api-keys",
        "/etc/kubeembed-keys/our-keys/api-keys",
        "--cors-origin=https://app.example",
        "--cors-origin=*",
    ]
    assert container["volumeMounts"].pop() == {
        "mountPath": "/etc/kubeembed-keys/our-keys",
        "name": "api-keys",
        "readOnly": True,
    }
    assert pod["volumes"].pop() == {
        "name": "api-keys",
        "secret": {
            "defaultMode": 0o440,
            "items": [{"key": "api-keys", "path": "api-keys"}],
            "optional": True,
            "secretName": "our-keys",
        },
    }
    del container["args"][-4:]
    del found["spec"]["template"]["metadata"]["annotations"]["kubeembed.dev/template"]
    del plain["spec"]["template"]["metadata"]["annotations"]["kubeembed.dev/template"]
    assert found == plain


def test_golden_vectors_are_mounted_and_change_nothing_else(
    resolved: Build, settings: Settings
) -> None:
    plain = deployment(resolved(), settings)["spec"]["template"]["spec"]
    rollout = {"golden": {"configMap": "my-golden", "minCosine": 0.99}}
    held = resolved(rollout=rollout)
    made = deployment(held, settings, read=Digests(base="b1", every="e1"))
    found = made["spec"]["template"]["spec"]
    container = found["containers"][0]
    file = "/etc/kubeembed-golden/my-golden/golden.jsonl"
    through = "/etc/kubeembed-roll-out/rolled-out"
    flags = ["--golden", file, "--min-cosine", "0.99"]
    flags += ["--golden-digests", "b1", "e1", "--rolled-out", through]
    assert container["args"][-9:] == flags
    assert container["volumeMounts"].pop() == {
        "mountPath": "/etc/kubeembed-roll-out",
        "name": "roll-out",
        "readOnly": True,
    }
    assert container["volumeMounts"].pop() == {
        "mountPath": "/etc/kubeembed-golden/my-golden",
        "name": "golden",
        "readOnly": True,
    }
    key = f"rolled-out-{template_name(made)}"
    assert found["volumes"].pop() == {
        "configMap": {
            "items": [{"key": key, "path": "rolled-out"}],
            "name": "minilm",
            "optional": True,
        },
        "name": "roll-out",
    }
    assert found["volumes"].pop() == {
        "configMap": {
            "name": "my-golden",
            "optional": True,
        },
        "name": "golden",
    }
    del container["args"][-9:]
    assert found == plain


def test_whatever_of_a_template_is_another_it_has_another_name(
    resolved: Build, settings: Settings
) -> None:
    golden = {"rollout": {"golden": {"configMap": "my-golden"}}}
    adapters = [{"name": "legal", "source": "hf://acme/legal"}]
    images = settings.images.model_copy(update={"runtime": "kubeembed/runtime:2"})
    other = settings.model_copy(update={"images": images})
    same = [
        deployment(resolved(), settings),
        deployment(resolved(adapters=adapters), settings),
        deployment(resolved(), settings, replaces=True),
    ]
    others = [
        deployment(resolved(), other),
        deployment(resolved(recipe={"dtype": "float32"}), settings),
        deployment(resolved(), settings, "next"),
        deployment(resolved(**golden), settings),
        deployment(resolved(**golden), settings, read=Digests(base="b", every="e")),
        deployment(resolved(**golden), settings, read=Digests(base="b", every="f")),
    ]
    assert len({*map(template_name, same)}) == 1
    assert len({*map(template_name, [*same, *others])}) == 1 + len(others)


def test_the_fetch_job_of_a_model_with_credentials(model: Build, settings: Settings) -> None:
    source = {"source": "hf://acme/minilm", "credentialsSecret": "hf-token"}
    assert fetch_job(model(model=source), settings) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "labels": WEIGHTS_LABELS,
            "name": "minilm-fetch-e052f06b",
            "namespace": "search",
            "ownerReferences": OWNERS,
        },
        "spec": {
            "backoffLimit": 2147483647,
            "template": {
                "metadata": {"labels": WEIGHTS_LABELS},
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "args": ["fetch", "/etc/kubeembed/model.yaml"],
                            "command": ["kubeembed-weights"],
                            "env": [
                                {"name": "HF_ENDPOINT", "value": "http://hub.test"},
                                {"name": "HOME", "value": "/tmp"},
                                {
                                    "name": "HF_TOKEN",
                                    "valueFrom": {
                                        "secretKeyRef": {"key": "token", "name": "hf-token"}
                                    },
                                },
                            ],
                            "image": "kubeembed/control:1",
                            "imagePullPolicy": "IfNotPresent",
                            "name": "fetch",
                            "ports": [{"containerPort": 8081, "name": "admin", "protocol": "TCP"}],
                            "resources": {
                                "limits": {"memory": "1Gi"},
                                "requests": {"cpu": "100m", "memory": "256Mi"},
                            },
                            "securityContext": CONTAINER_SECURITY,
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [
                                {
                                    "mountPath": "/etc/kubeembed",
                                    "name": "document",
                                    "readOnly": True,
                                },
                                {"mountPath": "/tmp", "name": "tmp"},
                                {"mountPath": "/var/cache/kubeembed", "name": "weights"},
                            ],
                        }
                    ],
                    "enableServiceLinks": False,
                    "restartPolicy": "OnFailure",
                    "securityContext": POD_SECURITY,
                    "serviceAccountName": "minilm",
                    "volumes": [
                        {
                            "configMap": {
                                "items": [{"key": "fetch.yaml", "path": "model.yaml"}],
                                "name": "minilm",
                            },
                            "name": "document",
                        },
                        {"emptyDir": {}, "name": "tmp"},
                        {
                            "name": "weights",
                            "persistentVolumeClaim": {"claimName": "kubeembed-weights"},
                        },
                    ],
                },
            },
        },
    }


def test_the_service_selects_the_pods_of_the_deployment(
    resolved: Build, settings: Settings
) -> None:
    made = service(resolved())
    assert made == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "labels": SERVING_LABELS,
            "name": "minilm",
            "namespace": "search",
            "ownerReferences": OWNERS,
        },
        "spec": {
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
            "selector": {
                "app.kubernetes.io/component": "serving",
                "kubeembed.dev/model": "minilm",
            },
            "type": "ClusterIP",
        },
    }
    template = deployment(resolved(), settings)["spec"]["template"]
    assert made["spec"]["selector"].items() <= template["metadata"]["labels"].items()


def test_the_service_account_mounts_no_token(model: Build) -> None:
    assert service_account(model()) == {
        "apiVersion": "v1",
        "automountServiceAccountToken": False,
        "kind": "ServiceAccount",
        "metadata": {
            "labels": SERVING_LABELS,
            "name": "minilm",
            "namespace": "search",
            "ownerReferences": OWNERS,
        },
    }


def test_the_shared_claim_belongs_to_no_model(settings: Settings) -> None:
    assert claim("search", settings) == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "labels": {
                "app.kubernetes.io/component": "weights",
                "app.kubernetes.io/managed-by": "kubeembed",
            },
            "name": "kubeembed-weights",
            "namespace": "search",
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "100Gi"}},
        },
    }


def test_the_mounted_document_names_the_copy_and_no_secret(resolved: Build) -> None:
    source = {"source": "hf://acme/minilm", "revision": "main", "credentialsSecret": "hf-token"}
    model = resolved(model=source)
    assert yaml.safe_load(document(model)) == {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "minilm", "namespace": "search"},
        "spec": {
            "model": {"source": "hf://acme/minilm", "revision": "main", "trustRemoteCode": False},
            "recipe": {"dtype": "auto"},
            "adapterOptions": {"maxLoaded": 64},
        },
        "status": {"model": {"revision": "c0ffee"}, "weights": {"key": KEY}},
    }


def test_the_fetch_document_has_nothing_resolved(resolved: Build) -> None:
    told = yaml.safe_load(fetch_document(resolved()))
    assert told["status"] == {"model": {"revision": None}, "weights": {"key": None}}


def test_a_scale_touches_the_number_and_its_annotation_alone(model: Build) -> None:
    assert scale(model(), 3) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "annotations": {"kubeembed.dev/replicas": "3"},
            "name": "minilm",
            "namespace": "search",
        },
        "spec": {"replicas": 3},
    }


def test_a_profile_places_the_pod_and_count_multiplies_it(
    resolved: Build, settings: Settings
) -> None:
    model = resolved(resources={"profile": "l4", "count": 2})
    pod = deployment(model, settings)["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["nodeSelector"] == {"gpu": "l4"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pod["runtimeClassName"] == "nvidia"
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "2"}}
    assert container["image"] == "kubeembed/runtime:1-cuda"
    assert [entry["name"] for entry in container["env"]] == ["A", "B", "HOME"]


def test_a_cpu_pod_asks_for_no_gpu(resolved: Build, settings: Settings) -> None:
    assert "gpu" not in yaml.safe_dump(deployment(resolved(), settings))


def test_an_ephemeral_cache_is_filled_by_an_init_container(
    resolved: Build, settings: Settings
) -> None:
    model = resolved(weights={"cache": "Ephemeral"})
    pod = deployment(model, settings)["spec"]["template"]["spec"]
    assert pod["volumes"][-1] == {"emptyDir": {}, "name": "weights"}
    assert pod["initContainers"][0]["args"] == ["fetch", "/etc/kubeembed/model.yaml"]
    assert pod["initContainers"][0]["volumeMounts"][-1] == {
        "mountPath": "/var/cache/kubeembed",
        "name": "weights",
    }
    job = fetch_job(model, settings)["spec"]["template"]["spec"]
    assert job["containers"][0]["args"][-1] == "--resolve-only"
    assert [volume["name"] for volume in job["volumes"]] == ["document", "tmp"]
    assert cache_claim(model) is None


def test_a_claim_as_source_is_mounted_where_its_key_is_looked_for(
    resolved: Build, settings: Settings
) -> None:
    model = resolved(model={"source": "pvc://models/bge/m3"})
    pod = deployment(model, settings)["spec"]["template"]["spec"]
    assert pod["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert pod["containers"][0]["volumeMounts"][-1] == {
        "mountPath": f"/var/cache/kubeembed/{KEY}",
        "name": "weights",
        "readOnly": True,
        "subPath": "bge/m3",
    }
    job = fetch_job(model, settings)["spec"]["template"]["spec"]
    assert job["containers"][0]["args"] == [
        "check",
        "/etc/kubeembed/model.yaml",
        "--path",
        "/var/cache/kubeembed/source",
    ]
    assert job["containers"][0]["volumeMounts"][-1] == {
        "mountPath": "/var/cache/kubeembed/source",
        "name": "weights",
        "readOnly": True,
        "subPath": "bge/m3",
    }


def test_recreate_stops_the_old_pods_first(resolved: Build, settings: Settings) -> None:
    model = resolved(rollout={"strategy": "Recreate"})
    assert deployment(model, settings)["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("scaling", "replicas"),
    [
        ({}, 1),
        ({"min": 3, "max": 3}, 3),
        ({"mode": "External", "replicas": 0}, 0),
        ({"mode": "External"}, None),
        ({"min": 2, "max": 5}, 2),
        ({"min": 0}, 1),
    ],
    ids=["default", "fixed", "external", "left to others", "by load", "may sleep"],
)
def test_who_says_how_many_replicas(
    model: Build, scaling: dict[str, Any], replicas: int | None
) -> None:
    assert first_replicas(model(scaling=scaling)) == replicas


@pytest.mark.parametrize("make", [deployment, fetch_job], ids=["deployment", "job"])
def test_the_same_model_gives_the_same_stamp(
    resolved: Build, settings: Settings, make: Callable[..., Manifest]
) -> None:
    one, other = stamped(make(resolved(), settings)), stamped(make(resolved(), settings))
    assert stamp(one) is not None
    assert one == other


def test_scaling_and_adapters_leave_the_pods_alone(resolved: Build, settings: Settings) -> None:
    plain, scaled = resolved(), resolved(scaling={"min": 4, "max": 4})
    assert deployment(plain, settings) == deployment(scaled, settings)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": {"source": "hf://acme/other", "revision": "main"}},
        {"model": {"source": "hf://acme/minilm", "revision": "v2"}},
        {"model": {"source": "hf://acme/minilm", "revision": "main", "credentialsSecret": "t"}},
        {"annotations": {"kubeembed.dev/resolve": "today"}},
        {"weights": {"cache": "Ephemeral"}},
        {"weights": {"claim": "mine"}},
    ],
    ids=["source", "revision", "secret", "annotation", "cache", "claim"],
)
def test_what_asks_for_another_fetch(model: Build, fields: dict[str, Any]) -> None:
    assert fetch_request(model()) != fetch_request(model(**fields))


def test_a_recipe_asks_for_no_other_fetch(model: Build) -> None:
    assert fetch_request(model()) == fetch_request(model(recipe={"pooling": "cls"}))
