"""What a build costs beside decoding: against bare decoders, against a plain loop of pydicom, against reshard.

Draws one phantom patient at 4096 x 3328 per transfer syntax, copies its files to fill a set, and runs each side in
processes of its own after one run that warms the file cache. Each side is run on a quarter of the set too, and what
that cost is taken off: left is what an image costs, without starting up. Prints one JSON line of ratios.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
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

#: What people write: pydicom with pylibjpeg, one process, pixels only.
PLAIN = """
import sys
from pathlib import Path
from pydicom.pixels import pixel_array
import libjpeg, openjpeg, rle
for path in sorted(Path(sys.argv[1]).rglob("*.dcm")):
    pixel_array(path, decoding_plugin="pylibjpeg")
"""

#: The fence around a file in a worker (a note, a timer, a limit), around nothing; CPU seconds of one.
FENCE = """
import pathlib, sys, time
from nlbs.preprocess.root.decoding import _limits
note = pathlib.Path(sys.argv[1]) / "note"
begun = time.process_time()
for _ in range(500):
    note.touch()
    with _limits(60.0):
        pass
    note.unlink()
print((time.process_time() - begun) / 500)
"""


@dataclass(frozen=True)
class Cost:
    """What a command cost."""

    cpu_s: float  #: user and system, of all its processes
    wall_s: float
    peak_mb: float  #: resident memory of the largest of its processes

    def without(self, idle: "Cost") -> "Cost":
        """Return the cost beyond that of starting up."""
        return Cost(self.cpu_s - idle.cpu_s, self.wall_s - idle.wall_s, self.peak_mb)


#: Runs a command and says what it cost: in a process of its own, because peaks of children never fall.
METER = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
wall, used = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall, "peak_mb": used.ru_maxrss / 1024}))
"""


def cost_of(*command: object) -> Cost:
    """Return what a command costs."""
    words = [sys.executable, "-c", METER, *(str(word) for word in command)]
    return Cost(**json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))


def draw(folder: Path, syntax: str) -> Path:
    """Draw the four images of one patient; return their folder."""
    phantom = folder / "phantom"
    drawn = ["--patients", "1", "--rows", "4096", "--columns", "3328", "--transfer-syntax", syntax]
    subprocess.run([sys.executable, "-m", "nlbs.preprocess", "phantom", "--out", phantom, *drawn], check=True)
    return phantom


def make_set(phantom: Path, images: int) -> Path:
    """Fill a set with links to a patient's images, each under a patient of its own; return its CSV."""
    with (phantom / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = phantom.parent / f"set{images}" / "meta.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for number in range(images):
            row = rows[number % len(rows)]
            target = table.parent / "a" / f"{number:04d}" / "image.dcm"
            target.parent.mkdir(parents=True)
            os.link(phantom / row["File Path"].replace("\\", "/"), target)
            writer.writerow({**row, "File Path": str(target.relative_to(table.parent))})
    return table


def costs_of_set(table: Path, syntax: str) -> dict[str, Cost]:
    """Return what each side costs on one set."""
    nlbs, out = [sys.executable, "-m", "nlbs.preprocess"], table.parent / "out"
    # Equal pixels stand under several patients here.
    build = [*nlbs, "build-shards", "--csv", table, "--allow-duplicates"]
    bare = [sys.executable, "-c", BARE, syntax, table.parent]
    cost_of(*bare)  # warms the file cache
    return {
        "bare": cost_of(*bare),
        "plain": cost_of(sys.executable, "-c", PLAIN, table.parent),
        "1 job": cost_of(*build, "--out", out / "1", "--jobs", "1"),
        "2 jobs": cost_of(*build, "--out", out / "2", "--jobs", "2"),
        "reshard": cost_of(*nlbs, "reshard", "--shards", out / "1", "--stride", "256", "--jobs", "1"),
    }


def measure(syntax: str, images: int) -> dict[str, float]:
    """Return the ratios for one transfer syntax."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantom = draw(folder, syntax)
        few, many = make_set(phantom, images // 4), make_set(phantom, images)
        start = costs_of_set(few, syntax)
        costs = {side: cost.without(start[side]) for side, cost in costs_of_set(many, syntax).items()}
        fence = float(
            subprocess.run(
                [sys.executable, "-c", FENCE, folder], check=True, capture_output=True, text=True
            ).stdout
        )
        beyond = images - images // 4
        build = costs["1 job"]
        return {
            "build_over_decode_cpu": round(build.cpu_s / costs["bare"].cpu_s, 2),
            "build_over_reshard_cpu": round(build.cpu_s / costs["reshard"].cpu_s, 2),
            "plain_loop_over_build_with_2_jobs_wall": round(
                costs["plain"].wall_s / costs["2 jobs"].wall_s, 2
            ),
            "1_job_over_2_jobs_wall": round(build.wall_s / costs["2 jobs"].wall_s, 2),
            "plain_over_bare_decode_cpu": round(costs["plain"].cpu_s / costs["bare"].cpu_s, 2),
            "fence_share_of_build": round(fence * beyond / build.cpu_s, 5),
            "largest_process_mb": round(costs["2 jobs"].peak_mb),
            "store_over_crop_bytes": round(store_ratio(many.parent / "out" / "1" / "images.zarr"), 3),
            "decode_cpu_s_per_image": round(costs["bare"].cpu_s / beyond, 3),
        }


def store_ratio(store: Path) -> float:
    """Return the bytes of the stored images over those of their pixels."""
    chunks = list(store.glob("*/c/0/0"))
    shapes = [json.loads((chunk.parents[2] / "zarr.json").read_text())["shape"] for chunk in chunks]
    return sum(chunk.stat().st_size for chunk in chunks) / sum(rows * columns for rows, columns in shapes)


def main() -> None:
    """Measure each syntax and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", type=int, default=64, help="in a set; four times as many as to start with"
    )
    parser.add_argument("--syntax", nargs="*", default=["jpeg2000", "jpeg-ls", "jpeg-lossless", "rle"])
    options = parser.parse_args()
    os.environ.update({"OMP_NUM_THREADS": "1", "BLOSC_NTHREADS": "1"})
    result = {syntax: measure(syntax, options.images) for syntax in options.syntax}
    print(json.dumps({"benchmark": "offline_stage", "images": options.images, **result}))


if __name__ == "__main__":
    main()
