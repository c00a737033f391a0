"""Patches per second of training on a GPU, against a bare step and a set that lies on the card. Writes JSON.

For each preset, batch size and way of running the model (eager, compiled), in one process:

bare       the ceiling: forward, loss, backward and fused Adam on floats that lie on the card, nothing else
step       the trainer's step on one batch from pinned memory: copy, augmentation, clipping, reading of the loss
resident   the trainer's step on batches that are gathered from a set on the card
streamed   the trainer as it runs, fed by the loader from the shards, with the share of its time that it waits

All at ``--precision``, in channels_last unless ``--contiguous``. They take turns; the best of the rounds counts.
The memory that torch took stands beside the estimate of ``nlbs-train --dry-run``.

    nlbs-preprocess phantom --out phantom/ --patients 24 --rows 2048 --columns 1600
    nlbs-preprocess build-shards --csv phantom/meta.csv --images phantom/ --out root/ --resolution 256 --stride 48
    python -m benchmarks.gpu --shards root/

Without a GPU, ``--device cpu --tiny`` shows that it runs: a small model at 16 x 16, whose figures mean nothing.
"""

import argparse
import json
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from nlbs.shards import ShardSet, open_shards
from nlbs.train import bench
from nlbs.train import setup as start
from nlbs.train.config import TrainConfig, resolved_config
from nlbs.train.data.resident import keep_on_device
from nlbs.train.data.stream import Batch, PatchStream
from nlbs.train.memory import estimate

RESULTS = Path(__file__).parent / "results"
MODES = ("eager", "compiled")
TINY = {
    "model": {"latent_dim": 4, "encoder": {"channels": [8, 16]}, "decoder": {"channels": [16, 8, 1]}},
    "data": {"resolution": 16},
}


def batches_of(stream: PatchStream) -> Iterator[Batch]:
    """Yield batches of a stream for ever."""
    while True:
        yield from stream


def measure(
    config: TrainConfig, shards: ShardSet, device: torch.device, seconds: float, rounds: int
) -> dict[str, Any]:
    """Return patches per second of one configuration in each of the ways, and what they amount to."""
    config = bench.harmless(config)
    stream = start.open_streams(config, shards, pin_memory=device.type == "cuda")[0]
    batch = stream.read(0, 0)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = bench.make_trainer(config, stream, device, Path(scratch))
        on_device = start.open_streams(config, shards)[0]
        keep_on_device(on_device, "always", device)
        resident = batches_of(on_device)
        inputs = trainer.inputs(batch)
        works: dict[str, Callable[[Batch], None]] = {
            "bare": lambda _: trainer.bare(*inputs),
            "step": trainer.take,
            "resident": lambda _: trainer.take(next(resident)),
        }
        found: dict[str, list[float]] = {name: [] for name in (*works, "streamed")}
        waited = []
        for _ in range(rounds):
            for name, work in works.items():
                found[name].append(bench.rate(trainer, work, batch, seconds))
            streamed, waiting = bench.run_together(trainer, stream, seconds)
            found["streamed"].append(streamed)
            waited.append(waiting)
    best = {name: max(rates) for name, rates in found.items()}
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return {
        "patches_per_second": {name: round(rate, 1) for name, rate in best.items()},
        "over_bare": {name: round(rate / best["bare"], 3) for name, rate in best.items() if name != "bare"},
        "waiting_share": round(min(waited), 4),
        "memory_gib": None if memory is None else round(memory, 2),
        "memory_estimate_gib": round(sum(estimate(config).values()) / 2**30, 2),  # at float32
    }


def measure_all(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return what each batch size and way of running the model gives; one that does not fit says so."""
    found: dict[str, Any] = {}
    sizes = options.batch_sizes or ([8, 16] if options.tiny else [64, 256])
    with open_shards(options.shards) as shards:
        for preset, mode, size in product(options.presets, options.modes, sizes):
            name = f"{preset}, {mode}, batch {size}"
            print(f"measuring {name}", file=sys.stderr)
            config = configuration(options, preset, mode, size)
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            try:
                found[name] = measure(config, shards, device, options.seconds, options.rounds)
            except torch.OutOfMemoryError as error:
                found[name] = {"out_of_memory": str(error).splitlines()[0]}
    return found


def configuration(options: argparse.Namespace, preset: str, mode: str, size: int) -> TrainConfig:
    """Return a preset's run as it is measured."""
    training = {"precision": options.precision, "channels_last": not options.contiguous}
    config = resolved_config(preset, None, TINY if options.tiny else {})
    return replace(
        config,
        training=replace(config.training, **training, compile=mode == "compiled"),
        data=replace(config.data, batch_size=size),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the result under the card's name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="patches of 256 x 256")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="a model that a CPU runs in no time")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="64 and 256; with --tiny 8 and 16")
    parser.add_argument("--presets", nargs="+", default=["guide"], help="of 256 x 256")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--contiguous", action="store_true", help="leave the memory format as it is")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a file; without, results/gpu-CARD.json, and none for a CPU")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks.gpu needs a CUDA device; without one, --device cpu --tiny shows that it runs.")
    device = torch.device(options.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"
    result: dict[str, Any] = {
        "benchmark": "gpu",
        "card": card,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "precision": options.precision,
        "channels_last": not options.contiguous,
        "model": "tiny" if options.tiny else "presets at 256 x 256",
    }
    with redirect_stdout(sys.stderr):  # what a run says
        result["measured"] = measure_all(options, device)
    path = options.out
    if path is None and device.type == "cuda" and not options.tiny:
        path = RESULTS / f"gpu-{re.sub(r'[^a-z0-9]+', '-', card.lower()).strip('-')}.json"
    if path is not None:
        path.write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
