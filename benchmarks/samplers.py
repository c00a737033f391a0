"""How near a diffusion model's quick samplers come to its slow one: Fréchet distances of draws. Prints one JSON line.

Draws by DPM-Solver++ and Heun's rule in a few steps stand beside those by the SDE in 500, of the same run, the same
conditions and the same held-out patches, by nlbs-evaluate, for several seeds. A ratio of 1 says that the quick way
costs nothing; the spread over seeds says what a ratio is worth.

    python -m benchmarks.samplers --run runs/diffusion --shards cbis/whole-r64 --out samplers/
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.zoo import nlbs

SLOW = ("sde", 500)
QUICK = (("dpm", 8), ("dpm", 12), ("dpm", 20), ("ode", 20))


def distance(options: argparse.Namespace, sampler: str, steps: int, seed: int) -> float:
    """Return the Fréchet distance of draws to held-out patches."""
    out = options.out / f"{sampler}-{steps}-{seed}"
    report = out / "report.json"
    if not report.exists():
        nlbs("evaluate", "--checkpoint", options.run, "--shards", options.shards, "--out", out, "--only", "realism",
             "--num", options.num, "--seed", seed, "--sampler", sampler, "--sampler-steps", steps,
             "--device", options.device)  # fmt: skip
    sections = json.loads(report.read_text(encoding="utf-8"))["sections"]
    return float(sections["realism"]["frechet"]["generated"])


def compared(slow: Sequence[float], quick: Sequence[float]) -> dict[str, Any]:
    """Return the ratio of means, and the least and largest ratio of two seeds."""
    ratios = [one / other for one in quick for other in slow]
    return {
        "frechet": [round(value, 2) for value in quick],
        "over_slow": round(statistics.mean(quick) / statistics.mean(slow), 4),
        "least": round(min(ratios), 4),
        "largest": round(max(ratios), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw by each sampler, and print how far each is from real patches."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, required=True, help="a run of a preset that denoises, or has a flow"
    )
    parser.add_argument("--shards", required=True)
    parser.add_argument("--out", type=Path, required=True, help="reports; those that are there are taken")
    parser.add_argument("--num", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    options = parser.parse_args(arguments)
    found = {
        f"{sampler} {steps}": [distance(options, sampler, steps, seed) for seed in range(options.seeds)]
        for sampler, steps in (SLOW, *QUICK)
    }
    slow = found[f"{SLOW[0]} {SLOW[1]}"]
    print(json.dumps({
        "benchmark": "samplers", "num": options.num, "seeds": options.seeds,
        **{name: compared(slow, values) for name, values in found.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
