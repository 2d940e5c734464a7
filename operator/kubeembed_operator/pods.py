"""What pods say of themselves on their admin port, and what they are told there. Never relied upon.

A pod that does not answer is asked again at another pass; conditions come from the API server alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kubeembed_api.names import ADMIN_PORT
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Load, Progress, RuntimeInfo, ServedAdapter, ServedAdapters
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.metrics import Metrics

#: Seconds. A pass waits for the answer, so it has to be short.
TIMEOUT = aiohttp.ClientTimeout(total=1.5, connect=0.75)

#: Seconds to read an adapter from a slow volume. A load that was begun is finished in any case.
LOAD_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=0.75)

A = TypeVar("A", bound=BaseModel)


class RefusedAdapter(BaseModel):
    """A pod's word on why it does not serve an adapter. missing: there is nothing where it should lie."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    message: str = Field(alias="error")
    reason: Reason = Reason.ADAPTER_REFUSED
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """An answer."""

    status: int
    body: bytes


class Pods:
    """The admin ports, over one HTTP session."""

    def __init__(self, session: aiohttp.ClientSession, metrics: Metrics) -> None:
        self._session = session
        self._metrics = metrics

    async def progress(self, pod: Manifest) -> Progress | None:
        """How far a fetch is."""
        return await self._ask(pod, "/progress", Progress)

    async def info(self, pod: Manifest) -> RuntimeInfo | None:
        """The recipe as a pod serves it."""
        return await self._ask(pod, "/info", RuntimeInfo)

    async def load(self, pod: Manifest) -> Load | None:
        """How busy a pod is."""
        return await self._ask(pod, "/load", Load)

    async def adapters(self, pod: Manifest) -> ServedAdapters | None:
        """What a pod serves."""
        return await self._ask(pod, "/adapters", ServedAdapters)

    async def put_adapter(
        self, pod: Manifest, name: str, folder: str, golden: Mapping[str, Any] | None = None
    ) -> ServedAdapter | RefusedAdapter | None:
        """Has a pod load an adapter, in the place of one of its name, if it gives these golden vectors."""
        told = {"path": folder} | ({"golden": golden} if golden is not None else {})
        got = await self._call(pod, "PUT", "/adapters", name, told=told, timeout=LOAD_TIMEOUT)
        if got is None or got.status not in (200, 404, 422):
            return None
        try:
            if got.status == 200:
                return ServedAdapter.model_validate_json(got.body)
            refused = RefusedAdapter.model_validate_json(got.body)
            return refused.model_copy(update={"missing": got.status == 404})
        except ValidationError:
            return None

    async def remove_adapter(self, pod: Manifest, name: str) -> bool:
        """Whether the pod does not serve it any more."""
        got = await self._call(pod, "DELETE", "/adapters", name)
        return got is not None and got.status in (204, 404)

    async def _ask(self, pod: Manifest, path: str, answer: type[A]) -> A | None:
        got = await self._call(pod, "GET", path)
        if got is None or got.status != 200:
            return None
        try:
            return answer.model_validate_json(got.body)
        except ValidationError:
            return None

    async def _call(
        self,
        pod: Manifest,
        method: str,
        path: str,
        name: str = "",
        *,
        told: Mapping[str, Any] | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> Got | None:
        """None where there was no answer. `name` is what stands behind the path, left out of the metric."""
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            return None
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{ADMIN_PORT}{path}" + (f"/{name}" if name else "")
        result = "error"
        try:
            async with self._session.request(method, url, json=told, timeout=timeout) as got:
                body = await got.read()
                result = "ok" if got.status < 300 else str(got.status)
                return Got(status=got.status, body=body)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        finally:
            self._metrics.pod_calls.labels(f"{method} {path}", result).inc()
