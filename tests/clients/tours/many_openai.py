"""openai with its defaults asks several models at one address: URL TEXT MODEL... Prints {model: vector}."""

import json
import sys

from openai import OpenAI

url, text, *models = sys.argv[1:]
with OpenAI(base_url=f"{url}/v1", api_key="none") as client:
    asked = {name: client.embeddings.create(model=name, input=text) for name in models}
    assert {each.id for each in client.models.list()} >= set(asked)
print(json.dumps({name: answer.data[0].embedding for name, answer in asked.items()}))
