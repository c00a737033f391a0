"""Share of damaged files that the report's signs of damage catch, and its false alarms. Prints one JSON line.

Encodes each DICOM file of a folder as JPEG lossless, JPEG-LS and JPEG 2000, flips one bit of the stream at random, and
decodes it as build-shards does. Damage is visible where some block of 32 x 32 pixels changed by 8 of 255 grey levels or
more on average. A file counts as caught where it stands out among the undamaged files of the same folder.

    nlbs-preprocess phantom --out phantom/ --patients 12 --rows 768 --columns 600
    python benchmarks/damage_detection.py --images phantom/
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from nlbs.errors import ImageError
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.decode import DecodedImage, DecodeOptions, decode_image
from nlbs.preprocess.report.outliers import DAMAGE, outliers

BLOCK, VISIBLE = 32, 8
ENCODERS = {
    "jpeg-lossless": (
        JPEGLosslessSV1,
        lambda x, bits: imagecodecs.jpeg8_encode(x, lossless=True, predictor=1, bitspersample=bits),
    ),
    "jpeg-ls": (JPEGLSLossless, lambda x, _: imagecodecs.jpegls_encode(x)),
    "jpeg2000": (
        JPEG2000Lossless,
        lambda x, bits: imagecodecs.jpeg2k_encode(
            x, level=0, codecformat="j2k", reversible=True, bitspersample=bits
        ),
    ),
}


def flipped(source: Path, syntax: str, generator: np.random.Generator, out: Path) -> None:
    """Write a DICOM file whose stream, of another transfer syntax, has one bit flipped."""
    dataset, stored = pydicom.dcmread(source), read_image(source, "auto").stored
    uid, encode = ENCODERS[syntax]
    stream = bytearray(
        encode(np.ascontiguousarray(stored.view(f"u{stored.itemsize}")), int(dataset.BitsStored))
    )
    stream[int(generator.integers(200, len(stream) - 8))] ^= 1 << int(generator.integers(8))
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = uid
    dataset.save_as(out, enforce_file_format=True)


def change(one: DecodedImage, other: DecodedImage) -> float:
    """Return the largest mean change of a block, in grey levels of 255."""
    placed = []
    for image in (one, other):
        record, page = image.record, np.zeros((image.record["source_rows"], image.record["source_columns"]))
        page[record["crop_y"] :, record["crop_x"] :][: image.pixels.shape[0], : image.pixels.shape[1]] = (
            image.pixels
        )
        placed.append(page)
    high, wide = (length // BLOCK for length in placed[0].shape)
    difference = np.abs(placed[0] - placed[1])[: high * BLOCK, : wide * BLOCK]
    return float(difference.reshape(high, BLOCK, wide, BLOCK).mean((1, 3)).max())


def stands_out(records: list[dict[str, Any]]) -> set[int]:
    """Return the positions of records that look damaged among the others."""
    columns = {
        name: np.array([np.nan if r[name] is None else r[name] for r in records], float) for name in DAMAGE
    }
    return set(outliers(columns, DAMAGE))


def main() -> None:
    """Flip, decodes, counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, nargs="+", help="Folders or files of DICOM.")
    parser.add_argument("--flips", type=int, default=4, help="Per file and transfer syntax.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    paths = sorted(p for i in options.images for p in ([i] if i.is_file() else i.rglob("*.dcm")))
    generator = np.random.default_rng(options.seed)
    clean = [decode_image(path, DecodeOptions()) for path in paths]
    usual = [image.record for image in clean]
    result: dict[str, Any] = {"images": len(paths), "false_alarms": len(stands_out(usual))}
    with tempfile.TemporaryDirectory() as folder:
        for syntax in ENCODERS:
            counts = dict.fromkeys(("flips", "refused", "decoded", "visible", "caught"), 0)
            for path, whole in zip(paths, clean, strict=True):
                for _ in range(options.flips):
                    flipped(path, syntax, generator, Path(folder) / "flipped.dcm")
                    counts["flips"] += 1
                    try:
                        image = decode_image(Path(folder) / "flipped.dcm", DecodeOptions())
                    except ImageError:
                        counts["refused"] += 1
                        continue
                    counts["decoded"] += 1
                    if change(whole, image) >= VISIBLE:
                        counts["visible"] += 1
                        counts["caught"] += len(usual) in stands_out([*usual, image.record])
            result[syntax] = counts
    print(json.dumps(result))


if __name__ == "__main__":
    main()
