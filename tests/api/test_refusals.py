"""Wrong documents are refused by `kubectl apply`, with a sentence that says what to write."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nodekit import Kube

pytestmark = pytest.mark.apiserver

WRONG = yaml.safe_load(Path(__file__).with_name("wrong_documents.yaml").read_text())


@pytest.fixture(scope="module")
def plain(info: dict[str, Any]) -> Kube:
    """The cluster with our CRD alone."""
    kube = Kube(info, "default")
    kube.ctl("apply", "--server-side", "--force-conflicts", "-f", "crds/embeddingmodels.yaml")
    kube.ctl("wait", "--for=condition=Established", "crd/embeddingmodels.kubeembed.dev")
    return kube


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_document_is_refused_with_the_way_out(plain: Kube, wrong: dict[str, Any]) -> None:
    answer = refusal(plain, wrong["spec"])
    assert wrong["says"] in answer
    assert plain.get("em", "wrong") is None


def refusal(kube: Kube, spec: dict[str, Any], name: str = "wrong") -> str:
    manifest = {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": name},
        "spec": spec,
    }
    return kube.apply(manifest, check=False)


@pytest.mark.parametrize("name", ["9lives", "a" * 41, "a.b"])
def test_a_name_that_no_service_may_have_is_refused(plain: Kube, name: str) -> None:
    answer = refusal(plain, {"model": {"source": "hf://a/b"}}, name)
    assert "metadata.name becomes the name of a Service" in answer


def test_explain_reads_as_documentation(plain: Kube) -> None:
    text = plain.ctl("explain", "em.spec")
    assert "Only `model.source` has to be given." in text
    for name in ("model", "recipe", "adapters", "resources", "scaling", "weights", "rollout"):
        assert f"  {name}\t<" in text
