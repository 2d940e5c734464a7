"""The adapters of a served model by name: declared is a name with a folder, loaded has its tensors in memory.

What is declared and asked for is loaded; where memory ends, what was not asked for longest is unloaded and
stays declared. Changes happen one after another in a thread of their own, and a loaded value never changes:
who holds one is served by it, whatever happens to its name.
"""

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from kubeembed_api.reasons import Reason
from kubeembed_runtime.adapters import Adapter, AdapterState, ToldGolden
from kubeembed_runtime.errors import AdapterRefused, AdapterUnproven, UnknownModel
from kubeembed_runtime.model.lora import LoraAdapter
from kubeembed_runtime.model.unloaded import Unloaded

logger = logging.getLogger(__name__)

#: (name, folder) -> the adapter. Raises AdapterRefused.
Load = Callable[[str, Path], LoraAdapter]

#: Raises AdapterRefused for one that must not be served, by the golden vectors that came with it, or our own.
Prove = Callable[[Adapter, ToldGolden | None], None]


#: So long a refusal of files is taken to hold, without reading them again for each request.
REFUSED_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Why a load failed, without the traceback: its frames hold what was loaded.

    until: when it is worth trying again, as the clock has it.
    """

    kind: type[BaseException]
    text: str
    reason: Reason | None
    until: float

    @classmethod
    def of(cls, error: BaseException, now: float) -> "_Problem":
        """Other vectors than it should have stay; files may be mended; the rest may be over at once."""
        lasts = 0.0
        if isinstance(error, AdapterRefused):
            lasts = math.inf if isinstance(error, AdapterUnproven) else REFUSED_SECONDS
        reason = getattr(error, "reason", None)
        return cls(kind=type(error), text=str(error), reason=reason, until=now + lasts)


@dataclass(slots=True, eq=False)
class _Declared:
    """A name's folder, the load that was asked for and is not over, and why the last one failed.

    proven: what lies there was once good enough to be served, so it is when it is loaded again.
    """

    folder: Path
    loading: "Future[Adapter] | None" = None
    problem: _Problem | None = None
    proven: bool = False


class _Putting(NamedTuple):
    """A change that was asked for and is not over."""

    folder: Path
    golden: ToldGolden | None
    future: "Future[Adapter]"

    def is_for(self, folder: Path, golden: ToldGolden | None) -> bool:
        """Whether it answers that as well. One that is over does not: files may be others by now."""
        return (self.folder, self.golden) == (folder, golden) and not self.future.done()


class LoraAdapters:
    """As kubeembed_runtime.requests.Adapters.

    max_bytes and max_loaded bound what is loaded, and as much again what requests hold that is unloaded: a
    load waits while it is more. prove: set once the model answers, it has a say before an adapter is served.
    """

    def __init__(
        self,
        load: Load,
        *,
        model: str,
        max_bytes: int,
        max_loaded: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._model, self._clock = load, model, clock
        self.prove: Prove = lambda adapter, golden: None
        self._max_bytes, self._max_loaded = max_bytes, max_loaded
        self._lock = threading.Lock()
        self._declared: dict[str, _Declared] = {}
        self._loaded: OrderedDict[str, LoraAdapter] = OrderedDict()  # longest unused first
        self._unloaded = Unloaded(max_bytes=max_bytes, max_count=max_loaded)
        self._putting: dict[str, _Putting] = {}  # the last of each name that is not over
        # Threads of its own would make too many for those of the device to spin while they wait.
        self._changes = ThreadPoolExecutor(
            1, "adapters", initializer=torch.set_num_threads, initargs=(1,)
        )

    @property
    def names(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._declared)

    @property
    def states(self) -> tuple[AdapterState, ...]:
        with self._lock:
            return tuple(
                AdapterState(
                    name=name,
                    folder=declared.folder,
                    loaded=self._loaded.get(name),
                    problem=None if declared.problem is None else declared.problem.text,
                    reason=None if declared.problem is None else declared.problem.reason,
                )
                for name, declared in self._declared.items()
            )

    def find(self, name: str) -> "Adapter | Future[Adapter]":
        """At once where it is loaded. Requests for one that is not share one load.

        Raises UnknownModel, and AdapterRefused where it was: it is not read for each request. The future
        raises AdapterRefused. Do not cancel it: others wait for it, too.
        """
        with self._lock:
            if (loaded := self._loaded.get(name)) is not None:
                self._loaded.move_to_end(name)
                return loaded
            declared = self._declared.get(name)
            if declared is None:
                raise self._unknown(name)
            problem = declared.problem
            if problem is not None and self._clock() < problem.until:
                raise problem.kind(problem.text)
            if declared.loading is None:
                declared.loading = self._changes.submit(self._reload, name, declared)
            return declared.loading

    def put(self, name: str, folder: Path, golden: ToldGolden | None = None) -> "Future[Adapter]":
        """Loads it, then declares it in the place of one of its name. One that is refused changes nothing.

        Who puts the same again while that goes on waits for the same answer: to load it and to hold it to its
        golden vectors takes minutes on a slow device, and who asked first may have given up.
        """
        with self._lock:
            putting = self._putting.get(name)
            if putting is not None and putting.is_for(folder, golden):
                return putting.future
            future = self._changes.submit(self._put, name, folder, golden)
            self._putting[name] = _Putting(folder, golden, future)
        future.add_done_callback(lambda done: self._put_over(name, done))
        return future

    def declare(self, name: str, folder: Path) -> None:
        """As `put`, but it is loaded when it is first asked for, and refused then."""
        with self._lock:
            self._putting.pop(name, None)
            self._declared[name] = _Declared(folder)
            self._unloaded.add(self._loaded.pop(name, None))

    def remove(self, name: str) -> "Future[None]":
        """The future raises UnknownModel."""
        with self._lock:
            self._putting.pop(name, None)  # who puts it from now on wants it after that
            return self._changes.submit(self._remove, name)

    def _put_over(self, name: str, done: "Future[Adapter]") -> None:
        with self._lock:
            putting = self._putting.get(name)
            if putting is not None and putting.future is done:
                del self._putting[name]

    def _put(self, name: str, folder: Path, golden: ToldGolden | None) -> Adapter:
        adapter = self._read(name, folder, proven=False, golden=golden)
        with self._lock:
            self._declared[name] = _Declared(folder, proven=True)
            self._keep(adapter)
        return adapter

    def _reload(self, name: str, declared: _Declared) -> Adapter:
        try:
            adapter = self._read(name, declared.folder, proven=declared.proven)
        except BaseException as error:
            with self._lock:
                declared.loading, declared.problem = None, _Problem.of(error, self._clock())
            raise
        with self._lock:
            declared.loading = declared.problem = None
            declared.proven = True
            if self._declared.get(name) is declared:
                self._keep(adapter)
        return adapter

    def _read(
        self, name: str, folder: Path, *, proven: bool, golden: ToldGolden | None = None
    ) -> LoraAdapter:
        self._unloaded.wait()
        try:
            adapter = self._load(name, folder)
            if adapter.bytes > self._max_bytes:
                problem = f"it has {adapter.bytes} bytes; all adapters may take {self._max_bytes}"
                raise AdapterRefused(problem)
            if not proven:
                self.prove(adapter, golden)
        except AdapterRefused as error:
            raise type(error)(f"adapter {name!r} cannot be served: {error}") from error
        return adapter

    def _keep(self, adapter: LoraAdapter) -> None:
        """Makes it the newest of the loaded ones, and room for it."""
        self._unloaded.add(self._loaded.get(adapter.name))
        self._loaded[adapter.name] = adapter
        self._loaded.move_to_end(adapter.name)
        logger.info("loaded adapter %s: %d bytes", adapter.name, adapter.bytes)
        while len(self._loaded) > self._max_loaded or self._bytes() > self._max_bytes:
            name, oldest = self._loaded.popitem(last=False)
            self._unloaded.add(oldest)
            logger.info("unloaded adapter %s, which was not asked for longest", name)

    def _bytes(self) -> int:
        return sum(adapter.bytes for adapter in self._loaded.values())

    def _remove(self, name: str) -> None:
        with self._lock:
            if self._declared.pop(name, None) is None:
                raise self._unknown(name)
            self._unloaded.add(self._loaded.pop(name, None))
        logger.info("removed adapter %s", name)

    def _unknown(self, name: str) -> UnknownModel:
        served = (self._model, *(f"{self._model}:{one}" for one in self._declared))
        return UnknownModel(f"{self._model}:{name}", served)
