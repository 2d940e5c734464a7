"""What pods say of themselves on their admin port. Asked with short time-outs, and never relied upon.

A pod that does not answer is asked again at another pass; conditions come from the API server alone.
"""

from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from kubeembed_api.names import ADMIN_PORT
from kubeembed_api.report import Progress, RuntimeInfo
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.metrics import Metrics

#: Seconds. A pass waits for the answer, so it has to be short.
TIMEOUT = aiohttp.ClientTimeout(total=1.5, connect=0.75)

A = TypeVar("A", bound=BaseModel)


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

    async def _ask(self, pod: Manifest, path: str, answer: type[A]) -> A | None:
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            return None
        host = f"[{address}]" if ":" in address else address
        result = "error"
        try:
            async with self._session.get(
                f"http://{host}:{ADMIN_PORT}{path}", timeout=TIMEOUT
            ) as got:
                if got.status != 200:
                    result = str(got.status)
                    return None
                value = answer.model_validate_json(await got.read())
                result = "ok"
                return value
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
            return None
        finally:
            self._metrics.pod_calls.labels(path, result).inc()
