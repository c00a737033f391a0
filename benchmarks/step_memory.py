"""The estimate of ``nlbs-train --dry-run`` against the memory that steps on a CPU take. Prints one JSON line.

Each case runs in a process of its own: the peak of its resident memory over four steps, above what it had before the
model was made, when a step of a tiny model had made torch load all it needs.

    python -m benchmarks.step_memory --shards root/r256-s48 --small-shards root/r64-s48
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nlbs.cvae.config import DecoderConfig, EncoderConfig, ModelConfig
from nlbs.shards import open_shards
from nlbs.train import bench
from nlbs.train import setup as start
from nlbs.train.config import TrainConfig
from nlbs.train.data.stream import Batch, PatchStream
from nlbs.train.memory import estimate

MIB = 2**20
STEPS = 4


def status(field: str) -> int:
    """Return bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def measure(preset: str, folder: str, batch_size: int) -> dict[str, Any]:
    """Return MiB that a preset takes in this process, and that the estimate says."""
    config = preset(preset)
    config = replace(config, data=replace(config.data, batch_size=batch_size))
    harmless = bench.harmless(config)
    with open_shards(folder) as shards, tempfile.TemporaryDirectory() as scratch:
        stream = start.open_streams(harmless, shards)[0]
        batch = stream.read(0, 0)
        warm_up(harmless, batch, stream, Path(scratch))
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here
        trainer = bench.make_trainer(harmless, stream, torch.device("cpu"), Path(scratch))
        for _ in range(STEPS):
            trainer.take(batch)
        peak = status("VmHWM") - before
    said = sum(estimate(config).values())
    return {
        "estimate_mib": round(said / MIB),
        "peak_mib": round(peak / MIB),
        "estimate_over_peak": round(said / peak, 3),
    }


def warm_up(config: TrainConfig, batch: Batch, stream: PatchStream, scratch: Path) -> None:
    """Do a step of a tiny model on one patch."""
    encoder, decoder = EncoderConfig(channels=(8, 16)), DecoderConfig(channels=(16, 8, 1))
    tiny = replace(config, model=ModelConfig(latent_dim=4, encoder=encoder, decoder=decoder))
    one = Batch(
        batch.pixels[:1], {name: codes[:1] for name, codes in batch.conditions.items()}, batch.rows[:1], 0, 0,
        batch.valid[:1],
    )  # fmt: skip
    bench.make_trainer(tiny, stream, torch.device("cpu"), scratch).take(one)


def main() -> None:
    """Measure each case in a process of its own, or the one that is named, and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="patches of 256 x 256, for guide")
    parser.add_argument("--small-shards", required=True, help="patches of 64 x 64, for guide-small")
    parser.add_argument("--case", nargs=2, metavar=("PRESET", "BATCH"), help="this one, in this process")
    options = parser.parse_args()
    if options.case:
        preset, batch_size = options.case
        folder = options.shards if preset == "guide" else options.small_shards
        print(json.dumps(measure(preset, folder, int(batch_size))))
        return
    found = {"benchmark": "step_memory", "torch": torch.__version__}
    for preset, batch_size in (("guide-small", 32), ("guide-small", 256), ("guide", 4)):
        command = [sys.executable, "-m", "benchmarks.step_memory", *sys.argv[1:]]
        case = ["--case", preset, str(batch_size)]
        done = subprocess.run([*command, *case], check=True, stdout=subprocess.PIPE, text=True)
        found[f"{preset}, batch {batch_size}"] = json.loads(done.stdout)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
