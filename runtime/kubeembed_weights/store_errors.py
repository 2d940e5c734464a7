"""What an object store answers instead -> a FetchError with its reason and the way out.

obstore tells a failure as text, with the store's status and XML in it; that is where they are read from. What
comes after "Debug source" is for obstore's authors.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from obstore.exceptions import BaseError

from kubeembed_api.reasons import Reason
from kubeembed_api.sources import Scheme, Source
from kubeembed_weights.errors import BrokenOff, FetchError
from kubeembed_weights.store_clients import Client

STATUS = re.compile(r"status code: (\d{3})")
URL = re.compile(r"Error performing [A-Z]+ (\S+)")
CODE, MESSAGE, REGION = (
    re.compile(rf"<{name}>([^<]*)</{name}>") for name in ("Code", "Message", "Region")
)
#: Of who asks, although some stores say 400, 403 or 404 of them.
UNAUTHORIZED = frozenset(
    {
        "AuthenticationFailed",  # Azure
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "NoAuthenticationInformation",  # Azure
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "XAdminUserNotFound",  # versitygw
    }
)
THROTTLED = frozenset({"SlowDown", "ServerBusy", "TooManyRequests", "RequestLimitExceeded"})
MISPLACED = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect"})

#: Where a workload identity's token is exchanged, in messages.
TOKENS = "the cloud's token service"

#: What to put into the Secret, and what the service account needs.
HINTS: dict[Scheme, str] = {
    "s3": "keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "key GOOGLE_SERVICE_ACCOUNT_KEY",
    "az": "key AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What can be read off an error. status 0: there was no answer."""

    status: int
    code: str
    message: str
    region: str
    host: str
    connect: bool

    @classmethod
    def read(cls, error: Exception) -> "Answer":
        text, _, debug = str(error).partition("Debug source")
        return cls(
            status=int(_first(STATUS, text) or 0),
            code=_first(CODE, text),
            message=_first(MESSAGE, text).partition("\n")[0],
            region=_first(REGION, text),
            host=_host(_first(URL, text)),
            connect="kind: Connect," in debug,
        )

    @property
    def unauthorized(self) -> bool:
        """Azure has one code for who is not known and for who may not, and tells them apart in words."""
        unknown = self.status == 403 and "failed to authenticate" in self.message
        return self.status == 401 or self.code in UNAUTHORIZED or unknown

    def __str__(self) -> str:
        detail = ", ".join(filter(None, (self.code, self.message)))
        return f"{self.host} answered {self.status}" + (f" ({detail[:200]})" if detail else "")


def changed(source: Source, what: str) -> FetchError:
    """The files are others than those that were listed. The next attempt begins with a new listing."""
    return FetchError(
        Reason.SOURCE_CHANGED,
        f"{source}: {what}; it was changed meanwhile. The next attempt lists it anew, unless this revision "
        "is asked for: then change spec.model.revision, or the annotation kubeembed.dev/resolve",
    )


def failure(
    error: Exception, source: Source, what: str, client: Client, *, body: bool
) -> FetchError:
    """`what` was asked for; `body`: of a good answer something was read already."""
    answer = Answer.read(error)
    said = f"{source}: {what}"
    if answer.status:
        return _refused(answer, source, said, client)
    if answer.connect:
        return FetchError(
            Reason.SOURCE_UNAVAILABLE,
            f"{said}: no connection to {answer.host or client.where}; check spec.model.endpoint, the proxy "
            "and the network policies of this namespace, and weights.caCertificates of the chart",
        )
    first = str(error).partition("\n")[0]
    if body:
        return BrokenOff(Reason.SOURCE_TRUNCATED, f"{said}: the body ended early ({first})")
    if isinstance(error, BaseError | OSError) and "HTTP error" in first:
        return BrokenOff(Reason.SOURCE_UNAVAILABLE, f"{said}: no answer ({first})")
    return FetchError(Reason.SOURCE_UNAVAILABLE, f"{said}: {first}")


def _refused(answer: Answer, source: Source, said: str, client: Client) -> FetchError:
    said = f"{said}: {answer}"
    if answer.unauthorized:
        problem = f"who asks is not accepted; {_who(client.scheme)}"
        return FetchError(Reason.SOURCE_UNAUTHORIZED, f"{said}: {problem}")
    if answer.code in THROTTLED or answer.status == 429:
        return FetchError(
            Reason.SOURCE_RATE_LIMITED, f"{said}: too many requests; it is tried again"
        )
    if answer.code in MISPLACED or answer.status == 301:
        where = answer.region or "the bucket's region"
        problem = f"the bucket is in another region; write spec.model.region: {where}"
        return FetchError(Reason.SOURCE_NOT_FOUND, f"{said}: {problem}")
    match answer.status:
        case 403 if not client.signed:
            problem = f"it is not public, and nobody is named who asks; {_who(client.scheme)}"
            return FetchError(Reason.SOURCE_UNAUTHORIZED, f"{said}: {problem}")
        case 403:
            problem = "who asks may not list and read it; allow that to the account of the Secret, "
            problem += "or of the service account"
            return FetchError(Reason.SOURCE_FORBIDDEN, f"{said}: {problem}")
        case 404 if not client.signed:
            problem = (
                f"it is not there or not public; check spec.model.source, or {_who(client.scheme)}"
            )
            return FetchError(Reason.SOURCE_NOT_FOUND, f"{said}: {problem}")
        case 404:
            problem = "no such bucket or file; check spec.model.source and spec.model.endpoint"
            return FetchError(Reason.SOURCE_NOT_FOUND, f"{said}: {problem}")
        case 412:
            return changed(source, said.removeprefix(f"{source}: "))
        case 416:
            return BrokenOff(Reason.SOURCE_TRUNCATED, f"{said}: it is shorter than it was listed")
        case status if status >= 500:
            return BrokenOff(Reason.SOURCE_UNAVAILABLE, f"{said}: it is tried again")
    return FetchError(Reason.SOURCE_UNAVAILABLE, f"{said}: check spec.model.endpoint")


def _who(scheme: Scheme) -> str:
    return (
        f"set spec.model.credentialsSecret to a Secret with {HINTS[scheme]}, or "
        "spec.model.serviceAccountName to an account with a workload identity"
    )


def _host(url: str) -> str:
    """obstore hides the address where credentials are asked for."""
    return TOKENS if url == "REDACTED" else urlsplit(url).hostname or ""


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
