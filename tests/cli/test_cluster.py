"""What the API server's refusals mean to who typed a command."""

import json

import pytest

from kubeembed_cli.cluster import refusal
from kubeembed_cli.errors import ChartMissing, CommandFailed, Forbidden, OthersOwn, Unreachable

MODELS = "/apis/kubeembed.dev/v1alpha1/embeddingmodels"


@pytest.mark.parametrize(
    ("status", "path", "kind", "told"),
    [
        (401, MODELS, Unreachable, "log in again"),
        (403, MODELS, Forbidden, "as the server said"),
        (404, MODELS, ChartMissing, "helm upgrade --install"),
        (404, "/api/v1/pods", CommandFailed, "404: as the server said"),
        (409, "/api/v1/configmaps", OthersOwn, "`kubectl apply --server-side --force-conflicts"),
        (500, MODELS, CommandFailed, "500: as the server said"),
    ],
)
def test_a_refusal_says_what_can_be_done(
    status: int, path: str, kind: type[CommandFailed], told: str
) -> None:
    found = refusal(status, json.dumps({"message": "as the server said"}).encode(), path)
    assert type(found) is kind
    assert told in str(found)


def test_one_that_is_no_json_is_told_as_it_is() -> None:
    assert str(refusal(502, b"bad gateway\n", MODELS)) == "502: bad gateway"
