"""Who asks a store without a Secret: the identity that a cloud's webhook gives the fetch Job, and only then.

The clouds' token servers are small ones of our own, since there are none to be had; what they hand out is
shown to the real store, or is seen in the request that reaches it.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from storekit import ACCESS_KEY, SECRET_KEY, Bucket, s3_store
from weightskit import TOTAL, Command, document

pytestmark = pytest.mark.stores

TEMPORARY = {
    "AccessKeyId": ACCESS_KEY,
    "SecretAccessKey": SECRET_KEY,
    "Expiration": "2099-01-01T00:00:00Z",
}
STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{AccessKeyId}</AccessKeyId>
<SecretAccessKey>{SecretAccessKey}</SecretAccessKey><SessionToken></SessionToken>
<Expiration>{Expiration}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


class TokenServer:
    """Answers every request with one body, and remembers (path, headers, body) of each."""

    def __init__(self, body: str, certificates: Path | None = None) -> None:
        asked: list[tuple[str, dict[str, str], str]] = []
        self.asked = asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked.append((self.path, dict(self.headers.items()), sent.decode()))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_POST = do_CONNECT = do_GET

            def log_message(self, *_: object) -> None:
                """`asked` is the log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def tokens() -> Iterator[Callable[..., TokenServer]]:
    made: list[TokenServer] = []

    def start(body: str, certificates: Path | None = None) -> TokenServer:
        made.append(TokenServer(body, certificates))
        return made[-1]

    yield start
    for each in made:
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """The projected token of a service account, as a webhook mounts it."""
    path = tmp_path / "token"
    path.write_text("the-account-s-token")
    return path


def fetched(tmp_path: Path, root: Path, environ: dict[str, str], told: Any) -> dict[str, Any]:
    command = Command(tmp_path, environ)
    return command.end(command.fetch(root, told=told)).report


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_irsa_exchanges_the_token_of_the_account_for_keys(
    bucket: Bucket,
    root: Path,
    tmp_path: Path,
    token_file: Path,
    tokens: Callable[..., TokenServer],
    certificates: Path,
) -> None:
    sts = tokens(STS.format(**TEMPORARY), certificates)  # obstore asks it over TLS alone
    environ = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/model-reader",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_STS": f"https://{sts.host}",
        "KUBEEMBED_CA_CERTIFICATES": str(certificates / "ca.pem"),
    }
    report = fetched(tmp_path, root, environ, document(**bucket.fields))
    assert (report["reason"], report.get("bytes")) == ("Fetched", TOTAL), report
    [(path, _, body)] = sts.asked
    assert "the-account-s-token" in path + body
    assert "model-reader" in path + body


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_eks_pod_identity_asks_the_agent_of_the_node(
    bucket: Bucket,
    root: Path,
    tmp_path: Path,
    token_file: Path,
    tokens: Callable[..., TokenServer],
) -> None:
    agent = tokens(json.dumps({**TEMPORARY, "Token": ""}))
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{agent.host}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token_file),
        "AWS_REGION": "us-east-1",
    }
    report = fetched(tmp_path, root, environ, document(**bucket.fields))
    assert (report["reason"], report["bytes"]) == ("Fetched", TOTAL)
    [(path, headers, _)] = agent.asked
    assert path == "/v1/credentials"
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == (
        "the-account-s-token"
    )


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_gke_workload_identity_asks_the_metadata_server(
    bucket: Bucket, root: Path, tmp_path: Path, tokens: Callable[..., TokenServer]
) -> None:
    told = {"access_token": "of-the-account", "expires_in": 3600, "token_type": "Bearer"}
    metadata = tokens(json.dumps(told))
    report = fetched(
        tmp_path, root, {"GCE_METADATA_HOST": metadata.host}, document(**bucket.fields)
    )
    assert (report["reason"], report["bytes"]) == ("Fetched", TOTAL)
    [(path, headers, _)] = metadata.asked
    assert path.startswith("/computeMetadata/v1/instance/service-accounts/default/token")
    assert {name.lower() for name in headers} >= {"metadata-flavor"}
    assert {entry["authorized"] for entry in bucket.proxy.log.entries()} == {True}


@pytest.mark.parametrize("store", ["az"], indirect=True)
def test_azure_workload_identity_exchanges_the_token_of_the_account(
    bucket: Bucket,
    root: Path,
    tmp_path: Path,
    token_file: Path,
    tokens: Callable[..., TokenServer],
) -> None:
    """Up to the store's door: Azurite takes such a token over TLS alone, and then checks nothing in it."""
    told = {"access_token": "of-the-account", "expires_in": 3600, "token_type": "Bearer"}
    entra = tokens(json.dumps(told))
    environ = {
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        "AZURE_CLIENT_ID": "client",
        "AZURE_TENANT_ID": "tenant",
        "AZURE_AUTHORITY_HOST": f"http://{entra.host}",
    }
    report = fetched(tmp_path, root, environ, document(**bucket.fields))
    assert report["reason"] == "SourceUnauthorized"
    assert entra.asked[0][0] == "/tenant/oauth2/v2.0/token"
    assert "the-account-s-token" in entra.asked[0][2]
    assert {entry["authorized"] for entry in bucket.proxy.log.entries()} == {True}


def test_a_stranger_signs_nothing(bucket: Bucket, root: Path, tmp_path: Path) -> None:
    """And asks no metadata server: with one that hangs at its usual address this would not end."""
    report = fetched(tmp_path, root, {}, document(**bucket.fields))
    assert report["reason"] in ("Fetched", "SourceUnauthorized", "SourceNotFound")
    assert {entry["authorized"] for entry in bucket.proxy.log.entries()} == {False}


def test_no_host_is_asked_but_the_document_s(
    bucket: Bucket,
    keys: dict[str, str],
    root: Path,
    tmp_path: Path,
    tokens: Callable[..., TokenServer],
) -> None:
    """A proxy that every client here would take for every other host: nobody comes to it."""
    proxy = tokens("")
    elsewhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), f"http://{proxy.host}")
    environ = {**keys, **elsewhere, **{name.lower(): url for name, url in elsewhere.items()}}
    environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    report = fetched(tmp_path, root, environ, document(**bucket.fields))
    assert (report["reason"], proxy.asked) == ("Fetched", [])
    named = document("s3://tests/models/x")  # Amazon's own endpoint, which is not reached here
    assert fetched(tmp_path, root, environ, named)["reason"] == "SourceUnavailable"
    assert {path for path, _, _ in proxy.asked} == {"s3.us-east-1.amazonaws.com:443"}


def test_a_private_ca_is_trusted_where_the_chart_says_so(
    tmp_path: Path, root: Path, folder: Path, certificates: Path
) -> None:
    server = str(certificates / "server.pem"), str(certificates / "server.key")
    (tmp_path / "buckets").mkdir()
    with s3_store(tmp_path / "buckets", "--cert", server[0], "--key", server[1]) as store:
        told = document("s3://tests/models/none", endpoint=store.url)
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        distrusted = fetched(tmp_path, root, keys, told)
        assert distrusted["reason"] == "SourceUnavailable"
        assert "weights.caCertificates of the chart" in distrusted["message"]
        private = {"KUBEEMBED_CA_CERTIFICATES": str(certificates / "ca.pem")}
        trusted = fetched(tmp_path, root, keys | private, told)
        assert (trusted["reason"], "nothing under this path" in trusted["message"]) == (
            "SourceNotFound",
            True,
        )
