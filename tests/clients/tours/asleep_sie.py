"""sie-sdk's default call to a model that sleeps behind a gateway which holds nothing, and what it lists: URL.

Prints how often the client came again by itself.
"""

import sys

from sie_sdk import SIEClient
from sie_sdk.client.errors import RequestError


def refused(client: SIEClient, model: str) -> RequestError:
    try:
        client.encode(model, {"text": "a"})
    except RequestError as error:
        return error
    raise AssertionError("no error for a model that is not there")


with SIEClient(sys.argv[1]) as client:
    assert client.encode("minilm", {"text": "a"})["dense"].shape == (384,)
    print(client.last_retry_count)
    assert [each["name"] for each in client.list_models()] == ["minilm"]
    assert client.get_model("minilm")["state"] == "loaded"
    assert client.get_capacity()["worker_count"] == 1
    assert client.get_pool("none") is None
    assert refused(client, "minilmm").code == "MODEL_NOT_FOUND"
