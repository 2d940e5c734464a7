"""Console script `kubeembed-gateway`: connects, and runs one process."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import uvloop
from kubernetes.aio.config import ConfigException

import kubeembed_gateway
from kubeembed_api.names import ADMIN_PORT, HTTP_PORT
from kubeembed_gateway import admin
from kubeembed_gateway.cluster import connect
from kubeembed_gateway.keys import KeysError
from kubeembed_gateway.metrics import Metrics
from kubeembed_gateway.process import Options, Process

logger = logging.getLogger(__name__)

MIB = 1024 * 1024


async def run(options: Options, admin_port: int) -> None:
    """Until a signal. Raises ConfigException where there is no cluster, KeysError, OSError for a port that is
    taken."""
    metrics = Metrics()
    async with await connect() as api:
        process = Process(options, api, metrics)
        server = await admin.serve(metrics, process.unready, host=options.host, port=admin_port)
        logger.info("kubeembed-gateway %s", kubeembed_gateway.__version__)
        try:
            await process.run()
        finally:
            await server.cleanup()


def main() -> None:
    """Parses the command line. What keeps it from starting ends it with one sentence."""
    parser = argparse.ArgumentParser(prog="kubeembed-gateway", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="address of all ports")
    parser.add_argument("--port", type=int, default=HTTP_PORT, help="the address of all models")
    parser.add_argument("--admin-port", type=int, default=ADMIN_PORT, help="probes and metrics")
    parser.add_argument("--namespace", default="", help="the only one looked at; default: all")
    parser.add_argument("--held-mib", type=int, default=64, help="bodies kept in memory, in MiB")
    parser.add_argument(
        "--page",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a page for people, /ui/",
    )
    parser.add_argument(
        "--api-keys",
        type=Path,
        metavar="FOLDER",
        help="files NAMESPACE[.MODEL] with a key per line",
    )
    parser.add_argument("--log-level", default="INFO")
    given = parser.parse_args()
    log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=given.log_level, format=log_format)
    options = Options(
        host=given.host,
        port=given.port,
        namespace=given.namespace,
        held_bytes=given.held_mib * MIB,
        page=given.page,
        api_keys=given.api_keys,
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(options, given.admin_port))
    except (ConfigException, KeysError, OSError) as error:
        sys.exit(f"kubeembed-gateway: {error}")


if __name__ == "__main__":
    main()
