"""Console script `kubeembed-operator`: reads the settings, connects, and runs one process."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import aiohttp

import kubeembed_operator
from kubeembed_operator import probes
from kubeembed_operator.cluster import ClusterError
from kubeembed_operator.connection import connect
from kubeembed_operator.metrics import Metrics
from kubeembed_operator.process import Process
from kubeembed_operator.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


async def operate(settings: Settings, host: str, port: int) -> int:
    """Runs until a signal; the exit code."""
    metrics = Metrics()
    api = await connect()
    async with api, aiohttp.ClientSession() as session:
        process = Process(settings, api, session, metrics)
        checks = (process.dead, process.unready)
        server = await probes.serve(metrics, *checks, process.keda, host=host, port=port)
        logger.info("kubeembed-operator %s", kubeembed_operator.__version__)
        try:
            return await process.run()
        finally:
            await server.cleanup()


def main() -> None:
    """Parses the command line. Errors of the settings end it with one sentence."""
    parser = argparse.ArgumentParser(prog="kubeembed-operator", description=__doc__)
    parser.add_argument("--settings", type=Path, default=Path("/etc/kubeembed/settings.yaml"))
    parser.add_argument("--host", default="0.0.0.0", help="address of probes and metrics")
    parser.add_argument("--port", type=int, default=8080, help="port of probes and metrics")
    parser.add_argument("--log-level", default="INFO")
    given = parser.parse_args()
    log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=given.log_level, format=log_format)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        settings = Settings.load(given.settings)
        sys.exit(asyncio.run(operate(settings, given.host, given.port)))
    except (SettingsError, ClusterError) as error:
        sys.exit(f"kubeembed-operator: {error}")


if __name__ == "__main__":
    main()
