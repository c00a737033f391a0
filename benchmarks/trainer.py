"""What the trainer costs beside the model: its step, its waiting for data, its memory, its start. Prints one JSON line.

step: one step of the trainer over a bare one of the same model, optimiser and batch size. Bare is zero_grad, forward,
the guide's loss, backward and a fused Adam step, on floats that are there already: no clipping, no augmentation, no
reading of the loss. The trainer's is the whole of it, from the uint8 patches on, with augmentation and without. They
take turns, one step each, in changing order. The ratio is the median over the rounds, in wall time and in CPU time of
this process; where other work disturbs both, that of the quickest tenths tells more.
waiting: the share of an epoch's time, first batch and all, that the trainer waits for the loader.
memory: a run of ``nlbs-train`` over some epochs, watched from outside; its memory at the end of each, by least squares.
resume: a new process that continues a run, from opening the shards to its first batch, the load of the state apart. Its
imports stand apart too, torch._dynamo among them, which torch's optimisers import as they are made.

    nlbs-preprocess phantom --out phantom/ --patients 8 --rows 1024 --columns 800
    nlbs-preprocess build-shards --csv phantom/meta.csv --images phantom/ --out root/ --resolution 256 --stride 48
    nlbs-preprocess reshard --shards root/ --resolution 64 --stride 48
    python -m benchmarks.trainer --shards root/r256-s48 --small-shards root/r64-s48
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlbs.shards import open_shards
from nlbs.train import bench
from nlbs.train import setup as start
from nlbs.train.config import NO_AUGMENT, TrainConfig, resolved_config
from nlbs.train.run_folder import Progress
from nlbs.train.timed_stream import WatchedStream

WARM_UP = 3  # rounds
MIB = 2**20

#: A run that was made before, continued up to its first batch; prints seconds.
RESUME = """
import time
begun = time.perf_counter()
import json, sys
from pathlib import Path
import torch
import torch._dynamo
from nlbs.shards import open_shards
from nlbs.train import setup as start
from nlbs.train.config import resolved_config
from nlbs.train.loop import Trainer
from nlbs.train.run_folder import RunFolder

preset, shards, run = sys.argv[1:]
said, loads = {}, []

def arrived(self, batch, *more):
    said["to_first_batch"] = time.perf_counter() - begun
    said["cpu"] = time.process_time() - used
    said["load"], said["load_cpu"] = loads[0]
    said["start"] = self.progress.total_steps
    print(json.dumps(said))
    sys.stdout.flush()
    sys.exit(0)

def load(self, *arguments, load=RunFolder.load_state):
    asked = time.perf_counter(), time.process_time()
    state = load(self, *arguments)
    loads.append((time.perf_counter() - asked[0], time.process_time() - asked[1]))
    return state

Trainer._step, RunFolder.load_state = arrived, load
config = resolved_config(preset, None, {})
said["imports"] = time.perf_counter() - begun
begun, used = time.perf_counter(), time.process_time()
start.train(config, open_shards(shards), RunFolder(Path(run)), torch.device("cpu"))
"""


def without_augmentation(config: TrainConfig) -> TrainConfig:
    """Return the same configuration, with patches as they are."""
    return replace(config, training=replace(config.training, augment=NO_AUGMENT))


def measure_step(preset: str, folder: str, rounds: int, device: torch.device) -> dict[str, Any]:
    """Return the ratios of a preset's step, and milliseconds of its parts."""
    config = bench.harmless(resolved_config(preset, None, {}))
    with open_shards(folder) as shards, tempfile.TemporaryDirectory() as scratch:
        stream = start.open_streams(config, shards)[0]
        batch = stream.read(0, 0)
        augmenting = bench.make_trainer(config, stream, device, Path(scratch))
        plain = bench.make_trainer(without_augmentation(config), stream, device, Path(scratch), augmenting)
        inputs = plain.inputs(batch)
        weights = list(plain.model.parameters())
        works: dict[str, Callable[[], Any]] = {
            "bare": lambda: plain.bare(*inputs),
            "with augmentation": lambda: augmenting.take(batch),
            "without augmentation": lambda: plain.take(batch),
            "pixels": lambda: plain.prepare(batch),
            "pixels and augmentation": lambda: augmenting.prepare(batch),
            "clipping": lambda: torch.nn.utils.clip_grad_norm_(weights, 1e9),
        }
        wall, cpu = in_turn(works, rounds)
    return {
        "batch_size": config.data.batch_size,
        "patch_px": shards.resolution,
        "resolution": config.data.resolution,
        "trainer_over_bare_wall": ratios(wall),
        "trainer_over_bare_cpu": ratios(cpu),
        "trainer_over_bare_cpu_of_quickest_tenths": ratios(
            {name: [float(np.quantile(found, 0.1))] for name, found in cpu.items()}
        ),
        "cpu_ms": {name: round(1000 * statistics.median(found), 2) for name, found in cpu.items()},
    }


def in_turn(works: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, list[float]], ...]:
    """Return wall and CPU seconds of pieces of work, one list each, round by round."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    for number in range(WARM_UP + rounds):
        for name, work in list(works.items())[:: 1 if number % 2 else -1]:
            before = time.perf_counter(), time.process_time()
            work()
            after = time.perf_counter(), time.process_time()
            if number >= WARM_UP:
                wall[name].append(after[0] - before[0])
                cpu[name].append(after[1] - before[1])
    return wall, cpu


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return the trainer's steps over the bare one, the median of the rounds."""
    return {
        name: round(
            statistics.median(one / bare for one, bare in zip(seconds[name], seconds["bare"], strict=True)), 3
        )
        for name in ("with augmentation", "without augmentation")
    }


def measure_waiting(preset: str, folder: str, epochs: int, device: torch.device) -> dict[str, Any]:
    """Return the share of whole epochs that is spent waiting for the loader, in a set that was never read."""
    config = bench.harmless(resolved_config(preset, None, {}))
    found = []
    with open_shards(folder) as shards, tempfile.TemporaryDirectory() as scratch:
        stream = start.open_streams(config, shards)[0]
        trainer = bench.make_trainer(config, stream, device, Path(scratch))
        for _ in range(epochs):
            watched = WatchedStream(stream, seconds=float("inf"), warm_up=0)
            trainer.train_watched(watched, epochs=1)
            found.append(watched)
    return {
        "steps_per_epoch": len(stream),
        "waiting_share": [round(one.waited / one.seconds, 5) for one in found],
        "patches_per_second": round(sum(o.patches for o in found) / sum(o.seconds for o in found)),
    }


def measure_memory(preset: str, folder: str, epochs: int, warm_up: int = 2) -> dict[str, Any]:
    """Return how the memory of a run grows, from the end of epoch ``warm_up`` on."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        options = ["--epochs", str(epochs), "--device", "cpu", "--run", str(run)]
        command = [sys.executable, "-m", "nlbs.train", "--shards", folder, "--preset", preset, *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        samples: list[dict[str, int]] = []
        try:
            while process.poll() is None:
                time.sleep(0.05)
                if epochs_ended(run / "metrics.jsonl") > len(samples) and (found := memory_of(process.pid)):
                    samples.append(found)
        finally:
            process.kill()
        if process.returncode or len(samples) < epochs - 1:
            sys.exit(f"the run ended with exit code {process.returncode} after {len(samples)} epochs")
    kept = samples[warm_up:]
    growth = {key: growth_of([sample[key] for sample in kept]) for key in ("rss", "anonymous")}
    return {
        "epochs": len(samples),
        "warm_up_epochs": warm_up,
        "rss_mib": [round(sample["rss"] / MIB, 1) for sample in samples],
        "anonymous_mib": [round(sample["anonymous"] / MIB, 1) for sample in samples],
        "growth_over_all_epochs": growth,
    }


def epochs_ended(metrics: Path) -> int:
    """Return how many epochs a run has ended."""
    return metrics.read_text(encoding="utf-8").count('"kind": "epoch"') if metrics.exists() else 0


def memory_of(process: int) -> dict[str, int]:
    """Return resident and anonymous bytes of a process; nothing where it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
    names = {"rss": "VmRSS", "anonymous": "RssAnon"}
    return {key: 1024 * int(fields[name].split()[0]) for key, name in names.items() if name in fields}


def growth_of(values: list[int]) -> float:
    """Return the rise of the line of least squares, from the first value to the last, over their mean."""
    slope = np.polyfit(np.arange(len(values)), values, 1)[0]
    return round(float(slope * (len(values) - 1) / np.mean(values)), 5)


def measure_resume(preset: str, folder: str, rounds: int) -> dict[str, Any]:
    """Return seconds from the start of a run that continues to its first batch, the median of some processes."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        leave_a_run(resolved_config(preset, None, {}), folder, run)
        found = []
        for _ in range(rounds):
            child = [sys.executable, "-c", RESUME, preset, folder, str(run)]
            done = subprocess.run(child, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        state_mib = (run / "last_state.pt").stat().st_size / MIB
    assert all(one["start"] == 1 for one in found)  # continued, not begun
    for one in found:
        one["without_load"] = one["to_first_batch"] - one["load"]
        one["without_load_cpu"] = one["cpu"] - one["load_cpu"]
    names = ("imports", "to_first_batch", "load", "without_load", "without_load_cpu")
    median = {f"{key}_s": round(statistics.median(one[key] for one in found), 3) for key in names}
    return {"state_mib": round(state_mib, 1), **median}


def leave_a_run(config: TrainConfig, folder: str, path: Path) -> None:
    """Leave the folder of a run that was stopped after its first step."""
    path.mkdir()
    with open_shards(folder) as shards:
        stream = start.open_streams(config, shards)[0]
        trainer = bench.make_trainer(config, stream, torch.device("cpu"), path)
        trainer.take(stream.read(0, 0))
        progress = Progress(steps_per_epoch=len(stream), step=1)
        metadata = {"dataset_id": shards.dataset_id}
        trainer.run_folder.save_last(trainer.model, trainer.optimizer, progress, config, metadata)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="patches of 256 x 256, for guide")
    parser.add_argument("--small-shards", required=True, help="patches of 64 x 64, for guide-small")
    parser.add_argument("--only", nargs="+", choices=["step", "waiting", "memory", "resume"])
    parser.add_argument("--rounds", type=int, default=60, help="of guide-small's step; guide takes a quarter")
    parser.add_argument("--presets", nargs="+", default=["guide-small", "guide"], help="of step and resume")
    parser.add_argument("--epochs", type=int, default=12, help="of the run whose memory is watched")
    parser.add_argument("--note", default="", help="what else the machine did")
    options = parser.parse_args()
    large, small, cpu = options.shards, options.small_shards, torch.device("cpu")
    rounds = options.rounds
    #: preset and kind of patches -> preset, shards, rounds
    cases = {
        "guide-small": ("guide-small", small, rounds),
        "guide-small, 256 x 256 averaged": ("guide-small", large, rounds),
        "guide": ("guide", large, max(rounds // 4, 1)),
    }
    cases = {name: case for name, case in cases.items() if case[0] in options.presets}
    on_cpu = {name: case for name, case in cases.items() if case[0] == "guide-small"}
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "step": lambda: {name: measure_step(*case, cpu) for name, case in cases.items()},
        "waiting": lambda: {name: measure_waiting(*case[:2], 3, cpu) for name, case in on_cpu.items()},
        "memory": lambda: {"guide-small": measure_memory("guide-small", small, options.epochs)},
        "resume": lambda: {name: measure_resume(*case[:2], 3) for name, case in cases.items()},
    }
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    machine = f"{platform.machine()}, {threads}, torch {torch.__version__}"
    found: dict[str, Any] = {"benchmark": "trainer", "machine": machine, "note": options.note}
    for name in options.only or measures:
        with redirect_stdout(sys.stderr):  # what a run says
            found[name] = measures[name]()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
