"""PGM files in bytes and in text."""

from pathlib import Path

import numpy as np
import pytest

from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import PICTURE
from tests.preprocess.plain_files import EIGHT, SIXTEEN, written


@pytest.mark.parametrize(
    ("head", "kind", "expected"),
    [
        (b"P5\n47 61\n255\n", ">u1", EIGHT),
        (b"P5 47 61 4095 ", ">u2", PICTURE),
        (b"P5\n# by hand\n47 # width\n61\n65535\n", ">u2", SIXTEEN),
    ],
)
def test_a_binary_pgm_is_read(head: bytes, kind: str, expected: np.ndarray, tmp_path: Path) -> None:
    image = read_image(written(tmp_path, head + expected.astype(kind).tobytes()))
    assert np.array_equal(image.stored, expected)
    assert image.stored.dtype == expected.dtype
    assert image.header.bits_stored == {255: 8, 4095: 12, 65535: 16}[int(head.split()[-1])]
    assert (image.header.transfer_syntax, image.decoder) == ("pgm", "numpy")


def test_bytes_behind_a_binary_pgm_are_remarked(tmp_path: Path) -> None:
    data = b"P5 47 61 255 " + EIGHT.tobytes()
    assert read_image(written(tmp_path, data)).notes == ()
    assert read_image(written(tmp_path, data + b"x")).notes == ("the PGM has more bytes than its size needs",)


def test_a_pgm_in_text_is_read(tmp_path: Path) -> None:
    text = b"P2 # text\n3 2\n4000\n0 1 2\n# between\n3999 4000 5 # end\n"
    assert read_image(written(tmp_path, text)).stored.tolist() == [[0, 1, 2], [3999, 4000, 5]]
    lines = "\n".join(" ".join(str(value) for value in row) for row in PICTURE)
    stored = read_image(written(tmp_path, b"P2\n47 61\n4095\n" + lines.encode())).stored
    assert np.array_equal(stored, PICTURE)
