"""Every model of the zoo after the minutes that two cores have, on one shard set, in one table. Prints one JSON line.

Each preset is trained on as many patches as two cores of this machine see in ``--minutes``, half of them for the model
where it has a stage on its latents, and judged on held-out patients through nlbs-evaluate; as published and mended
stand beside each other. With ``--device cuda`` the rates are still those of two cores, measured at the start, and the
patches as many: the card only makes the wait shorter. What is done is kept in ``--out``, and not done again.

    nlbs-preprocess build-shards --csv cbis.csv --map path=path,patient=patient,view=view,laterality=laterality,\
cancer=cancer,density=density,birads=assessment --out cbis/ --mode whole --resolution 64 --split 70/15/15
    python -m benchmarks.zoo --shards cbis/whole-r64 --minutes 20 --no-augment --out zoo-cbis/

Of 256 x 256, from a set that was built with ``--resolution 256``:

    python -m benchmarks.zoo --shards cbis256/whole-r256 --presets latent-diffusion --minutes 50 --no-augment \
        --only galleries,reconstruction,realism --out zoo-256/

``--anomaly`` trains each on healthy patches alone (--where "cancer == 0"), and gives AUROCs by image in place of the
table.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import yaml
from benchmarks.generative import figures_of_control, figures_of_sharpness, value_of

from nlbs.shards import open_shards
from nlbs.train.config import resolved_config

#: Mended, and what it is mended of; both at 64 x 64.
PAIRS = {
    "vindr-vae-small": "vindr-vae-published",
    "cxr-vae-small": "cxr-vae-published",
    "lsgan-small": "lsgan-published",
    "spatial-cvae-small": "spatial-cvae-published",
    "diffusion-small": "diffusion-published",
    "gmvae-small": "gmvae-published",
    "fs-gmvae-small": "fs-gmvae-published",
    "latent-diffusion-small": None,
    "nlbs-small": None,
}
PRESETS = [one for pair in PAIRS.items() for one in pair if one is not None]
ANOMALY = ("vindr-vae-published", "vindr-vae-small", "nlbs-small")
#: A page of samples at the end of each short epoch would take more time than the epoch.
RARE_SAMPLES: dict[str, Any] = {"training": {"samples_every_steps": 1000}}
SIZE: dict[str, Any] = RARE_SAMPLES | {"data": {"resolution": 64}}
AS_IT_IS = ("latent-diffusion",)  #: of 256 x 256, and asked for by name
#: Of presets that are made for larger images: what brings them to 64 x 64, and what stands in for the weights of VGG16.
SMALLER: dict[str, Any] = {
    "lsgan-published": {"model": {"widths": [512, 256, 128, 64]}},
    "gmvae-published": {"model": {"features": "none"}},
    "fs-gmvae-published": {"model": {"features": "none"}},
}
CORES = 2
_FEW, _MORE = 320, 1600  #: latents of the two fits whose difference gives a stage's rate


def nlbs(program: str, *arguments: object, cores: Sequence[int] | None = None) -> str:
    """Run a command, on some cores alone where they are given; return what it printed.

    Raises:
        CalledProcessError: it failed; its last words are on stderr.
    """
    pinned = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
    command = [*pinned, sys.executable, "-m", f"nlbs.{program}", *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": str(len(cores))} if cores else {}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | threads)
    if found.returncode:
        print(" ".join(command), found.stdout[-2000:], found.stderr[-4000:], sep="\n", file=sys.stderr)
        raise subprocess.CalledProcessError(found.returncode, command)
    return found.stdout


def changes_of(preset: str) -> dict[str, Any]:
    """Return the sections that differ from those of a preset."""
    return RARE_SAMPLES if preset in AS_IT_IS else SIZE | SMALLER.get(preset, {})


def has_flow(preset: str) -> bool:
    """Return whether a preset fits a flow to its latents."""
    return any(stage.name == "flow" for stage, _ in resolved_config(preset, None, {}).stages)


def options_of(preset: str, shards: str, run: Path) -> list[object]:
    """Return what each training of a preset is told, its size in a YAML file beside the run."""
    config = run.parent / f"{run.name}.yaml"
    run.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(changes_of(preset)), encoding="utf-8")
    return ["--shards", shards, "--preset", preset, "--config", config]


def rates_of(preset: str, shards: str, out: Path, cores: Sequence[int]) -> dict[str, float]:
    """Return patches per second of training on some cores of a CPU, and latents per second where it has a flow."""
    run = out / "rates" / preset
    options = [*options_of(preset, shards, run), "--device", "cpu"]
    bench = json.loads(nlbs("train", *options, "--bench", "--json", cores=cores).splitlines()[-1])
    found = {"model": float(bench["together"])}
    if has_flow(preset):
        seconds = {}
        for latents in (_FEW, _MORE, 2 * _MORE):
            begun = time.perf_counter()
            nlbs(
                "train", *options, "--epochs", 1, "--run-folder", run, "--flow-patches", latents, cores=cores
            )
            seconds[latents] = time.perf_counter() - begun
        found["flow"] = _MORE / (seconds[2 * _MORE] - seconds[_MORE])
    return found


def plan(rates: Mapping[str, float], minutes: float, patches: int) -> dict[str, int]:
    """Return how many epochs of the training patches, and latents, fit into the minutes."""
    seconds = 60 * minutes / len(rates)
    epochs = max(1, math.floor(seconds * rates["model"] / patches))
    return {"epochs": epochs} | ({"latents": int(seconds * rates["flow"])} if "flow" in rates else {})


def train(preset: str, shards: str, todo: Mapping[str, int], run: Path, device: str, *more: object) -> float:
    """Train a preset as planned; return the seconds that it took here."""
    begun = time.perf_counter()
    flow = ["--flow-patches", todo.get("latents", 0)] if has_flow(preset) else []
    options = options_of(preset, shards, run) + (["--resident", "auto"] if device == "cuda" else [])
    nlbs("train", *options, "--epochs", todo["epochs"], "--run-folder", run, "--device", device, *flow, *more)
    return time.perf_counter() - begun


def row(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a report's sections, short; what a model does not have is left out."""
    realism = sections["realism"]
    frechet = realism["frechet"]
    drawn = realism["manifold"]["generated"]
    found: dict[str, Any] = {
        "frechet": {name: round(value, 2) for name, value in frechet.items()},
        "over_point_mass": round(realism["frechet_over_point_mass"], 3),
        "over_floor": round(realism["frechet_over_floor"], 2),
        **{name: round(drawn[name], 3) for name in ("precision", "recall", "coverage")},
        "recall_of_floor": round(realism["manifold"]["floor"]["recall"], 3),
        **figures_of_sharpness(realism["sharpness"]),
    }
    if "control" in sections:
        found["control"] = figures_of_control(sections["control"])
    if rebuilt := sections.get("reconstruction"):
        found["psnr_db"] = value_of(rebuilt.get("reconstructed", {}).get("psnr_db"))
        if planted := rebuilt.get("dots", {}).get("planted"):
            found["dots"] = {"kept": value_of(planted["recall"]), "by_chance": planted["chance"]}
    return found


def seconds_of_draws(run: Path, shards: str, device: str) -> float:
    """Return how long a run takes to draw 1,000 patches, by all cores or the card."""
    out = run.parent / f"{run.name}-draws"
    nlbs("evaluate", "compare", run, "--shards", shards, "--out", out, "--num", 200, "--overwrite",
         "--only", "galleries", "--device", device)  # fmt: skip
    found = json.loads((out / "compare.json").read_text(encoding="utf-8"))["sections"]["comparison"]["models"]
    return float(value_of(found[run.name]["figures"]["seconds_per_1000"]))


def judged(run: Path, shards: str, device: str, num: int, only: str) -> dict[str, Any]:
    """Return the figures of a trained run on held-out patients."""
    out = run.parent / f"{run.name}-report"
    nlbs("evaluate", "--checkpoint", run, "--shards", shards, "--out", out, "--num", num, "--overwrite",
         "--only", only, "--device", device)  # fmt: skip
    return row(json.loads((out / "report.json").read_text(encoding="utf-8"))["sections"])


def anomalies(run: Path, shards: str, device: str) -> dict[str, Any]:
    """Return AUROCs of a run that was trained on healthy patches, by score and summary of an image."""
    out = run.parent / f"{run.name}-anomaly"
    nlbs("evaluate", "anomaly", "--checkpoint", run, "--shards", shards, "--out", out, "--overwrite",
         "--heat-maps", 2, "--device", device)  # fmt: skip
    found: dict[str, Any] = json.loads((out / "anomaly.json").read_text(encoding="utf-8"))["sections"]
    return found


def one_preset(preset: str, rates: Mapping[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one preset; an earlier result of the same plan is taken as it is."""
    if options.anomaly:  # scores are of the model: nothing is drawn from a flow
        rates = {"model": rates["model"]}
    with open_shards(options.shards) as opened:
        todo = plan(rates, options.minutes, len(opened.rows("train", options.where)))
    run = options.out / preset
    kept = options.out / f"{preset}.json"
    if kept.exists() and (found := json.loads(kept.read_text(encoding="utf-8")))["plan"] == todo:
        return dict(found)
    print(f"{preset}: {todo}", file=sys.stderr)
    more = ["--seed", options.seed, *(["--where", options.where] if options.where else [])]
    if options.no_augment:
        more.append("--no-augment")
    seconds = train(preset, options.shards, todo, run, options.device, *more)
    found = {"plan": todo, "rates": rates, "seconds": round(seconds, 1)}
    if options.anomaly:
        found["anomaly"] = anomalies(run, options.shards, options.device)
    else:
        found |= judged(run, options.shards, options.device, options.num, options.only)
        found["seconds_of_1000_draws"] = seconds_of_draws(run, options.shards, options.device)
    kept.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def each(presets: Sequence[str], work: Callable[[str], Any], jobs: int) -> dict[str, Any]:
    """Return what work gives for each preset, some at a time; one that fails says so in its place."""

    def tried(preset: str) -> Any:
        try:
            return work(preset)
        except subprocess.CalledProcessError as error:
            return {"failed": f"exit code {error.returncode} of {' '.join(error.cmd)}"}

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(presets, pool.map(tried, presets), strict=True))


def all_rates(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of all presets on two cores each, from the file of --rates where it is there."""
    kept: Path = options.rates or options.out / "rates.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    there = sorted(os.sched_getaffinity(0))
    pairs = [there[start : start + CORES] for start in range(0, len(there) - CORES + 1, CORES)] or [there]
    free: Queue[list[int]] = Queue()
    for pair in pairs:
        free.put(pair)

    def measured(preset: str) -> dict[str, float]:
        cores = free.get()
        try:
            return rates_of(preset, options.shards, options.out, cores)
        finally:
            free.put(cores)

    found = each(options.presets, measured, len(pairs))
    kept.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and judge all presets, and print what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="patches of 64 x 64, with a test split")
    parser.add_argument("--out", type=Path, required=True, help="runs, reports and results")
    parser.add_argument("--presets", nargs="+", help="without, all; with --anomaly, three")
    parser.add_argument("--minutes", type=float, default=20.0, help="of two cores, for each preset in all")
    parser.add_argument("--rates", type=Path, help="a file of an earlier run's; without, OUT/rates.json")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--jobs", type=int, default=1, help="presets at once")
    parser.add_argument("--num", type=int, default=1000, help="held-out patches, and as many drawn")
    parser.add_argument(
        "--only", default="galleries,reconstruction,realism,control", help="sections of the report"
    )
    parser.add_argument("--where", help="train on some patches alone")
    parser.add_argument(
        "--no-augment", action="store_true", help="for images that are all turned to one side, as CBIS here"
    )
    parser.add_argument("--anomaly", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.presets = options.presets or list(ANOMALY if options.anomaly else PRESETS)
    if options.anomaly:
        options.where = options.where or "cancer == 0"
    options.out.mkdir(parents=True, exist_ok=True)
    rates = all_rates(options)

    def done(preset: str) -> dict[str, Any]:
        if "model" not in rates.get(preset, {}):
            return {"failed": "its rate was not measured"}
        return one_preset(preset, rates[preset], options)

    found = each(options.presets, done, options.jobs)
    result = {"benchmark": "zoo", "shards": options.shards, "minutes": options.minutes, "seed": options.seed,
              "device": options.device, "presets": found}  # fmt: skip
    (options.out / "zoo.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
