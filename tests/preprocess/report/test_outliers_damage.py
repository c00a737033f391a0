"""Bit rot that still decodes: what the figures of an image catch of it."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from nlbs.errors import ImageError
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.decode import DecodeOptions, decode_image
from nlbs.preprocess.report.outliers import DAMAGE, outliers


def odd(records: list[dict]) -> set[int]:
    columns = {name: np.array([r[name] for r in records], dtype=float) for name in DAMAGE}
    return set(outliers(columns, DAMAGE))


def encoded(stored: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(stored, lossless=True, predictor=1, bitspersample=12))


@pytest.fixture(scope="module")
def clean(phantom):  # type: ignore[no-untyped-def]
    """The phantom's files, and the records of the undamaged images."""
    paths = sorted(phantom.rglob("*.dcm"))
    return paths, [decode_image(path, DecodeOptions()).record for path in paths]


def test_no_undamaged_image_is_flagged(clean) -> None:  # type: ignore[no-untyped-def]
    assert odd(clean[1]) == set()


def test_most_jpeg_streams_that_decode_to_garbage_are_flagged(clean, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Sixteen damaged bytes in each of eight files. Damage to JPEG 2000 is too slight for these figures."""
    paths, records = clean
    generator, decoded, caught = np.random.default_rng(0), 0, 0
    for path in paths[::2]:
        dataset, stored = pydicom.dcmread(path), read_image(path, "auto").stored
        stream = bytearray(encoded(np.ascontiguousarray(stored.view("u2"))))
        for place in generator.integers(200, len(stream) // 2, 16):
            stream[place] ^= 0x15
        dataset.PixelData = encapsulate([bytes(stream)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.save_as(tmp_path / "damaged.dcm", enforce_file_format=True)
        try:
            record = decode_image(tmp_path / "damaged.dcm", DecodeOptions()).record
        except ImageError:
            continue
        decoded += 1
        caught += len(records) in odd([*records, record])
    assert decoded >= 4
    assert caught >= decoded / 2
