"""Training on a machine that is shared: what one busy process leaves of its speed, and what that costs a quiet machine.

Steps of a preset are timed in processes of their own: as libraries wait by themselves (spinning), and as the commands
let them wait (``nlbs.openmp``), each alone and beside one process that is always busy. The four take turns, so that
what else happens on the machine meets all of them; ratios are those of neighbours in time, and their median counts.
Prints one JSON object. Run it on a machine that has nothing else to do.

    python -m benchmarks.busy_neighbour --preset nlbs-small --rounds 9 --seconds 8

``left_beside_busy`` is to be at least 1/3, ``quiet_cost`` at most 0.03.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

SPINNING, ASLEEP = "spinning", "asleep"
_BUSY = "while True: pass"


def steps_per_s(preset: str, batch_size: int, seconds: float) -> float:
    """Return steps a second of a preset in this process: forward, loss, backward, optimiser."""
    import torch

    from nlbs.models.contract import Clock
    from nlbs.train.config import resolved_config
    from nlbs.train.setup import build

    cpu = torch.device("cpu")
    config = resolved_config(preset, None, {"training": {"precision": "float32"}})
    model, (optimizer,) = build(config, cpu)
    (turn,) = model.turns()
    clock = Clock(step=0, steps_per_epoch=1000, epoch=0, share=0.0)
    pixels = torch.rand(batch_size, 1, model.resolution, model.resolution) * 2 - 1
    conditions = {name: torch.zeros(batch_size, dtype=torch.int64) for name in model.schema.names}

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        noise = [torch.randn(batch_size, *shape) for shape in turn.noise]
        model.terms(turn.name, pixels, conditions, noise, clock)["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()
    started, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - started < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - started)


def measured(way: str, beside_busy: bool, args: argparse.Namespace) -> float:
    """Return the steps a second of a process that waits in a way, alone or beside a busy one."""
    from nlbs.openmp import SAID_BY_USER

    environment = {name: value for name, value in os.environ.items() if name not in SAID_BY_USER}
    command = [sys.executable, "-m", "benchmarks.busy_neighbour", "--child", way]
    command += ["--preset", args.preset, "--batch-size", str(args.batch_size), "--seconds", str(args.seconds)]
    busy = subprocess.Popen([sys.executable, "-c", _BUSY]) if beside_busy else None
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    finally:
        if busy is not None:
            busy.kill()
            busy.wait()
    return float(done.stdout)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Return medians of the ratios of neighbours in time."""
    rates: dict[tuple[str, bool], list[float]] = {
        (way, busy): [] for way in (SPINNING, ASLEEP) for busy in (False, True)
    }
    for number in range(args.rounds):
        ways = (SPINNING, ASLEEP) if number % 2 == 0 else (ASLEEP, SPINNING)
        for beside_busy in (False, True):
            for way in ways:
                rates[way, beside_busy].append(measured(way, beside_busy, args))

    def ratio(above: tuple[str, bool], below: tuple[str, bool]) -> float:
        pairs = zip(rates[above], rates[below], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 4)

    return {
        "preset": args.preset,
        "batch_size": args.batch_size,
        "rounds": args.rounds,
        "cpus": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[2], 2),
        "left_beside_busy": ratio((ASLEEP, True), (ASLEEP, False)),
        "left_beside_busy_spinning": ratio((SPINNING, True), (SPINNING, False)),
        "quiet_cost": round(1 - ratio((ASLEEP, False), (SPINNING, False)), 4),
        "steps_per_s": {
            f"{way}, {'busy neighbour' if busy else 'alone'}": round(statistics.median(values), 3)
            for (way, busy), values in rates.items()
        },
    }


def main() -> None:
    """Compare, or is one of the processes that are compared."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="nlbs-small")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--child", choices=[SPINNING, ASLEEP], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is None:
        print(json.dumps(compare(args), indent=2))
        return
    if args.child == ASLEEP:
        from nlbs.openmp import wait_asleep

        assert wait_asleep(), "torch is loaded already, or the environment says how to wait"
    print(steps_per_s(args.preset, args.batch_size, args.seconds))


if __name__ == "__main__":
    main()
