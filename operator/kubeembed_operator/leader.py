"""Who of several operators acts: the holder of a Lease.

A killed leader is followed after the Lease's 13 seconds; one that stops gives it back, for the next at once.
The times keep a leader that is cut off from acting longer than its Lease: 2 s between renewals, 6 s of
trying, and 2.25 s for each of the two calls of the last try.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from kubeembed_api.names import LEASE

logger = logging.getLogger(__name__)

LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 13, 6, 2
CALL_SECONDS = 2.25

#: The client library logs its election at each try that fails, with a traceback.
logging.getLogger("kubernetes.aio.leaderelection").setLevel(logging.CRITICAL)

R = TypeVar("R")


class Leadership:
    """`acquire`, then `keep` until it returns: the Lease is lost."""

    def __init__(self, api: ApiClient, namespace: str, identity: str) -> None:
        self._lock = _Lock(LEASE, namespace, identity, api)
        self._election = LeaderElection(
            Config(
                self._lock,
                lease_duration=LEASE_SECONDS,
                renew_deadline=RENEW_SECONDS,
                retry_period=RETRY_SECONDS,
                onstarted_leading=_nothing,
                onstopped_leading=_nothing,
            )
        )

    async def acquire(self) -> None:
        logger.info("waiting for Lease %s as %s", LEASE, self._lock.identity)
        await self._election.acquire()
        logger.info("leading")

    async def keep(self) -> None:
        """Renews until that fails for too long."""
        await self._election.renew_loop()
        logger.error("Lease %s is lost", LEASE)

    async def release(self) -> None:
        """Gives the Lease back, if it is still ours, so that nobody has to wait for its end."""
        try:
            await self._lock.release()
            logger.info("Lease %s is released", LEASE)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("Lease %s could not be released: %s", LEASE, error)


class _Lock(LeaseLock):
    """The library's lock, whose calls end in time and fail in one way."""

    async def get(self, name: str, namespace: str) -> Any:
        try:
            return await _in_time(super().get(name, namespace))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=str(error) or type(error).__name__)

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """The library's own asks for `pretty` in a way that its generated client refuses (37.0.2)."""
        lease = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        try:
            await _in_time(self.api_instance.create_namespaced_lease(namespace, lease))
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError):
            return False
        return True

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        try:
            return bool(await _in_time(super().update(name, namespace, updated_record)))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def release(self) -> None:
        lease = await _in_time(self.api_instance.read_namespaced_lease(self.name, self.namespace))
        if lease.spec is None or lease.spec.holder_identity != self.identity:
            return
        lease.spec.holder_identity = ""
        await _in_time(self.api_instance.replace_namespaced_lease(self.name, self.namespace, lease))


async def _in_time(call: Awaitable[R]) -> R:
    return await asyncio.wait_for(call, CALL_SECONDS)


async def _nothing() -> None:
    return None
