"""Draw the picture of the README: phantoms above, below each one what a model drew by the same conditions.

python examples/picture.py --shards tiny-model/shards --checkpoint tiny-phantom --out docs/images/drawn.png

``make tiny-model`` leaves these phantoms. Patches of others' data do not belong in the repository.
"""

import argparse
from pathlib import Path

import numpy as np

import nlbs
from nlbs.evaluate.real_patches import downsample
from nlbs.manifests.captions import caption
from nlbs.pictures import contact_sheet, write_png

_COLUMNS, _TILE_PX = 8, 112


def main() -> None:
    """Read patches of a split, draw as many, and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--least-foreground", type=float, default=0.2)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    shards = nlbs.open_shards(options.shards)
    generator = nlbs.Generator.from_pretrained(options.checkpoint, device=options.device)
    rows = shards.rows(options.split, f"foreground >= {options.least_foreground}")
    chosen = [int(rows[place]) for place in np.linspace(0, len(rows) - 1, _COLUMNS).astype(int)]
    shown = downsample(shards.read(chosen), generator.model.image.edge)
    drawn, captions = [], []
    for seed, row in enumerate(chosen):
        words = {name: shards[row].conditions.get(name, "") for name in generator.schema.names}
        drawn += [
            *generator.draw({name: word for name, word in words.items() if word}, n=1, seed=seed).images
        ]
        captions.append(caption(words, generator.schema))
    titles = [f"{kind}\n{words}" for kind in ("phantom", "drawn") for words in captions]
    sheet = contact_sheet(
        [*shown, *drawn],
        titles,
        _COLUMNS,
        _TILE_PX,
        "Above: phantoms. Below: what a model drew by the same conditions.",
    )
    write_png(options.out, sheet, {"Synthetic": "yes: phantoms, and what a model drew"})


if __name__ == "__main__":
    main()
