"""What a source answers instead has a reason of its own and a way out, and passes with its cause."""

import socket
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from hub_server import Hub
from kubeembed_api.reasons import Reason
from kubeembed_weights import FetchError, fetch
from kubeembed_weights.rate_limit import RateLimit
from weightskit import (
    REPOSITORY,
    SOURCE,
    TOTAL,
    WEIGHTS,
    model,
    refused,
    write_model,
)

Environ = dict[str, str]


ANSWERS = [
    pytest.param(401, {}, Reason.SOURCE_UNAUTHORIZED, "spec.model.credentialsSecret", id="401"),
    pytest.param(403, {}, Reason.SOURCE_FORBIDDEN, "the token may not read it", id="403"),
    pytest.param(
        403, {"X-Error-Code": "GatedRepo"}, Reason.SOURCE_FORBIDDEN, "ask for access", id="gated"
    ),
    pytest.param(404, {}, Reason.SOURCE_NOT_FOUND, "check spec.model.source", id="404"),
    pytest.param(429, {}, Reason.SOURCE_RATE_LIMITED, "too many requests", id="429"),
    pytest.param(500, {}, Reason.SOURCE_UNAVAILABLE, "answered 500", id="500"),
    pytest.param(503, {}, Reason.SOURCE_UNAVAILABLE, "answered 503", id="503"),
]


@pytest.mark.parametrize("where", ["/api/*", f"/*/resolve/*{WEIGHTS}", f"/_cdn/*{WEIGHTS}"])
@pytest.mark.parametrize(("status", "headers", "reason", "way_out"), ANSWERS)
def test_an_answer_that_is_none_has_its_reason_and_passes_with_its_cause(
    hub: Hub,
    root: Path,
    environ: Environ,
    where: str,
    status: int,
    headers: dict[str, str],
    reason: Reason,
    way_out: str,
) -> None:
    hub.fault(path=where, count=1, status=status, headers=headers, message="no luck")
    failure = refused(root, environ)
    assert failure.reason is reason
    assert SOURCE in failure.message
    assert f"answered {status} (no luck)" in failure.message
    assert way_out in failure.message
    assert fetch(model(), root, environ=environ).bytes == TOTAL


@pytest.mark.parametrize(
    ("source", "revision", "token", "reason", "problem"),
    [
        pytest.param(
            "hf://acme/none",
            None,
            None,
            Reason.SOURCE_UNAUTHORIZED,
            "there is no such repository, or it needs a token",
            id="no repository, no token",
        ),
        pytest.param(
            "hf://acme/none",
            None,
            "t",
            Reason.SOURCE_NOT_FOUND,
            "no such repository; check spec.model.source",
            id="no repository",
        ),
        pytest.param(
            SOURCE,
            "v9",
            None,
            Reason.SOURCE_NOT_FOUND,
            "revision 'v9'.*no such revision; write a branch, tag or commit",
            id="no revision",
        ),
    ],
)
def test_what_is_not_there_is_named(
    hub: Hub,
    root: Path,
    environ: Environ,
    source: str,
    revision: str | None,
    token: str | None,
    reason: Reason,
    problem: str,
) -> None:
    given = environ | ({"HF_TOKEN": token} if token else {})
    with pytest.raises(FetchError, match=problem) as failure:
        fetch(model(source, revision), root, environ=given)
    assert failure.value.reason is reason


def test_a_wrong_token_is_told_from_none_and_never_repeated(
    hub: Hub, root: Path, environ: Environ
) -> None:
    hub.token = "right"
    assert "it needs a token" in refused(root, environ).message
    wrong = refused(root, environ | {"HF_TOKEN": "hf_wrong"})
    assert wrong.reason is Reason.SOURCE_UNAUTHORIZED
    assert "the token is not accepted" in wrong.message
    assert "hf_wrong" not in wrong.message
    assert fetch(model(), root, environ=environ | {"HF_TOKEN": "right"}).bytes == TOTAL


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"Retry-After": "7"}, 7, id="seconds"),
        pytest.param({"RateLimit": '"api";r=0;t=55'}, 55, id="the hub's own"),
        pytest.param({"Retry-After": "soon"}, None, id="nonsense"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_a_rate_limit_says_when_to_come_back(
    hub: Hub, root: Path, environ: Environ, headers: dict[str, str], seconds: float | None
) -> None:
    hub.fault(path="/api/*", status=429, headers=headers)
    failure = refused(root, environ)
    assert failure.retry_after == seconds


def test_a_rate_limit_may_name_a_date(hub: Hub, root: Path, environ: Environ) -> None:
    date = formatdate(time() + 3600, usegmt=True)
    hub.fault(path="/api/*", status=429, headers={"Retry-After": date})
    assert refused(root, environ).retry_after == pytest.approx(3600, abs=60)


def test_what_a_source_asked_for_is_remembered_but_not_for_ever(root: Path) -> None:
    now = [1000.0]
    root.mkdir()
    limit = RateLimit(root, SOURCE, None, clock=lambda: now[0])
    assert limit.remaining() == 0
    limit.remember(60)
    now[0] += 20
    assert limit.remaining() == 40
    assert RateLimit(root, SOURCE, "other", clock=lambda: now[0]).remaining() == 0
    now[0] += 41
    assert limit.remaining() == 0
    limit.remember(1e9)
    assert limit.remaining() == 3600
    limit.forget()
    assert limit.remaining() == 0


def test_nobody_listening_is_unavailable_and_not_asked_again(root: Path, environ: Environ) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    failure = refused(root, environ | {"HF_ENDPOINT": f"http://127.0.0.1:{port}"})
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert f"no connection to http://127.0.0.1:{port}" in failure.message
    assert "check HF_ENDPOINT" in failure.message


def test_a_name_that_does_not_resolve_is_unavailable(root: Path, environ: Environ) -> None:
    failure = refused(root, environ | {"HF_ENDPOINT": "http://hub.invalid"})
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert "no connection to http://hub.invalid" in failure.message


def test_a_server_that_is_no_hub_is_told_so(hub: Hub, root: Path, environ: Environ) -> None:
    hub.fault(path="/api/*", status=200)
    failure = refused(root, environ)
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert (
        "something that is no listing (KeyError('siblings')); check HF_ENDPOINT" in failure.message
    )


def _without(*suffixes: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.name.endswith(suffixes):
                path.unlink()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(
            _without(".safetensors", ".bin"),
            "has neither *.safetensors nor pytorch_model.bin at its top level; it has onnx/model.onnx. "
            "Convert the weights, or write a spec.model.revision that has them",
            id="only other formats",
        ),
        pytest.param(
            _without("config.json"), "has no config.json at its top level", id="no config.json"
        ),
    ],
)
def test_a_repository_of_no_use_is_refused_before_a_file_is_fetched(
    hub: Hub,
    root: Path,
    environ: Environ,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    problem: str,
) -> None:
    spoilt = write_model(tmp_path / "spoilt")
    spoil(spoilt)
    hub.repositories.add(REPOSITORY, spoilt)
    failure = refused(root, environ)
    assert failure.reason is Reason.NO_USABLE_FILES
    assert problem in failure.message
    assert [entry["path"] for entry in hub.log.entries("/acme/*")] == []
