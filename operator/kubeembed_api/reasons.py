"""The stable reasons of conditions, as users see them in `kubectl get em` and alert on them.

One list for all rooms: the fetch Job and the runtime name the reason, the operator repeats it.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a condition is what it is. Never renamed without a CHANGELOG line."""

    # The document
    INVALID_SPEC = "InvalidSpec"
    NOT_SUPPORTED_YET = "NotSupportedYet"
    NAME_TAKEN = "NameTaken"

    # Good ends
    READY = "Ready"
    FETCHED = "Fetched"
    COLLECTED = "Collected"  # of a cache: what no model uses is gone
    MOUNTED = "Mounted"
    SERVING = "Serving"
    NO_ADAPTERS = "NoAdapters"
    LOADED = "Loaded"
    AWAKE = "Awake"
    ASLEEP = "Asleep"  # no replicas, and the next request wakes it

    # On the way
    PENDING = "Pending"
    FETCHING = "Fetching"
    STARTING = "Starting"
    LOADING = "Loading"  # an adapter, by pods that serve
    SCALED_TO_ZERO = "ScaledToZero"
    GATEWAY_NOT_READY = "GatewayNotReady"  # asleep, and nobody is there to wake it
    KEDA_NOT_INSTALLED = (
        "KedaNotInstalled"  # the mode is KEDA, and the cluster has no ScaledObjects
    )
    SCALED_OBJECT_NOT_READY = "ScaledObjectNotReady"  # KEDA does not scale the model, and says why
    PAUSED = "Paused"  # a change waits for spec.rollout.paused to be taken away
    PROMOTION_PENDING = "PromotionPending"  # the next pods are ready and wait for a person's word
    PROMOTING = "Promoting"  # the Service points at them, and the others are made anew

    # The source of the weights
    SOURCE_UNAUTHORIZED = "SourceUnauthorized"  # 401: no token, or a wrong one
    SOURCE_FORBIDDEN = "SourceForbidden"  # 403: the token may not read this repository
    SOURCE_NOT_FOUND = "SourceNotFound"  # 404: no such repository or revision
    SOURCE_RATE_LIMITED = "SourceRateLimited"  # 429
    SOURCE_UNAVAILABLE = "SourceUnavailable"  # 5xx, no connection, no name
    SOURCE_TRUNCATED = "SourceTruncated"  # the body ended early
    SOURCE_CHANGED = "SourceChanged"  # its files are others than when they were listed
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    NO_USABLE_FILES = "NoUsableFiles"  # no config.json, no weights that are read
    DISK_FULL = "DiskFull"
    CACHE_UNWRITABLE = "CacheUnwritable"
    WEIGHTS_MISSING = "WeightsMissing"  # the serving pod found no copy under the key
    CLAIM_PENDING = "ClaimPending"
    SECRET_MISSING = "SecretMissing"

    # Pods, of the Job and of the Deployment
    UNSCHEDULABLE = "Unschedulable"
    SURGE_BLOCKED = "SurgeBlocked"  # the model's own old pods hold the room that a new one needs
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG = "ContainerConfigError"
    OUT_OF_MEMORY = "OutOfMemory"
    CRASH_LOOP = "CrashLoop"
    PODS_FORBIDDEN = "PodsForbidden"  # quota, Pod Security, admission
    NOT_READY = "NotReady"
    EVICTED = "Evicted"
    MIXED_VECTOR_SPACES = "MixedVectorSpaces"  # pods that are ready have unlike fingerprints

    # Adapters
    ADAPTER_REFUSED = (
        "AdapterRefused"  # it does not fit the model, or asks for what is not computed
    )

    # The runtime's own word on why it does not start
    INVALID_RECIPE = "InvalidRecipe"
    UNSUPPORTED_MODEL = "UnsupportedModel"
    DEVICE_FAILED = "DeviceFailed"
    GOLDEN_MISMATCH = "GoldenMismatch"  # its vectors are too far from the golden ones
    GOLDEN_UNREADABLE = "GoldenUnreadable"


#: Not ready, but nothing that anybody has to do something about.
ON_THE_WAY = frozenset(
    {
        Reason.PENDING,
        Reason.FETCHING,
        Reason.STARTING,
        Reason.LOADING,
        Reason.SCALED_TO_ZERO,
    }
)
