"""CPU time of build-shards against a bare decode loop over the same files, and of reshard against build-shards.

Draws one phantom patient at 4096 x 3328 per transfer syntax, copies its files to fill a set, and runs each side in a
process of its own, single-threaded, after one run that warms the file cache. Prints one JSON line.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

#: The bare loop: read the file, decode its one frame, nothing else.
BARE = """
import sys
from pathlib import Path
import imagecodecs, pydicom
from pydicom.encaps import generate_frames
decode = {"jpeg2000": lambda f, d: imagecodecs.jpeg2k_decode(f, numthreads=1),
          "jpeg-ls": lambda f, d: imagecodecs.jpegls_decode(f),
          "jpeg-lossless": lambda f, d: imagecodecs.jpeg8_decode(f),
          "rle": lambda f, d: imagecodecs.dicomrle_decode(f, dtype="<u2")}[sys.argv[1]]
for path in sorted(Path(sys.argv[2]).rglob("*.dcm")):
    dataset = pydicom.dcmread(path)
    decode(next(generate_frames(dataset.PixelData, number_of_frames=1)), dataset)
"""


def cpu_seconds(*command: object) -> float:
    """Gives the CPU time, user and system, of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_set(folder: Path, syntax: str, images: int) -> Path:
    """Writes a set of copies of one patient's four images; gives its CSV."""
    phantom = folder / "phantom"
    drawn = ["--patients", "1", "--rows", "4096", "--columns", "3328", "--transfer-syntax", syntax]
    subprocess.run([sys.executable, "-m", "nlbs.preprocess", "phantom", "--out", phantom, *drawn], check=True)
    with (phantom / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = folder / "set" / "meta.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for number in range(images):
            row = rows[number % len(rows)]
            target = table.parent / "a" / f"{number:04d}" / "image.dcm"
            target.parent.mkdir(parents=True)
            shutil.copy(phantom / row["File Path"].replace("\\", "/"), target)
            writer.writerow({**row, "File Path": str(target.relative_to(table.parent))})
    return table


def measure(syntax: str, images: int) -> dict[str, float]:
    """Gives the ratios for one transfer syntax; start-up, measured on no images, is taken off both sides."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = make_set(folder, syntax, images)
        (folder / "none").mkdir()
        nlbs = [sys.executable, "-m", "nlbs.preprocess"]
        bare = [sys.executable, "-c", BARE, syntax]
        cpu_seconds(*bare, table.parent)  # warms the file cache
        decode = cpu_seconds(*bare, table.parent) - cpu_seconds(*bare, folder / "none")
        build = [*nlbs, "build-shards", "--csv", table, "--out", folder / "shards", "--jobs", "1"]
        first = cpu_seconds(*build)
        idle = cpu_seconds(*build)  # the same again has nothing to do: what is left is start-up
        reshard = [*nlbs, "reshard", "--shards", folder / "shards", "--stride", "256", "--jobs", "1"]
        cut = cpu_seconds(*reshard)
        return {
            "build_over_decode": round((first - idle) / decode, 2),
            "build_over_reshard": round((first - idle) / max(cut - idle, 1e-9), 2),
            "decode_cpu_s_per_image": round(decode / images, 3),
        }


def main() -> None:
    """Measures each syntax and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--syntax", nargs="*", default=["jpeg2000", "jpeg-ls", "jpeg-lossless", "rle"])
    options = parser.parse_args()
    os.environ.update({"OMP_NUM_THREADS": "1", "BLOSC_NTHREADS": "1"})
    result = {syntax: measure(syntax, options.images) for syntax in options.syntax}
    print(json.dumps({"benchmark": "offline_stage", "images": options.images, **result}))


if __name__ == "__main__":
    main()
