"""`kubeembed why NAME`: gather, diagnose, read the log that belongs to it, tell."""

import argparse
import json
from dataclasses import replace
from datetime import datetime

from kubeembed_cli.cluster import Cluster, connect
from kubeembed_cli.diagnosis import diagnose
from kubeembed_cli.errors import CommandFailed
from kubeembed_cli.evidence import Evidence
from kubeembed_cli.gathering import gather
from kubeembed_cli.terminal import field, styled
from kubeembed_cli.times import since
from kubeembed_cli.verdict import LogOf, Verdict, Words

#: Lines of a log that are read, and how many of them are told.
LOG_LINES, SHOWN_LINES = 400, 8


def why(options: argparse.Namespace) -> int:
    """The exit status: 0 ready, 1 not."""
    cluster = connect(options.context, options.namespace)
    evidence = gather(cluster, options.name)
    verdict = diagnose(evidence)
    if verdict.log is not None:
        verdict = replace(verdict, words=(*verdict.words, *_lines(cluster, verdict.log)))
    if options.output == "json":
        about = {"name": options.name, "namespace": cluster.namespace}
        print(json.dumps({"model": about, **verdict.as_json()}, indent=2, ensure_ascii=False))
    else:
        print(told(verdict, evidence))
    return 0 if verdict.ready else 1


def told(verdict: Verdict, evidence: Evidence) -> str:
    """For a person."""
    metadata = evidence.model["metadata"]
    state = styled("ready", "green") if verdict.ready else styled("not ready", "red")
    lines = [
        f"{styled(metadata['name'], 'bold')} in namespace {metadata['namespace']}: {state}",
        "",
    ]
    lines.append(field("Reason", verdict.reason + _for(verdict.since, evidence.now)))
    if not verdict.ready:
        lines.append(field("Object", str(verdict.subject) + _where(verdict, metadata["namespace"])))
    lines.append(field("Says", verdict.message))
    if verdict.way_out:
        lines.append(field("Way out", verdict.way_out))
    lines += [field("Note", note) for note in verdict.notes]
    for words in verdict.words:
        lines += [
            "",
            f"  {styled(words.source + ':', 'dim')}",
            *(f"    {line}" for line in words.lines),
        ]
    lines += ["", *(styled(f"  {text}", "dim") for text in ("Looked at:", *_indented(verdict)))]
    return "\n".join(lines)


def _indented(verdict: Verdict) -> list[str]:
    return [f"  {text}" for text in verdict.looked_at]


def _for(moment: str | None, now: datetime) -> str:
    return f" ({since(moment, now)})" if moment else ""


def _where(verdict: Verdict, namespace: str) -> str:
    elsewhere = verdict.subject.namespace
    return "" if elsewhere == namespace else f" in namespace {elsewhere}"


def _lines(cluster: Cluster, log: LogOf) -> tuple[Words, ...]:
    """Nothing where there is no log: of a container that never started, or a node that is gone."""
    try:
        lines = cluster.log(
            log.namespace, log.pod, log.container, lines=LOG_LINES, previous=log.previous
        )
    except CommandFailed:
        return ()
    found = [line for line in lines if line.strip() and log.holding in line][-SHOWN_LINES:]
    return (Words(str(log), tuple(found)),) if found else ()
