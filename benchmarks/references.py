"""Does a change of the code change what comes out? Digests of shard sets, weights, draws and figures, to compare.

Runs the real commands on a small phantom set and writes what came out as digests: the files of two shard sets (tar and
zarr); the weights after 30 steps of guide-small and nlbs-small, in one go and stopped half-way; draws of the prior and
of the flow; the figures of a report. Two checkouts on the same machine, with the same libraries, give the same:

    python benchmarks/references.py --out before.json                       # in the one
    python benchmarks/references.py --out after.json --against before.json  # in the other

Weights are compared tensor by tensor whatever their names are, pictures by their pixels. Exits with 1, and says what,
where something differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STEPS = 30
_NAMES_OF_RUNS = ("checkpoint", "shard set", "nlbs-cvae", "model id")


def run(module: str, *arguments: object, folder: Path) -> None:
    """Run one of the commands with this Python, in one thread; what it says is shown where it fails."""
    environment = os.environ | {"NLBS_KEY_FILE": str(folder / "key"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def digest(content: bytes) -> str:
    """Return a short SHA-256."""
    return hashlib.sha256(content).hexdigest()[:20]


def files_in(folder: Path) -> dict[str, str]:
    """Return the digests of all files of a shard set, by their path in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): digest(path.read_bytes()) for path in paths}


def tensors_in(path: Path) -> list[str]:
    """Return the digests of the tensors of a safetensors file, sorted: their names may change."""
    from safetensors.numpy import load_file

    return sorted(
        digest(repr((t.dtype.str, t.shape)).encode() + t.tobytes()) for t in load_file(path).values()
    )


def weights_in(run_folder: Path) -> list[str]:
    """Return the digests of all tensors that a run keeps, the model's and those fitted to it."""
    return sorted(tensor for path in run_folder.rglob("*.safetensors") for tensor in tensors_in(path))


def pixels_in(folder: Path) -> list[str]:
    """Return the digests of the pictures of a folder of draws, in the order of their names."""
    import numpy as np
    from PIL import Image

    pictures = (path for path in sorted(folder.rglob("*.png")) if "sheet" not in path.name)
    return [digest(np.asarray(Image.open(path).convert("L")).tobytes()) for path in pictures]


def figures_in(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a report by their place in it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _NAMES_OF_RUNS:
                yield from figures_in(inner, f"{name}/{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from figures_in(inner, f"{name}/{place}")
    elif isinstance(value, (int, float)):
        yield name, value


def references(folder: Path) -> dict[str, Any]:
    """Run the commands below a folder and return the digests of what came out."""
    (folder / "key").write_text("5" * 64 + "\n")
    small = ("--rows", 640, "--columns", 500, "--cancer-share", 0.4)
    run("nlbs.preprocess", "phantom", "--out", folder / "phantom", "--patients", 8, *small, folder=folder)
    found: dict[str, Any] = {}
    for kind in ("tar", "zarr"):
        root = folder / kind
        cut = ("--resolution", 64, "--stride", 64, "--container", kind, "--split", "60/20/20")
        table = folder / "phantom" / "meta.csv"
        run("nlbs.preprocess", "build-shards", "--csv", table, "--out", root, *cut, folder=folder)
        (shard_set,) = (path.parent for path in root.glob("*/shard_set.json"))
        found[f"shard set, {kind}"] = files_in(shard_set)
    shards = ("--shards", folder / "tar", "--device", "cpu")
    for preset in ("guide-small", "nlbs-small"):
        whole, halves = folder / preset, folder / f"{preset}-halves"
        call = ("nlbs.train", *shards, "--preset", preset)
        run(*call, "--run", whole, "--max-steps", _STEPS, folder=folder)
        run(*call, "--run", halves, "--max-steps", _STEPS // 2, folder=folder)
        run(*call, "--run", halves, "--max-steps", _STEPS, folder=folder)
        found[f"weights, {preset}"] = tensors_in(whole / "best_model.safetensors")
        found[f"weights, {preset}, resumed"] = tensors_in(halves / "best_model.safetensors")
    fitted = folder / "fitted"
    fits = ("--epochs", 2, "--flow-patches", 2000, "--grain-patches", 64)
    run("nlbs.train", *shards, "--preset", "nlbs-small", "--run", fitted, *fits, folder=folder)
    found["weights, fitted"] = weights_in(fitted)
    model = ("--checkpoint", fitted / "best_model.safetensors", "--device", "cpu")
    asked = ("--view", "MLO", "--laterality", "R", "--age", 61, "--num", 5)
    for sampler in ("prior", "flow"):
        out = folder / f"drawn-{sampler}"
        run("nlbs.generate", *model, *asked, "--sampler", sampler, "--out", out, folder=folder)
        found[f"draws, {sampler}"] = pixels_in(out)
    judged = ("--num", 60, "--extractor", "random-convolutions", "--split", "val")
    run(
        "nlbs.evaluate",
        *model,
        "--shards",
        folder / "tar",
        *judged,
        "--out",
        folder / "report",
        folder=folder,
    )
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    found["figures of a report"] = dict(figures_in(report))
    return found


def main() -> None:
    """Write the digests, and compare them with those of another checkout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the digests")
    parser.add_argument("--against", type=Path, help="JSON file of another checkout, made on this machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nlbs-references-") as folder:
        found = references(Path(folder))
    options.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if options.against is None:
        print(json.dumps({"written": str(options.out)}))
        return
    before = json.loads(options.against.read_text(encoding="utf-8"))
    after = json.loads(options.out.read_text(encoding="utf-8"))
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    print(json.dumps({"same": len(before) - len(differing), "differing": differing}))
    raise SystemExit(1 if differing else 0)


if __name__ == "__main__":
    main()
