"""Why a command gives no answer. What is raised here ends it with one line and its exit status.

CommandFailed         2: usage, or the cluster cannot be asked
├── Unreachable       no kubeconfig, no answer, not let in
├── Forbidden         let in, and not allowed to do this
├── ChartMissing      the cluster has no EmbeddingModels
└── NoSuchModel       with those that there are
NotServing            1: the model, or its server, says no
InUse                 1: the copy is a model's
StillThere            1: the operator has not removed it yet
"""

from collections.abc import Sequence

from kubeembed_api.errors import KubeEmbedError


class CommandFailed(KubeEmbedError):
    """A sentence for the person who typed the command."""

    status = 2


class Unreachable(CommandFailed):
    """The API server cannot be asked."""


class Forbidden(CommandFailed):
    """403: the API server's sentence names who may not do what."""


class OthersOwn(CommandFailed):
    """409: fields of what is written were written by somebody else."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"{message}. Leave --apply out and pipe what is printed to `kubectl apply --server-side "
            "--force-conflicts -f -` to take them over"
        )


class ChartMissing(CommandFailed):
    """The resource EmbeddingModel does not exist."""

    def __init__(self) -> None:
        super().__init__(
            "this cluster has no EmbeddingModels: the chart is not installed. `helm upgrade --install "
            "kubeembed charts/kubeembed -n kubeembed-system --create-namespace` installs it; --context "
            "takes another cluster"
        )


class NoSuchModel(CommandFailed):
    """here: the names in that namespace. elsewhere: namespaces with a model of the wanted name."""

    def __init__(
        self, name: str, namespace: str, here: Sequence[str], elsewhere: Sequence[str]
    ) -> None:
        told = f"there is no EmbeddingModel {name} in namespace {namespace}, which has "
        told += ", ".join(here) if here else "none"
        if elsewhere:
            told += f"; there is one in {', '.join(elsewhere)}: add -n {elsewhere[0]}"
        super().__init__(told)


class NotServing(CommandFailed):
    """The model does not answer, or refuses what was asked."""

    status = 1


class InUse(CommandFailed):
    """A copy is not removed while models have it."""

    status = 1

    def __init__(self, key: str, models: Sequence[str]) -> None:
        super().__init__(
            f"{key} is in use by {', '.join(models)}: it can go once they are deleted, or have another "
            "source or revision and no pod reads it"
        )


class StillThere(CommandFailed):
    """The patience of the command is over. The operator's is not."""

    status = 1

    def __init__(self, key: str, state: str) -> None:
        super().__init__(
            f"{key} is still there: {state}. The operator goes on without this command; `kubeembed cache ls` "
            "shows what is left"
        )
