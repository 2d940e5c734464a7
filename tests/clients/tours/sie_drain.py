"""sie-sdk while a replica goes and another comes: URL BEGUN STOP. Calls until STOP is there, then once."""

import sys
from pathlib import Path

from sie_sdk import SIEClient

url, begun, stop = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
answers = 0
with SIEClient(url) as client:
    last = False
    while not last:
        last = stop.exists()
        assert client.encode("minilm", {"text": f"call {answers}"})["dense"].shape == (384,)
        answers += 1
        begun.touch()
print(answers)
