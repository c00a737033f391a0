"""The model that comes with the product, nlbs/pretrained/tiny-phantom, made again. Run by ``make tiny-model``.

Draws 1,200 phantom images, builds a set of whole breasts at 64 x 64, trains it by examples/tiny_model.yaml over a
preset, and writes weights, configuration and card into the package, and draws of it into --out. About 20 minutes.
"""

import argparse
import re
from pathlib import Path

from commands import run

import nlbs

NAME = "tiny-phantom"
PACKAGE = Path(nlbs.__file__).parent / "pretrained" / NAME
PRESET = "latent-diffusion-small"
ABOUT = f"""
It comes with the package, so that something can be drawn at once:
`nlbs-generate --checkpoint {NAME} --num 8 --out samples/`. It learned from phantoms alone, which
`nlbs-preprocess phantom` draws: no image of a person was used. `examples/tiny_model.py` of the repository trains it.

## Intended use"""
#: What of a run's card is said otherwise where nobody trains or measures the model further.
CHANGES = (
    (r"license: unknown.*", "license: apache-2.0"),
    (r"<!--.*?-->\n?", ""),
    (r"\n\n## Intended use", ABOUT),
    (r"FOLDER", NAME),
    (r"it was trained on: see \*Memorisation\*", "it was trained on"),
    (r"\n## Figures\n[\s\S]*", "\n## Licence\n\nApache-2.0, as the package.\n"),
)


def draw_phantoms(out: Path) -> Path:
    """Draw phantoms, cut a set of whole breasts, and return its folder."""
    findings = "--cancer-share 0.4 --false-positive-share 0.2"
    size = "--patients 300 --rows 256 --columns 200 --transfer-syntax explicit"
    run(f"nlbs-preprocess phantom --seed 1 {findings} {size}", out=out / "phantoms")
    table, cut = out / "phantoms" / "meta.csv", "--mode whole --resolution 64 --split 90/10/0"
    run(f"nlbs-preprocess build-shards {cut}", csv=table, out=out / "shards")
    return out / "shards" / "whole-r64"


def write_card(path: Path) -> None:
    """Make the card of a run that of the package's model."""
    text = path.read_text("utf-8")
    for pattern, words in CHANGES:
        text = re.sub(pattern, words, text)
    path.write_text(text, "utf-8")


def main() -> None:
    """Make phantoms, a shard set, a model, and the folder in the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("tiny-model"), help="phantoms, shards, run and samples"
    )
    parser.add_argument("--package", type=Path, default=PACKAGE, help="where the model is written")
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    trained, config = options.out / "run", Path(__file__).with_name("tiny_model.yaml")
    shards = draw_phantoms(options.out)
    run(
        f"nlbs-train --preset {options.preset} --device {options.device}",
        config=config,
        shards=shards,
        run=trained,
    )
    options.package.mkdir(parents=True, exist_ok=True)
    nlbs.Generator.from_pretrained(trained, device="cpu").save_pretrained(options.package, overwrite=True)
    write_card(options.package / "README.md")
    megabytes = sum(file.stat().st_size for file in options.package.iterdir()) / 1e6
    run("nlbs-generate --grid --num 4 --overwrite", checkpoint=options.package, out=options.out / "samples")
    print(
        f"{options.package} holds {megabytes:.1f} MB; look at {options.out / 'samples' / 'contact_sheet.png'}"
    )


if __name__ == "__main__":
    main()
