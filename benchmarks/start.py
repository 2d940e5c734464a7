"""From process start to the first vector over HTTP: ours and the peers beside a bare `import torch`.

    .venv/bin/python benchmarks/start.py --rounds 3

The rows take turns. CPU seconds are the process's own, so that neighbours matter little; memory is that
of the process right after its first vector.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import asdict

from compare import Row, save
from servers import Start, cpu_seconds, every, resident, running

BARE = "import torch"
SCRIPT = f"{BARE}; print(1, flush=True); import time; time.sleep(60)"


def bare() -> Start:
    """Until the import is done."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        return Start(
            wall_seconds=time.monotonic() - begun,
            cpu_seconds=cpu_seconds(process.pid),
            resident=resident(process.pid),
        )
    finally:
        process.kill()
        process.communicate()


def told(name: str, start: Start) -> Row:
    """A row: CPU seconds, wall seconds, resident memory."""
    memory = start.resident // 2**20
    seconds = f"{start.cpu_seconds:6.1f} CPU s {start.wall_seconds:6.1f} s"
    print(f"{name:22} {seconds} {memory:6} MiB", flush=True)
    return {"server": name, **asdict(start)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rows: list[Row] = []
    for _ in range(parser.parse_args().rounds):
        rows.append(told(BARE, bare()))
        for server in every():
            with running(server) as up:
                rows.append(told(server.name, up.start))
    save("start", {"rows": rows})


if __name__ == "__main__":
    main()
