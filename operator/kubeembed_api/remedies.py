"""Reason -> what happened, and the way out, in the words of docs/status.md.

One source: `kubeembed why` prints these, and a test holds the page's table equal to them.
"""

from collections.abc import Mapping
from typing import NamedTuple

from kubeembed_api.reasons import Reason


class Explanation(NamedTuple):
    """In backticks: what is typed or found as it stands. NAME is the model's."""

    happened: str
    way_out: str


_WELL = Explanation("all is well", "")

EXPLANATIONS: Mapping[Reason, Explanation] = {
    Reason.INVALID_SPEC: Explanation(
        "the document asks for what this installation does not have, for instance an unknown profile",
        "the message names the field and what is allowed",
    ),
    Reason.NOT_SUPPORTED_YET: Explanation(
        "the field belongs to a feature that this version does not have",
        "the message names what to write instead",
    ),
    Reason.NAME_TAKEN: Explanation(
        "an object of the same name exists and is not this model's",
        "delete or rename that object, or name the model otherwise",
    ),
    Reason.READY: _WELL,
    Reason.FETCHED: _WELL,
    Reason.COLLECTED: _WELL,
    Reason.MOUNTED: _WELL,
    Reason.SERVING: _WELL,
    Reason.NO_ADAPTERS: _WELL,
    Reason.LOADED: _WELL,
    Reason.AWAKE: _WELL,
    Reason.PENDING: Explanation(
        "the operator has not looked yet, or waits for something before",
        "wait; if it stays, look at the operator's pods",
    ),
    Reason.FETCHING: Explanation(
        "the weights are on their way; `status.weights.progress` says how far, from the tenth second on",
        "wait",
    ),
    Reason.STARTING: Explanation(
        "pods start and load the weights",
        "wait",
    ),
    Reason.LOADING: Explanation(
        "pods that serve are told of an adapter and load it",
        "wait",
    ),
    Reason.SCALED_TO_ZERO: Explanation(
        "the model has no replicas",
        "`kubectl scale em/NAME --replicas=1` in mode External",
    ),
    Reason.ASLEEP: Explanation(
        "nobody asked for the model for `spec.scaling.idleAfter`, so it has no replicas; "
        "it answers all the same",
        "send a request: it is held until a pod is ready; `spec.scaling.min: 1` keeps the model awake",
    ),
    Reason.GATEWAY_NOT_READY: Explanation(
        "the model sleeps, and no pod of the gateway is ready to take requests and wake it",
        "look at the gateway's pods in the namespace of the chart's release",
    ),
    Reason.KEDA_NOT_INSTALLED: Explanation(
        "`spec.scaling.mode` is KEDA, and the cluster has no kind `scaledobjects.keda.sh`; as many pods "
        "serve as there are",
        "install KEDA, it is noticed by itself; or write mode Builtin",
    ),
    Reason.SCALED_OBJECT_NOT_READY: Explanation(
        "KEDA does not scale the model, or refuses its ScaledObject; as many pods serve as there are",
        "the message is KEDA's; `kubectl describe scaledobject NAME`, and look at KEDA's pods",
    ),
    Reason.PAUSED: Explanation(
        "the document changed while `spec.rollout.paused` holds roll-outs back; the pods serve as before",
        "take `spec.rollout.paused` away, and the change rolls out",
    ),
    Reason.PROMOTION_PENDING: Explanation(
        "the document asks for another vector space, and `spec.rollout.promote` is Manual: its pods are "
        "behind the Service `NAME-next`, and the Service `NAME` answers as before",
        "annotate the model with the fingerprint as the message says, once the index is made anew; see "
        "docs/golden.md",
    ),
    Reason.PROMOTING: Explanation(
        "the Service `NAME` points at the promoted pods, until its own are made anew like them",
        "wait",
    ),
    Reason.SOURCE_UNAUTHORIZED: Explanation(
        "the source does not know who asks: no credentials, or wrong or expired ones",
        "put valid ones into the Secret that `spec.model.credentialsSecret` names, under the "
        "keys of docs/sources.md",
    ),
    Reason.SOURCE_FORBIDDEN: Explanation(
        "who asks may not read this repository or bucket",
        "ask for access (gated models: accept the licence; buckets: list and read), or use other credentials",
    ),
    Reason.SOURCE_NOT_FOUND: Explanation(
        "no such repository, bucket, file or revision; hubs also say so of private ones",
        "correct `spec.model.source`, `revision`, `endpoint` or `region`, or name a Secret",
    ),
    Reason.SOURCE_RATE_LIMITED: Explanation(
        "too many requests",
        "wait, it is retried when the source allows; a hub's token raises the limit",
    ),
    Reason.SOURCE_UNAVAILABLE: Explanation(
        "the source does not answer, or with 5xx",
        "check network, proxy, `spec.model.endpoint`, and "
        "`weights.hubEndpoint` and `weights.caCertificates` of the chart",
    ),
    Reason.SOURCE_TRUNCATED: Explanation(
        "bodies ended early, several times",
        "check proxies on the way; what came is kept",
    ),
    Reason.SOURCE_CHANGED: Explanation(
        "files of a bucket or a web server are others than when they were listed",
        "it is listed and fetched anew; a pinned revision or checksum has to be written anew",
    ),
    Reason.CHECKSUM_MISMATCH: Explanation(
        "a file is not what the source says it is",
        "it is fetched anew; if it stays, the source or a proxy is broken",
    ),
    Reason.NO_USABLE_FILES: Explanation(
        "no `config.json`, or neither safetensors nor `pytorch_model.bin` there",
        "use a revision that has them",
    ),
    Reason.DISK_FULL: Explanation(
        "the cache has no room for the copy",
        "enlarge the claim, or remove copies",
    ),
    Reason.CACHE_UNWRITABLE: Explanation(
        "the claim can't be written by user 10001",
        "use a storage class that honours `fsGroup`",
    ),
    Reason.WEIGHTS_MISSING: Explanation(
        "the serving pod found no copy, of the weights or of an adapter, under the key",
        "it is fetched again by itself",
    ),
    Reason.CLAIM_PENDING: Explanation(
        "the claim of the cache is not bound",
        "set `weights.storageClassName` to a class that can do ReadWriteMany",
    ),
    Reason.SECRET_MISSING: Explanation(
        "a Secret that the document names, or a key that is needed of it, does not exist",
        "create it: with the keys of docs/sources.md for a source, with the key `api-keys` for "
        "`spec.serving.apiKeysSecret`; it is picked up by itself",
    ),
    Reason.UNSCHEDULABLE: Explanation(
        "no node has what the profile asks for",
        "the message is the scheduler's; add nodes, or take another profile or count",
    ),
    Reason.SURGE_BLOCKED: Explanation(
        "a changed pod finds no room, because the model's own old pods hold it;"
        " those that serve go on serving",
        "`spec.rollout.fallback: Replace`, `spec.rollout.strategy: Recreate`, or another node;"
        " see docs/placement.md",
    ),
    Reason.IMAGE_PULL_FAILED: Explanation(
        "an image can't be pulled",
        "check its name and the pull secrets of the chart",
    ),
    Reason.CONTAINER_CONFIG: Explanation(
        "the container can't be made",
        "the message is the kubelet's",
    ),
    Reason.OUT_OF_MEMORY: Explanation(
        "the container used more than its limit",
        "raise the profile's memory limit",
    ),
    Reason.CRASH_LOOP: Explanation(
        "the container ends soon after its start",
        "the message has its last words",
    ),
    Reason.PODS_FORBIDDEN: Explanation(
        "quota, Pod Security or an admission webhook refuses the pods",
        "the message says which",
    ),
    Reason.NOT_READY: Explanation(
        "pods run and do not answer",
        "`kubectl logs deployment/NAME`",
    ),
    Reason.EVICTED: Explanation(
        "the node threw the pod out",
        "the message says for want of what",
    ),
    Reason.MIXED_VECTOR_SPACES: Explanation(
        "pods that are ready have unlike fingerprints: a roll-out is on its way, or `dtype: auto` fell out "
        "differently on unlike nodes",
        "wait for the roll-out; outside of one, write `spec.recipe.dtype`",
    ),
    Reason.ADAPTER_REFUSED: Explanation(
        "an adapter does not fit the model, or asks for what is not computed",
        "the message names the file and its field or layer; the model, its other "
        "adapters and an earlier revision of this one go on serving",
    ),
    Reason.INVALID_RECIPE: Explanation(
        "the model's files and the document do not make a recipe",
        "the message names the field of `spec.recipe` to write",
    ),
    Reason.UNSUPPORTED_MODEL: Explanation(
        "the runtime can't run this architecture",
        "the message lists what it can",
    ),
    Reason.DEVICE_FAILED: Explanation(
        "the device stopped working",
        "the pod is restarted; if it stays, look at the node",
    ),
    Reason.GOLDEN_MISMATCH: Explanation(
        "the vectors of a new pod, of one of its adapters, or of an adapter that came alone are not those of "
        "`spec.rollout.golden`, so it takes no traffic and the old pods, or the earlier revision, go on",
        "take the change back, or correct the adapter that the message names; or, if it is meant, write "
        "golden vectors anew and embed what is stored anew",
    ),
    Reason.GOLDEN_UNREADABLE: Explanation(
        "the ConfigMap of `spec.rollout.golden` is not there, or a line of it, for the model or an adapter, "
        "can't be read",
        "write it with `kubeembed golden`; it is picked up by itself",
    ),
}


_UNKNOWN = Explanation("", "this program is older than the operator and does not know this reason")


def explain(reason: str, name: str) -> Explanation:
    """For the model of that name. A newer operator may have reasons that are not known here."""
    try:
        happened, way_out = EXPLANATIONS[Reason(reason)]
    except ValueError:
        return _UNKNOWN
    return Explanation(happened.replace("NAME", name), way_out.replace("NAME", name))


def way_out(reason: str, name: str) -> str:
    """Of `explain`, what to do."""
    return explain(reason, name).way_out
