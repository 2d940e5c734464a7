"""sie-sdk with its defaults asks several models at one address: URL TEXT MODEL... Prints {model: vector}."""

import json
import sys

from sie_sdk import SIEClient

url, text, *models = sys.argv[1:]
with SIEClient(url) as client:
    found = {name: client.encode(name, {"text": text})["dense"].tolist() for name in models}
    assert {each["name"] for each in client.list_models()} >= set(found)
print(json.dumps(found))
