"""The processes that train together: what they tell each other, and what becomes of them when one is lost."""

import inspect
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from nlbs.command import EXIT_ERROR
from nlbs.errors import ConfigError, NlbsError
from nlbs.models.contract import Trainable, Turn
from nlbs.train.ranks.synced_norm import sum_over_ranks, synced
from nlbs.train.turns import TurnNetwork, compile_in_place, only

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 600.0
GRACE_S = 15.0
_LOOK_EVERY_S = 1.0

#: Whether DDP sends buffers round before each pass; not needed, as those of SyncedBatchNorm are alike. torch 2.13
#: has another name for it.
_KNOWN = inspect.signature(DistributedDataParallel).parameters
_NO_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _KNOWN else "broadcast_buffers": False
}
#: How gloo, NCCL and the store say that a peer is gone: mostly as a plain RuntimeError.
_LOST = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|socket|timed? ?out|broken pipe", re.IGNORECASE
)


class LostRankError(NlbsError):
    """Another process of the run ended or does not answer. What torch holds of it cannot be closed in order."""


class Watch:
    """A thread that ends the process where it waits too long.

    Gloo ends a wait by itself. A wait for NCCL is one for the device, in which Python cannot be
    reached: only another thread can say what happened, and leave.
    """

    def __init__(self, timeout_s: float, explain: Callable[[str], str]) -> None:
        """Start to look.

        Args:
            timeout_s: of a single wait.
            explain: what is waited for -> the sentence to leave with.
        """
        self.limit_s = timeout_s + GRACE_S  #: of a single wait
        self._explain = explain
        self._under_way: tuple[float, str] | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._look, name="nlbs-watch", daemon=True).start()

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Watch a wait; one within another counts as the outer."""
        outer = self._under_way
        self._under_way = outer or (time.monotonic(), what)
        try:
            yield
        finally:
            self._under_way = outer

    def close(self) -> None:
        """End looking."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_EVERY_S):
            under_way = self._under_way
            if under_way is not None and time.monotonic() - under_way[0] > self.limit_s:
                print(f"Error: {self._explain(under_way[1])}", file=sys.stderr, flush=True)
                sys.stdout.flush()
                os._exit(EXIT_ERROR)


class Ranks:
    """The processes of one run, of which this is number ``rank``. Alone, every method does the plain thing."""

    def __init__(self, rank: int = 0, world_size: int = 1, watch: Watch | None = None) -> None:
        """Take a group that :func:`joined_ranks` has made; without arguments, a process alone."""
        self.rank, self.world_size = rank, world_size
        self.joined = watch is not None  #: torchrun has started this process, perhaps as the only one
        self._watch = watch
        self._on_cuda: dist.ProcessGroup | None = None
        self._failure: NlbsError | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files, and speaks."""
        return self.rank == 0

    # What is drawn or read for a whole batch, and this process's part of it.

    def part(self, batch_size: int) -> slice:
        """Return which places of a batch are this process's."""
        size = batch_size // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def gathered(self, values: Tensor) -> Tensor:
        """Return the rows (b, ...) of all processes, (b W, ...), with a gradient; equally many from each."""
        if self.world_size == 1:
            return values
        room = values.new_zeros(self.world_size, *values.shape)
        room[self.rank] = values
        return sum_over_ranks(room, self.group_of(values.device)).flatten(end_dim=1)

    # What is agreed.

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes; NaN in one is NaN in all."""
        if self.joined:
            with self.waiting("the others"):
                dist.all_reduce(values, group=self.group_of(values.device))
        return values

    def gather(self, value: T) -> list[T]:
        """Return a plain value of each process."""
        if not self.joined:
            return [value]
        values: list[Any] = [None] * self.world_size
        with self.waiting("the others"):
            dist.all_gather_object(values, value)
        return values

    def each(self, work: Callable[[], T]) -> T:
        """Return what ``work`` gives here.

        Raises:
            NlbsError: it failed here or elsewhere: then in every process, so that none waits for another.
        """
        result, failure = None, None
        try:
            result = work()
        except LostRankError:
            raise
        except NlbsError as error:
            failure = error
        self._raise_together(failure)
        return result  # type: ignore[return-value]

    def from_first(self, work: Callable[[], T]) -> T:
        """Return in every process what ``work`` gives in the first, which alone runs it.

        Raises:
            NlbsError: it failed there: then in every process.
        """
        result = self.each(work if self.is_first else lambda: None)
        if not self.joined:
            return result  # type: ignore[return-value]
        box: list[Any] = [result]
        with self.waiting("the first process"):
            dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[no-any-return]

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Keep an error until the next agreement, where every process raises it."""
        try:
            yield
        except NlbsError as error:
            self._failure = self._failure or error

    def flags(self, wishes: Mapping[str, bool]) -> list[float]:
        """Return what a sum over the processes takes for :meth:`decided`: the wishes, and whether one failed here."""
        return [float(wish) for wish in wishes.values()] + [float(self._failure is not None)]

    def decided(self, wishes: Mapping[str, bool], sums: list[float]) -> dict[str, bool]:
        """Return the wishes that any process has, from the sum of :meth:`flags`.

        Raises:
            NlbsError: an error that any process kept, in every process.
        """
        if sums[-1]:
            failure, self._failure = self._failure, None
            self._raise_together(failure)
        return {name: value > 0 for name, value in zip(wishes, sums, strict=False)}

    def agree(self, wishes: Mapping[str, bool]) -> dict[str, bool]:
        """Return the wishes that any process has. Raises NlbsError as :meth:`decided` does."""
        return self.decided(wishes, self.sum(torch.tensor(self.flags(wishes))).tolist())

    def _raise_together(self, failure: NlbsError | None) -> None:
        said = self.gather(None if failure is None else str(failure))
        if failure is not None:
            raise failure
        for rank, message in enumerate(said):
            if message is not None:
                raise NlbsError(f"process {rank} of {self.world_size} stopped: {message}")

    # The network, and the loss of a process.

    def group_of(self, device: torch.device) -> dist.ProcessGroup | None:
        """Return what carries tensors of a device: gloo those in the host's memory, NCCL those on CUDA.

        Asked in all processes at once when first asked for CUDA.
        """
        if device.type != "cuda":
            return None  # the default group
        if self._on_cuda is None and self._watch is not None:
            # Later than the watch: NCCL ends a process without a sentence.
            limit = timedelta(seconds=self._watch.limit_s + 60)
            self._on_cuda = dist.new_group(backend="nccl", timeout=limit)
        return self._on_cuda

    def wrapped(self, model: Trainable, compiled: bool) -> tuple[Sequence[Turn], list[torch.nn.Module]]:
        """Return the turns of a model and what the pass of each goes through, around the model's own weights."""
        group = self.group_of(model.device) if self.joined else None
        if self.joined:
            synced(model, group)
        if compiled:
            compile_in_place(model)
        turns = model.turns()
        networks: list[torch.nn.Module] = []
        for turn in turns:
            network: torch.nn.Module = TurnNetwork(model, turn)
            if self.joined:
                with only(turn, model, turns):  # it exchanges the gradients of what is not frozen now
                    network = DistributedDataParallel(
                        network, process_group=group, gradient_as_bucket_view=True, **_NO_BUFFERS
                    )
            networks.append(network)
        return turns, networks

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Bound the time in which the others have to answer, and explains where they are lost.

        Raises:
            LostRankError: a process ended, or does not answer.
        """
        if self._watch is None:
            yield
            return
        try:
            with self._watch.over(what):
                yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and not _LOST.search(str(error)):
                raise
            raise LostRankError(_lost(self.rank, self.world_size, what, error)) from None


def _lost(rank: int, world_size: int, what: str, error: BaseException | str) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"process {rank} of {world_size} waited for {what} in vain, because a process ended or does not answer "
        f"({reason}): its own message says why. The same command continues from the last checkpoint"
    )


#: Groups of processes, to the end of this one: where what DDP keeps holds the last reference to a group, the group ends
#: its threads while Python's lock is held, for which they may wait.
_KEPT: list[object] = []


@contextmanager
def joined_ranks(timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator[Ranks]:
    """Return the processes that torchrun has started, of which this is one.

    Raises:
        LostRankError: the others do not come in time.
    """
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    watch = Watch(timeout_s, lambda what: _lost(rank, world_size, what, f"nothing for {timeout_s:g} seconds"))
    ranks = Ranks(rank, world_size, watch)
    with ranks.waiting("the others to start"):
        dist.init_process_group(
            "gloo", timeout=timedelta(seconds=timeout_s), rank=rank, world_size=world_size
        )
    _KEPT.append(dist.group.WORLD)
    try:
        yield ranks
        dist.destroy_process_group()
    except LostRankError:
        raise  # closing would wait for the lost one
    except NlbsError:
        dist.destroy_process_group()
        raise
    finally:
        watch.close()


def own_device(device: torch.device) -> torch.device:
    """Return the CUDA device of this process of its machine: that of its local rank.

    Raises:
        ConfigError: the machine has fewer.
    """
    if device.type == "mps":
        raise ConfigError("an Apple GPU is one: start one process, without torchrun, or pass --device cpu")
    if device.type != "cuda":
        return device
    local, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= count:
        raise ConfigError(
            f"process {local + 1} of this machine has no CUDA device, because torch sees {count}; start "
            f"torchrun with --nproc-per-node {count} or fewer"
        )
    device = torch.device("cuda", local)
    torch.cuda.set_device(device)
    return device
