"""What the source of the weights changes in the manifests: who the Job runs as, what it holds and trusts."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, Resolved
from kubeembed_api.keys import weights_key
from kubeembed_api.reasons import Reason
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.deployment import deployment
from kubeembed_operator.manifests.serving import service_account
from kubeembed_operator.manifests.weights import fetch_job, fetch_request
from kubeembed_operator.observed import Observed
from kubeembed_operator.plan import plan
from kubeembed_operator.settings import Settings
from kubeembed_operator.supported import refused
from kubeembed_operator.weights import Recorded, Weights, weights_of
from kubeembed_operator.weightsready import weights_ready

Build = Callable[..., EmbeddingModel]

KEY = "0123456789abcdef0123456789abcdef"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
BUCKET = {"source": "s3://models/minilm"}


def job_pod(model: EmbeddingModel, settings: Settings) -> Manifest:
    template: Manifest = fetch_job(model, settings)["spec"]["template"]
    return template


def from_secret(pod: Manifest) -> dict[str, tuple[str, bool]]:
    """Variable -> (key of the Secret `keys`, whether the pod starts without it)."""
    [container] = pod["spec"]["containers"]
    references = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in container["env"]
        if "valueFrom" in each
    }
    assert {reference["name"] for reference in references.values()} <= {"keys"}
    return {
        name: (reference["key"], reference.get("optional", False))
        for name, reference in references.items()
    }


def plain(pod: Manifest) -> dict[str, str]:
    [container] = pod["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ({"source": "hf://acme/minilm"}, {"HF_TOKEN": ("token", False)}),
        (
            BUCKET,
            {
                "AWS_ACCESS_KEY_ID": ("AWS_ACCESS_KEY_ID", False),
                "AWS_SECRET_ACCESS_KEY": ("AWS_SECRET_ACCESS_KEY", False),
                "AWS_SESSION_TOKEN": ("AWS_SESSION_TOKEN", True),
            },
        ),
        (
            {"source": "gs://models/minilm"},
            {"GOOGLE_SERVICE_ACCOUNT_KEY": ("GOOGLE_SERVICE_ACCOUNT_KEY", False)},
        ),
        (
            {"source": "az://models/minilm", "endpoint": "https://acme.blob.core.windows.net"},
            {
                name: (name, True)
                for name in (
                    "AZURE_STORAGE_ACCOUNT_KEY",
                    "AZURE_STORAGE_SAS_TOKEN",
                    "AZURE_TENANT_ID",
                    "AZURE_CLIENT_ID",
                    "AZURE_CLIENT_SECRET",
                )
            },
        ),
        (
            {"source": "https://models.acme.test/minilm/SHA256SUMS"},
            {
                "WEIGHTS_TOKEN": ("token", True),
                "WEIGHTS_USERNAME": ("username", True),
                "WEIGHTS_PASSWORD": ("password", True),
            },
        ),
    ],
    ids=["hf", "s3", "gs", "az", "https"],
)
def test_the_job_gets_the_keys_of_its_source_and_the_serving_pods_none(
    model: Build, settings: Settings, source: dict[str, str], variables: dict[str, Any]
) -> None:
    told = model(model={**source, "credentialsSecret": "keys"})
    assert from_secret(job_pod(told, settings)) == variables
    served = told.model_copy(update={"resolved": Resolved(revision="c0ffee", key=KEY)})
    assert "keys" not in str(deployment(served, settings)["spec"])


def test_the_job_runs_as_the_account_that_the_cloud_knows_and_the_serving_pods_do_not(
    model: Build, settings: Settings
) -> None:
    told = model(model={**BUCKET, "serviceAccountName": "model-reader"})
    pod = job_pod(told, settings)
    assert pod["spec"]["serviceAccountName"] == "model-reader"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert plain(pod)["GCE_METADATA_HOST"] == "metadata.google.internal"
    assert from_secret(pod) == {}
    served = told.model_copy(update={"resolved": Resolved(revision="c0ffee", key=KEY)})
    assert "model-reader" not in str(deployment(served, settings))
    assert service_account(told)["metadata"]["name"] == "minilm"


def test_without_an_account_nobody_is_asked_for_an_identity(
    model: Build, settings: Settings
) -> None:
    pod = job_pod(model(model=BUCKET), settings)
    assert pod["spec"]["serviceAccountName"] == "minilm"
    assert "azure.workload.identity/use" not in pod["metadata"]["labels"]
    assert plain(pod) == {"HF_ENDPOINT": "http://hub.test", "HOME": "/tmp"}


@pytest.fixture
def private(settings: Settings) -> Settings:
    weights = settings.weights.model_copy(update={"ca_certificates": CERTIFICATE})
    return settings.model_copy(update={"weights": weights})


def certificates(pod: Manifest) -> list[dict[str, str]]:
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    document = volumes["document"]
    sources = document["projected"]["sources"] if "projected" in document else [document]
    items: list[dict[str, str]] = next(s["configMap"]["items"] for s in sources if "configMap" in s)
    return [item for item in items if item["key"] == "ca.crt"]


def test_a_fetch_trusts_the_private_cas_of_the_chart(model: Build, private: Settings) -> None:
    told = model(model=BUCKET)
    pod = job_pod(told, private)
    assert certificates(pod) == [{"key": "ca.crt", "path": "ca.crt"}]
    assert plain(pod)["KUBEEMBED_CA_CERTIFICATES"] == "/etc/kubeembed/ca.crt"
    made = plan(told, private, Observed(), Weights(request="r")).apply
    data = next(each["data"] for each in made if each["kind"] == "ConfigMap")
    assert data["ca.crt"] == CERTIFICATE


@pytest.mark.parametrize(
    ("cache", "items"), [("Shared", []), ("Ephemeral", [{"key": "ca.crt", "path": "ca.crt"}])]
)
def test_a_serving_pod_sees_them_where_it_fetches(
    model: Build, private: Settings, cache: str, items: list[dict[str, str]]
) -> None:
    told = model(weights={"cache": cache})
    served = told.model_copy(update={"resolved": Resolved(revision="c0ffee", key=KEY)})
    assert certificates(deployment(served, private)["spec"]["template"]) == items


@pytest.mark.parametrize(
    "more",
    [
        {"endpoint": "https://minio.storage:9000"},
        {"region": "eu-central-1"},
        {"credentialsSecret": "keys"},
        {"serviceAccountName": "model-reader"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_asks_for_another_fetch(model: Build, more: dict[str, str]) -> None:
    assert fetch_request(model(model=BUCKET)) != fetch_request(model(model={**BUCKET, **more}))


def test_another_checksum_asks_for_another_fetch(model: Build) -> None:
    def archive(digit: str) -> EmbeddingModel:
        return model(model={"source": "https://host/m.tgz", "sha256": digit * 64})

    assert fetch_request(archive("0")) != fetch_request(archive("1"))


IMAGE = "registry.acme.test:5000/models/minilm@sha256:" + "0" * 64


def in_image(model: Build, path: str = "", **fields: str) -> EmbeddingModel:
    told = model(model={"source": f"oci://{IMAGE}{path}", **fields})
    found = weights_of(told, Recorded(), Observed())
    assert found.copy is not None
    return told.model_copy(update={"resolved": found.resolved})


def test_an_image_is_mounted_where_its_weights_are_looked_for(
    model: Build, settings: Settings
) -> None:
    told = in_image(model)
    digest = "sha256:" + "0" * 64
    key = weights_key(told.spec.model.parsed, digest)
    assert told.resolved == Resolved(revision=digest, key=key)
    pod = deployment(told, settings)["spec"]["template"]["spec"]
    assert pod["volumes"][-1] == {
        "image": {"pullPolicy": "IfNotPresent", "reference": IMAGE},
        "name": "weights",
    }
    assert pod["containers"][0]["volumeMounts"][-1] == {
        "mountPath": f"/var/cache/kubeembed/{key}",
        "name": "weights",
        "readOnly": True,
    }
    assert "initContainers" not in pod


def test_a_folder_of_an_image_is_mounted_alone(model: Build, settings: Settings) -> None:
    pod = deployment(in_image(model, "/models/1"), settings)["spec"]["template"]["spec"]
    assert pod["volumes"][-1]["image"]["reference"] == IMAGE
    assert pod["containers"][0]["volumeMounts"][-1]["subPath"] == "models/1"


def test_adapters_lie_in_a_claim_beside_the_image(model: Build, settings: Settings) -> None:
    told = model(
        model={"source": f"oci://{IMAGE}"},
        adapters=[{"name": "legal", "source": "hf://acme/legal"}],
    )
    found = weights_of(told, Recorded(), Observed())
    served = told.model_copy(update={"resolved": found.resolved})
    pod = deployment(served, settings)["spec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"claimName": "kubeembed-weights", "readOnly": True}]
    assert [volume["image"]["reference"] for volume in pod["volumes"] if "image" in volume] == [
        IMAGE
    ]


def test_nothing_is_fetched_for_an_image(model: Build, settings: Settings) -> None:
    told = in_image(model)
    made = plan(told, settings, Observed(), weights_of(told, Recorded(), Observed()))
    assert [each["kind"] for each in made.apply] == [
        "ServiceAccount",
        "ConfigMap",
        "Service",
        "Deployment",
    ]


def test_the_secret_of_an_image_is_kubelet_s_to_pull_with(model: Build, settings: Settings) -> None:
    told = in_image(model, credentialsSecret="registry-login")
    pod = deployment(told, settings)["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry-login"}]
    assert str(pod).count("registry-login") == 1


def test_a_cluster_without_image_volumes_is_told_so(model: Build) -> None:
    answer = "spec.template.spec.volumes[2]: Required value: must specify a volume type"
    told = refused(in_image(model), answer)
    assert (told.reason, told.message.startswith(answer)) == (Reason.PODS_FORBIDDEN, True)
    assert "needs Kubernetes 1.35 or newer" in told.message
    assert refused(model(), answer).message == answer


def test_weights_in_an_image_are_mounted_not_fetched(model: Build) -> None:
    told = in_image(model)
    found = weights_of(told, Recorded(), Observed())
    condition = weights_ready(told, found, Observed(), datetime.now(UTC))
    assert (condition.status, condition.reason) == ("True", Reason.MOUNTED)
