"""Many at once before a model that sleeps, each by sie-sdk with its defaults: URL MODEL COUNT.

Prints {"sie": [answers, of them after another try]}.
"""

import asyncio
import json
import sys

from sie_sdk import SIEAsyncClient

url, model, count = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def ask(number: int) -> int:
    """With a client of its own, which counts for itself."""
    async with SIEAsyncClient(url) as client:
        answer = await client.encode(model, {"text": f"call {number}"})
        assert answer["dense"].shape == (384,)
        return int(client.last_retry_count or 0)


async def main() -> None:
    retries = await asyncio.gather(*map(ask, range(count)))
    print(json.dumps({"sie": [len(retries), len([each for each in retries if each])]}))


asyncio.run(main())
