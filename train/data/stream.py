"""Batches of patches from a shard set: ordered by a pure function, read ahead by a thread."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbs.errors import ConfigError, ShardError
from nlbs.manifests.captions import caption
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import NLBS, Columns, Schema
from nlbs.models.pixels import as_patches, picked, with_channels
from nlbs.pictures import sheet_html, table_html
from nlbs.shards import ShardSet
from nlbs.shards.format.selection import AllRows, Selection
from nlbs.shards.format.where import explain_empty
from nlbs.shards.order.balance import Balance
from nlbs.shards.order.order import ORDERS
from nlbs.shards.order.sampling import Epochs, Strata
from nlbs.shards.order.strata import strata_of
from nlbs.shards.order.window import Window
from nlbs.shards.reading.mixed_sets import MixedSource, sets_of
from nlbs.text import counted
from nlbs.train.data.read_ahead import Buffers, read_ahead

Rows = npt.NDArray[np.int64]

_PLACES_PER_PLAN = 4096


class PatchSource(Protocol):
    """What a stream needs of :class:`nlbs.shards.ShardSet` or :class:`nlbs.shards.reading.mixed_sets.MixedSource`."""

    @property
    def dataset_id(self) -> str: ...
    @property
    def patch_shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def rows(self, split: str | None = None, where: str | None = None) -> Rows: ...
    def shard_sizes(self, rows: Any) -> npt.NDArray[np.int64]: ...
    def conditions(self, rows: npt.ArrayLike | None = None, schema: Schema = NLBS) -> Columns: ...
    def read(self, rows: npt.ArrayLike, out: Any = None) -> npt.NDArray[Any]: ...


class Resident(Protocol):
    """What has the pixels of a stream already, see :mod:`nlbs.train.data.resident`."""

    def gather(self, rows: Rows) -> Tensor: ...


@dataclass(frozen=True, repr=False)
class Batch:
    """Some patches and what is known about them: the part of a batch that one rank has.

    The pixels are the batch's own: no later batch is ever read into them.
    """

    pixels: Tensor  #: (b, 1, R, R), or (b, 3, R, R) in colour; uint8 or uint16, air = 0
    conditions: dict[
        str, Tensor
    ]  #: as the schema says; of the NLBS conditions (b,) int64 codes, -1 = unknown
    rows: Rows  #: (b,) int64, rows of the manifest
    epoch: int  #: the epoch it belongs to
    step: int  #: its place in the epoch, from 0
    valid: Tensor  #: (b,) bool; False: a patch seen before that fills the last batch of an evaluation
    schema: Schema = NLBS  #: of the conditions

    def __repr__(self) -> str:
        kind = str(self.pixels.dtype).removeprefix("torch.")
        size = "x".join(map(str, self.pixels.shape[1:]))
        place = f"epoch {self.epoch}, step {self.step}"
        return f"Batch({counted(len(self.rows), 'patch', 'patches')} of {size} {kind}, {place})"

    def _repr_html_(self) -> str:
        columns = {name: codes.numpy() for name, codes in self.conditions.items()}
        words = [self.schema.words(self.schema.values_of(columns, place)) for place in range(len(self.rows))]
        captions = [caption(some, self.schema) for some in words]
        return sheet_html(list(as_patches(self.pixels)), captions, repr(self))

    def only_valid(self) -> "Batch":
        """Return the batch without what only fills it; on some ranks, the last one is then empty."""
        if self.valid.all():
            return self
        kept = self.valid.nonzero()[:, 0]
        return Batch(
            picked(self.pixels, kept.to(self.pixels.device)),
            {name: codes[kept] for name, codes in self.conditions.items()},
            self.rows[kept.numpy()],
            self.epoch,
            self.step,
            self.valid[kept],
            self.schema,
        )


class _Plan(NamedTuple):
    """What some batches that follow each other are made of."""

    epoch: int
    first: int  # step
    rows: Rows  # (steps, b)
    conditions: Columns  # (steps, b) and, of labels and numbers, as many as these


class PatchStream:
    """Batches of one split, epoch after epoch.

    Each pass of a ``for`` loop gives one epoch, from batch ``step`` of ``epoch`` on; after a
    whole pass the next one gives the next epoch. A loop that is left early changes nothing:
    the next one starts at the same place, unless :meth:`seek` moves it. The order is a pure
    function of (seed, epoch, step), so ``seek(batch.epoch, batch.step + 1)`` continues exactly.

    Of W ranks each has its part, one after the other, of the same batches: what is seen in a
    step depends on no W, and each rank has as many steps. A stream can go on with another W.
    """

    def __init__(
        self,
        shards: PatchSource,
        batch_size: int = 64,
        seed: int = 0,
        split: str | None = "train",
        order: str = "global",
        drop_last: bool = True,
        epoch: int = 0,
        step: int = 0,
        pin_memory: bool = False,
        where: str | None = None,
        balance: Balance | None = None,
        window: Window | None = None,
        rank: int = 0,
        world_size: int = 1,
        schema: Schema = NLBS,
    ) -> None:
        """Open a stream.

        Args:
            shards: an opened shard set, or several in a mixture.
            batch_size: patches per batch, of all ranks together.
            seed: of the order.
            split: "train", "val", "test", or None for all patches.
            order: "global", another random order of all patches each epoch; "window", the same with
                few shards at a time; "sequential", the order of the manifest.
            drop_last: leave out the incomplete batch at the end (other patches each epoch);
                False: give it, so that each patch comes exactly once, of every set of a mixture.
            epoch, step: where the first pass starts.
            pin_memory: put the pixels where a CUDA device copies them from without waiting.
            where: only patches that this filter takes, see :mod:`nlbs.shards.format.where`.
            balance: how often each class comes; None: as often as it occurs.
            window: how far the window order mixes; None: as :class:`nlbs.shards.order.window.Window` has it.
            rank: which part of each batch, from 0.
            world_size: how many parts there are; divides ``batch_size``.
            schema: the conditions of its batches.

        Raises:
            ShardError: the split is empty.
            ConfigError: the split does not fill one batch, a filter takes nothing or cannot be read,
                or the options do not go together.
        """
        self.shards = shards
        self.batch_size = batch_size
        self.seed = seed
        self.split = split
        self.order = order
        self.drop_last = drop_last
        self.pin_memory = pin_memory
        self.where = where
        self.balance = balance
        self.window = window or Window()
        self.rank, self.world_size, self.schema = rank, world_size, schema
        self._check_options()
        rows = rows_of(shards, split, where)
        self.num_patches = len(rows)  #: how many patches the split has, after the filter
        self._check_size()
        self._sampling = self._sampling_of(rows)
        self._plan: _Plan | None = None
        self._buffers = Buffers()
        self.resident: Resident | None = None  #: gives the pixels in place of the shards where it is set
        self.seek(epoch, step)

    def __len__(self) -> int:
        """Return the number of batches in an epoch, the same for every rank."""
        full, rest = divmod(self.num_patches, self.batch_size)
        return full if self.drop_last else full + (rest > 0)

    def __repr__(self) -> str:
        return f"PatchStream({', '.join(f'{name} {value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        return table_html("PatchStream", self._facts())

    def _facts(self) -> dict[str, str]:
        batches = f"{counted(len(self), 'batch', 'batches')} of {self.batch_size}"
        return {
            "split": f"{self.split or 'all'}: {counted(self.num_patches, 'patch', 'patches')} in {batches}",
            **({} if self.where is None else {"where": self.where}),
            "order": self.order,
            "next": f"epoch {self.epoch}, step {self.step}",
            "conditions": ", ".join(self.schema.names),
        }

    @property
    def strata(self) -> Strata | None:
        """What has a share of each batch; None where each patch comes once in an epoch."""
        return self._sampling if isinstance(self._sampling, Strata) else None

    def seek(self, epoch: int, step: int = 0) -> None:
        """Let the next pass start at batch ``step`` of ``epoch``."""
        if epoch < 0 or not 0 <= step <= len(self):
            raise ValueError(f"there is no batch {step} in epoch {epoch}; an epoch has {len(self)} batches")
        self.epoch, self.step = (epoch, step) if step < len(self) else (epoch + 1, 0)

    def state(self, after: Batch | None = None) -> dict[str, Any]:
        """Return where the next pass starts, or what follows ``after``, in about 300 bytes of JSON.

        The same on every rank, and whatever the number of ranks.
        """
        epoch, step = (self.epoch, self.step) if after is None else (after.epoch, after.step + 1)
        if step == len(self):
            epoch, step = epoch + 1, 0
        return self._identity() | {"epoch": epoch, "step": step}

    def load_state(self, state: Mapping[str, Any], force: bool = False) -> None:
        """Let the next pass start where :meth:`state` says.

        Args:
            state: of this stream, or of another with the same shards and options.
            force: take epoch and step although something else differs.

        Raises:
            ConfigError: the state is that of other shards or options, or none.
        """
        if not force:
            for key, now in self._identity().items():
                if state.get(key) != now:
                    raise ConfigError(
                        f"this state of a stream was saved with {key} {state.get(key)!r}, now it is {now!r}; open "
                        "the stream as it was, or force it to take the place in the epoch alone"
                    )
        try:
            self.seek(int(state["epoch"]), int(state["step"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"this state of a stream names no place in it ({error}); start anew") from None

    def batch_rows(self, epoch: int, step: int) -> Rows:
        """Return the rows of the manifest that make this rank's part of a batch: a pure function."""
        return self._planned(epoch, step)[0]

    def read(self, epoch: int, step: int) -> Batch:
        """Return this rank's part of one batch.

        Raises:
            ShardError: a shard is damaged, or a condition code is none of ours.
        """
        rows, found = self._planned(epoch, step)
        conditions = {name: torch.from_numpy(values) for name, values in found.items()}
        pixels = with_channels(self._pixels(rows))
        return Batch(pixels, conditions, rows, epoch, step, self._valid(step), self.schema)

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self.epoch, self.step
        yield from read_ahead(self.read(epoch, step) for step in range(first, len(self)))
        self.seek(epoch + 1)

    def _planned(self, epoch: int, step: int) -> tuple[Rows, Columns]:
        """Return the rows of a batch, (b,), and their conditions, from a plan of some batches at once.

        numpy takes as long for one batch as for sixty. What comes depends on nothing but epoch and step.
        """
        plan = self._plan
        if plan is None or plan.epoch != epoch or not plan.first <= step < plan.first + len(plan.rows):
            self._plan = plan = self._plan_from(epoch, step, plan)
        count, number = self._count(step), step - plan.first
        conditions = {name: values[number, :count].copy() for name, values in plan.conditions.items()}
        return plan.rows[number, :count].copy(), conditions

    def _plan_from(self, epoch: int, step: int, before: "_Plan | None") -> "_Plan":
        """Return a plan that begins with a batch: of this one alone, or of twice those of the plan before it."""
        steps = 1
        if before is not None and step in (0, before.first + len(before.rows)):
            steps = min(2 * len(before.rows), max(1, _PLACES_PER_PLAN // self.batch_size), len(self) - step)
        size = self.batch_size // self.world_size
        rows = self._sampling.rows_of_steps(epoch, step, steps, np.arange(size) + self.rank * size)
        found = self.shards.conditions(rows.reshape(-1), self.schema)
        _check_codes(found, self.schema)
        planned = {name: values.reshape(*rows.shape, *values.shape[1:]) for name, values in found.items()}
        return _Plan(epoch, step, rows, planned)

    def _count(self, step: int) -> int:
        """Return how many places of a batch are this rank's. One rank alone has no use for a last batch filled up."""
        size = self.batch_size // self.world_size
        return size if self.world_size > 1 else min(size, self.num_patches - step * self.batch_size)

    def _valid(self, step: int) -> Tensor:
        """Say of each of this rank's places of a batch whether it is not behind the last patch, (b,) bool."""
        valid = np.ones(self._count(step), dtype=np.bool_)
        first = step * self.batch_size + self.rank * (self.batch_size // self.world_size)
        valid[max(0, self.num_patches - first) :] = False
        return torch.from_numpy(valid)

    def row_numbers(self) -> Rows:
        """Return all rows that the stream goes through, (num_patches,) int64, sorted."""
        rows = rows_of(self.shards, self.split, self.where)
        return rows if isinstance(rows, np.ndarray) else rows.numbers()

    def _pixels(self, rows: Rows) -> Tensor:
        if self.resident is not None:
            return self.resident.gather(rows)
        shape = (len(rows), *self.shards.patch_shape)
        if not self.pin_memory:
            buffer = self._buffers.take(shape, self.shards.dtype)
            return torch.from_numpy(self.shards.read(rows, out=buffer))
        kind = torch.from_numpy(np.empty(0, self.shards.dtype)).dtype
        # Not a ring of our own: torch keeps pinned memory and gives it again once no copy needs it.
        pixels = torch.empty(shape, dtype=kind, pin_memory=True)
        self.shards.read(rows, out=pixels.numpy())
        return pixels

    def _sampling_of(self, rows: Rows | Selection | AllRows) -> Epochs | Strata:
        mixed = isinstance(self.shards, MixedSource) and self.drop_last
        if self.balance is None and not mixed:
            sizes = self.shards.shard_sizes(rows) if self.order == "window" else len(rows)
            return Epochs(rows, ORDERS[self.order](sizes, self.seed, self.window), self.batch_size)
        numbers = rows if isinstance(rows, np.ndarray) else rows.numbers()
        strata = strata_of(self.shards, numbers, self.balance, with_sizes=self.order == "window")
        return Strata(strata, self.order, self.batch_size, len(self), self.seed, self.window)

    def _identity(self) -> dict[str, Any]:
        """Return what the sequence of batches depends on."""
        return {
            "dataset_id": self.shards.dataset_id,
            "split": self.split,
            "where": self.where,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "order": self.order,
            "window": [self.window.streams, self.window.shards] if self.order == "window" else None,
            "weights": self.strata.digest if self.strata else None,
        }

    def _check_options(self) -> None:
        if self.order not in ORDERS:
            raise ConfigError(f"there is no order {self.order!r}; known: {', '.join(ORDERS)}")
        if self.balance is not None and not self.drop_last:
            raise ConfigError("a balance draws patches more than once; evaluate without one")
        if not 0 <= self.rank < self.world_size or self.batch_size < 1 or self.batch_size % self.world_size:
            raise ConfigError(
                f"rank {self.rank} of {self.world_size} cannot have its part of batches of {self.batch_size}; "
                f"take ranks from 0 and a --batch-size that is a multiple of {max(self.world_size, 1)}"
            )

    def _check_size(self) -> None:
        split = f"the split {self.split!r}" if self.split else "the shard set"
        if not self.num_patches and self.where is not None and len(rows_of(self.shards, self.split, None)):
            found = "; ".join(
                explain_empty(one.manifest, self.where, one.rows(self.split)) for one in sets_of(self.shards)
            )
            raise ConfigError(f"the filter {self.where!r} leaves nothing of {split}: {found}")
        if not self.num_patches:
            raise ShardError(
                f"the shard set has no patches of {split}; choose another, or build a set with more patients"
            )
        if not len(self):
            raise ConfigError(
                f"{split} has {self.num_patches} patches, not enough for one batch of "
                f"{self.batch_size}; take --batch-size {self.num_patches} or less"
            )


def rows_of(source: Any, split: str | None, where: str | None) -> Rows | Selection | AllRows:
    """Return which rows of a source a stream goes through, in a bit per row where the source can."""
    if isinstance(source, ShardSet):
        return source.selection(split, where)
    rows: Rows = source.rows(split) if where is None else source.rows(split, where)
    return rows


def _check_codes(codes: Columns, schema: Schema) -> None:
    """Refuse codes out of range: on a CUDA device they would end the process."""
    for condition in schema:
        if not condition.is_coded:
            continue
        name, count = condition.name, len(condition.values)
        wrong = codes[name][(codes[name] < UNKNOWN) | (codes[name] >= count)]
        if len(wrong):
            raise ShardError(
                f"the manifest has the code {wrong[0]} for {name}, expected -1 to {count - 1}: it is "
                "damaged; cut the shard set again"
            )
