"""A real Prometheus on loopback: it scrapes what it is told each second, and is asked over its own API."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from debkit import prometheus
from nodekit import until
from runtimekit import free_ports

#: Of Grafana, as the dashboard's queries have it: four scrapes.
RATE_INTERVAL = "4s"


@dataclass(frozen=True, slots=True)
class Target:
    """Where figures are, and the labels that the chart's PodMonitors give them. honor: their own win."""

    job: str
    port: int
    labels: Mapping[str, str]
    honor: bool = False

    def config(self) -> dict[str, Any]:
        static = {"targets": [f"127.0.0.1:{self.port}"], "labels": dict(self.labels)}
        return {"job_name": self.job, "honor_labels": self.honor, "static_configs": [static]}


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str

    def api(self, path: str, **query: str) -> Any:
        """`data` of the reply. Raises HTTPError for an expression that is none."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as got:
            return json.load(got)["data"]

    def ask(self, expression: str) -> list[Any]:
        """The samples of an instant query."""
        return list(self.api("query", query=expression)["result"])

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
                return True
        except OSError:
            return False


@contextmanager
def scraping(folder: Path, rules: Path, scrapes: list[dict[str, Any]]) -> Iterator[Prometheus]:
    """Ready; its data are in the folder. scrapes: as Prometheus writes its scrape_configs."""
    (port,) = free_ports(1)
    config = folder / "prometheus.yml"
    head = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config.write_text(
        yaml.safe_dump({"global": head, "rule_files": [str(rules)], "scrape_configs": scrapes})
    )
    command = [prometheus("prometheus"), f"--config.file={config}"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, cwd=folder)
    try:
        made = Prometheus(f"http://127.0.0.1:{port}")
        until("Prometheus", made.ready, 60)
        yield made
    finally:
        process.kill()
        process.wait()
