"""How the API server is reached: in a pod by the ServiceAccount, else by KUBECONFIG."""

import os
from pathlib import Path

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

import kubeembed_operator

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

#: More than the work queue's concurrency, so that no pass waits for a connection.
CONNECTIONS = 40


async def connect() -> ApiClient:
    """A client with one HTTP session. Raises ConfigException where there is no cluster to be found."""
    configuration = Configuration()
    if TOKEN.exists():
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
        )
    configuration.connection_pool_maxsize = CONNECTIONS
    client = ApiClient(configuration)
    client.user_agent = f"kubeembed-operator/{kubeembed_operator.__version__}"
    return client
