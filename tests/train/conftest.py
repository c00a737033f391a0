"""What the tests of the trainer share: one thread, a shard set in memory, a run that takes a moment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nlbs.config import merged
from nlbs.errors import ShardError
from nlbs.manifests.schema import NLBS, Schema
from nlbs.train.config import TrainConfig, train_config
from tests.one_thread import one_thread  # noqa: F401  # a fixture


@pytest.fixture(autouse=True)
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the picture of the losses out, which takes as long as the rest of a tiny run."""
    monkeypatch.setattr("nlbs.train.loop.write_curve", lambda path, metrics: None)


class MemoryShards:
    """The interface of a ShardSet over made-up patches: row r is filled with smooth noise of seed r."""

    def __init__(
        self,
        train: int = 40,
        val: int = 7,
        resolution: int = 16,
        kind: type = np.uint8,
        dataset_id: str = "id",
    ) -> None:
        self.folder = Path("memory")
        self.dataset_id = dataset_id
        self.resolution = resolution
        self.channels, self.patch_shape = 1, (resolution, resolution)
        self.dtype = np.dtype(kind)
        self.parameters = {"resolution": resolution, "stride": 512, "min_foreground": 0.1}
        self._splits = {"train": np.arange(train), "val": np.arange(train, train + val), "test": np.arange(0)}
        count = train + val
        generator = np.random.default_rng(0)
        coarse = generator.integers(
            0, np.iinfo(kind).max, (count, resolution // 4, resolution // 4), dtype=kind
        )
        self.pixels = np.kron(coarse, np.ones((4, 4), dtype=kind))
        self.codes = {c.name: generator.integers(-1, len(c.values), count, dtype=np.int64) for c in NLBS}
        self.fails_at_row: int | None = None
        self.reads = 0
        self.replaced: dict[int, int] = {}
        self.info: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, split: str | None = None) -> npt.NDArray[np.int64]:
        return np.arange(len(self)) if split is None else self._splits[split]

    def conditions(self, rows: Any = None, schema: Schema = NLBS) -> dict[str, npt.NDArray[np.int64]]:
        return {name: codes[slice(None) if rows is None else rows] for name, codes in self.codes.items()}

    def occurring(
        self, split: str | None = None, where: str | None = None, schema: Schema = NLBS
    ) -> dict[str, set[int]]:
        rows = self.rows(split)
        return {name: set(codes[rows].tolist()) for name, codes in self.codes.items()}

    def read(self, rows: Any, out: Any = None) -> npt.NDArray[Any]:
        self.reads += 1
        if self.fails_at_row in rows:
            raise ShardError(f"patch {self.fails_at_row} is damaged")
        if out is None:
            return self.pixels[rows]
        out[:] = self.pixels[rows]
        return out  # type: ignore[no-any-return]


TINY = {
    "model": {
        "latent_dim": 4,
        "condition_embed_dim": 6,
        "encoder": {"channels": [8, 16]},
        "decoder": {"channels": [16, 8, 1], "use_skip_connections": True},
    },
    "training": {"epochs": 3, "learning_rate": 1e-3, "log_every_steps": 1, "loss": {"kl_anneal_epochs": 2}},
    "data": {"resolution": 16, "batch_size": 8},
}


def tiny_config(**sections: Any) -> TrainConfig:
    """The configuration of a run of 3 epochs, with changes given as model=, training=, data=."""
    return train_config(merged(TINY, sections), "the test")


def check_fitted_once(fit: Callable[[], Path], capsys: pytest.CaptureFixture[str]) -> Path:
    """Checks that what is fitted to a run is left alone where it is whole, and mended where it is damaged."""
    path = fit()
    before = path.read_bytes()
    capsys.readouterr()
    assert fit() == path
    assert capsys.readouterr().out == ""
    path.write_bytes(before[:-8])
    assert fit() == path
    assert "cut off or damaged" in capsys.readouterr().out
    assert path.read_bytes() == before
    return path


def guide_command(shards: Path, config: Path, run: object) -> list[Any]:
    """Return what nlbs-train takes to train the guide's preset, as a file changes it, on the processor."""
    return ["--shards", shards, "--preset", "guide", "--config", config, "--run", run, "--device", "cpu"]
