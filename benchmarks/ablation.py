"""What each part of nlbs-small is worth: trained without it, on the same patches with the same seed. Prints JSON.

    nlbs-preprocess reshard --shards root/ --resolution 64 --stride 64 --spacing-mm 1.2 --min-foreground 0.4
    python -m benchmarks.ablation --shards root/r64-s64-1.2mm --patches 16000 --out ablation/

The root is that of benchmarks/generative.py, on whose figures see there; patches are seen in whole epochs. What may be
added, autoguidance or grain, is measured by name, in a run long enough for it, beside one of the
same length without:

    python -m benchmarks.ablation --shards root/r64-s13-1.2mm --patches 150000 --only nothing autoguidance --out more/
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.generative import figures, judge, train

#: what is left out -> what the YAML says then
WITHOUT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "calibrated likelihood": {"model": {"learned_scale": False}},
    "stochastic skips": {
        "model": {"decoder": {"stochastic_skips": []}},
        "training": {"loss": {"level_weights": []}},
    },
    "full-resolution level": {
        "model": {"decoder": {"stochastic_skips": [8, 4, 2]}},
        "training": {"loss": {"level_weights": [1, 1, 2, 4]}},
    },
    "conditional prior": {"model": {"conditional_prior": False, "use_posterior_bias": True}},
    "latent in FiLM": {"model": {"latent_in_film": False}},
    "gamma = 1 + change": {"model": {"decoder": {"film_starts_neutral": False}}},
    "clean head": {
        "model": {"decoder": {"clean_head": False, "stochastic_skips": [8, 4, 2]}},
        "training": {"loss": {"level_weights": [1, 1, 2, 4]}},
    },
    "null tokens": {"training": {"null_token_rate": 0.0}},
    "flips": {"training": {"augment": {"horizontal_flip": 0.0}}},
    "staged levels": {"training": {"loss": {"level_weights": []}}},
    "residual blocks": {"model": {"decoder": {"residual_blocks": 0}}},
    "flow": {"flow": None},
}
#: what is added -> what the YAML says then
WITH: dict[str, dict[str, Any]] = {
    "autoguidance": {"autoguidance": {}},
    "grain": {"grain": {}},
}


def changes_of(name: str) -> dict[str, Any]:
    """Return what the YAML of a variant says.

    Guidance of any kind would make up for what a part is worth, and takes three times as long; grain is noise where a
    short run has not learned structure yet.
    """
    return {"autoguidance": None, "grain": None} | (WITH.get(name) or WITHOUT[name])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and judges each variant, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="patches of 64 x 64, with a test split")
    parser.add_argument("--out", type=Path, required=True, help="runs and reports")
    parser.add_argument(
        "--patches", type=int, default=50_000, help="seen in training, at least, and by the flow"
    )
    parser.add_argument("--num", type=int, default=1000, help="held-out patches, and as many drawn")
    parser.add_argument("--only", nargs="+", choices=[*WITHOUT, *WITH], default=list(WITHOUT))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"benchmark": "ablation", "patches": options.patches, "seed": options.seed}
    for name in options.only:
        folder = options.out / name.replace(" ", "-")
        changes = changes_of(name)
        # A flow has as many levels as the model, at most.
        skips = changes.get("model", {}).get("decoder", {}).get("stochastic_skips")
        if skips is not None:
            # The finest level of the flow is folded onto the one before, where there is one.
            network = {"widths": [192, 128, 96][: max(1, len(skips))], "folded": bool(skips)}
            changes["flow"] = {"network": network, "patches": options.patches}
        more = [] if "flow" in changes else ["--flow-patches", options.patches]
        checkpoint = train(
            options.shards, "nlbs-small", options.patches, folder, changes, "--seed", options.seed, *more
        )
        # What an earlier call has left beside the checkpoint is not to be drawn with.
        plain = [] if name == "autoguidance" else ["--autoguidance", 1]
        plain += [] if name == "grain" else ["--no-grain"]
        asked = ("--only", "realism,latents,control", "--guidance", 1, *plain)
        sections = judge(checkpoint, options.shards, folder / "report", options.num, *asked)
        found[f"{'with' if name in WITH else 'without'} {name}"] = figures(sections)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
