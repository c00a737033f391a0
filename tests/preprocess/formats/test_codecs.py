"""Every transfer syntax, decoded the fast way and by the reference: pylibjpeg through pydicom."""

import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    RLELossless,
)

from nlbs.preprocess.formats import codecs
from nlbs.preprocess.formats.codecs import names_of_decoders, versions
from nlbs.preprocess.formats.image_errors import UnsupportedImageError
from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import ENCODERS, NATIVE, PICTURE, make_dicom, public_file

LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEG2000, JPEGLSNearLossless)
DCT = (JPEGBaseline8Bit, JPEGExtended12Bit)
ALL_SYNTAXES = (*NATIVE, RLELossless, *ENCODERS)

#: Grey single-frame files that two packages ship, of every compressed syntax and pixel layout they have.
PUBLIC_FILES = (
    "693_J2KI.dcm",
    "693_J2KR.dcm",
    "693_UNCI.dcm",
    "CT_small.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG-LL.dcm",
    "JPEG2000.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "JPGExtended.dcm",
    "JPGLosslessP14SV1_1s_1f_8b.dcm",
    "MR-SIEMENS-DICOM-WithOverlays.dcm",
    "MR2_J2KI.dcm",
    "MR2_J2KR.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "RG1_UNCI.dcm",
    "RG3_J2KI.dcm",
    "RG3_J2KR.dcm",
    "bad_sequence.dcm",
    "explicit_VR-UN.dcm",
    "mlut_18.dcm",
)


def reference(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pixel_array(path, raw=True, decoding_plugin="pylibjpeg")


def without_libjpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_installed", lambda module: module != "libjpeg")


WIDE = PICTURE.astype(np.int32)
#: The picture as (dtype, bits stored), each over its whole range.
LAYOUTS = {
    ("u1", 8): (WIDE >> 4).astype(np.uint8),
    ("u2", 10): (WIDE >> 2).astype(np.uint16),
    ("u2", 12): PICTURE,
    ("u2", 16): (WIDE * 16 + WIDE % 16).astype(np.uint16),
    ("i2", 13): (WIDE * 2 - 4096).astype(np.int16),
    ("i2", 16): (WIDE * 16 - 32768).astype(np.int16),
}


def possible(syntax: UID, kind: str, bits: int) -> bool:
    """PS3.5 8.2.1: baseline JPEG has 8 bits, extended JPEG 8 or 12; neither knows a sign."""
    return syntax not in DCT or (kind[0] == "u" and bits in ((8,) if syntax == JPEGBaseline8Bit else (8, 12)))


@pytest.mark.parametrize(
    ("syntax", "layout"),
    [
        pytest.param(syntax, layout, id=f"{syntax.keyword}-{layout[0]}-{layout[1]}")
        for syntax in ALL_SYNTAXES
        for layout in LAYOUTS
        if possible(syntax, *layout)
    ],
)
def test_a_lossless_syntax_gives_back_the_pixels_and_a_lossy_one_the_references(
    syntax: UID, layout: tuple[str, int], tmp_path: Path
) -> None:
    pixels = LAYOUTS[layout]
    path = make_dicom(tmp_path, pixels, syntax, layout[1])
    image = read_image(path)
    assert image.stored.dtype == pixels.dtype
    assert image.stored.dtype.isnative
    if syntax in LOSSY:
        # pydicom leaves the sign of JPEG-LS alone where the codestream has more bits than are stored.
        difference = image.stored.astype(int) - reference(path)
        unequal = np.abs(difference % 2 ** layout[1] if layout[0] == "i2" else difference).max()
        assert unequal <= (1 if syntax == JPEGBaseline8Bit else 0)
        half = 2 ** (layout[1] - 1)
        assert np.abs((image.stored - pixels.astype(int) + half) % (2 * half) - half).mean() < 0.02 * half
    else:
        assert np.array_equal(image.stored, pixels)
    for decoder in ("imagecodecs", "pylibjpeg"):
        other = read_image(path, decoder).stored
        # The last bit of an inverse DCT is the decoder's own (T.81 A.3.3).
        unequal = 1 if syntax in DCT else 0
        assert np.abs(other.astype(int) - image.stored.astype(int)).max() <= unequal


@pytest.mark.parametrize("name", PUBLIC_FILES)
def test_a_public_file_decodes_to_the_last_bit_as_the_reference_does(name: str) -> None:
    path = public_file(name)
    expected = reference(path)
    image = read_image(path)
    assert np.array_equal(image.stored, expected)
    assert image.stored.dtype == expected.dtype.newbyteorder("=")
    assert np.array_equal(read_image(path, "pylibjpeg").stored, expected)


def test_a_deflated_public_file_decodes_as_zlib_and_numpy_read_it() -> None:
    path = public_file("image_dfl.dcm")
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 140)[0]  # of the file meta information, PS3.10 7.1
    elements = zlib.decompress(data[144 + length :], -15)
    expected = np.frombuffer(elements[-512 * 512 :], np.uint8).reshape(512, 512)
    assert np.array_equal(read_image(path).stored, expected)


@pytest.mark.parametrize("syntax", [RLELossless, *ENCODERS], ids=lambda syntax: syntax.keyword)
def test_without_libjpeg_imagecodecs_decodes_alone(
    syntax: UID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    path = make_dicom(
        tmp_path, (PICTURE >> (12 - bits)).astype(np.uint8 if bits == 8 else np.uint16), syntax, bits
    )
    expected = read_image(path, "pylibjpeg").stored.astype(int)
    without_libjpeg(monkeypatch)
    for decoder in ("auto", "imagecodecs"):
        image = read_image(path, decoder)
        assert image.decoder == "imagecodecs"
        assert np.abs(image.stored.astype(int) - expected).max() <= (1 if syntax in DCT else 0)


def test_a_decoder_that_is_asked_for_and_missing_is_a_plain_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_libjpeg(monkeypatch)
    path = make_dicom(tmp_path, PICTURE, next(iter(ENCODERS)))
    with pytest.raises(UnsupportedImageError, match="no decoder"):
        read_image(path, "pylibjpeg")


@pytest.mark.parametrize("quality", [5, 75, 100])
@pytest.mark.parametrize("kind", ["noise", "edges"])
def test_of_8_bits_two_decoders_of_a_dct_differ_by_one_at_most(
    kind: str, quality: int, tmp_path: Path
) -> None:
    """What a DCT is worst at; mammograms are smoother."""
    rows, columns = np.mgrid[0:96, 0:120]
    noise = np.random.default_rng(quality).integers(0, 256, rows.shape)
    pixels = (noise if kind == "noise" else 255 * ((rows // 7 + columns // 11) % 2)).astype(np.uint8)
    path = make_dicom(tmp_path, pixels, JPEGBaseline8Bit, 8)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(pixels, level=quality)])
    dataset.save_as(path)
    one, other = (read_image(path, decoder).stored.astype(int) for decoder in ("imagecodecs", "pylibjpeg"))
    assert np.abs(one - other).max() <= 1


def test_the_fast_decoder_comes_first_except_where_its_last_bits_differ() -> None:
    for syntax in (RLELossless, *ENCODERS):
        expected = "pylibjpeg" if syntax == JPEGExtended12Bit else "imagecodecs"
        assert names_of_decoders(syntax, "auto") == [expected]
    # JPEG XL has no reference that is installed.
    assert names_of_decoders("1.2.840.10008.1.2.4.110", "auto") == ["imagecodecs"]
    assert names_of_decoders("1.2.840.10008.1.2.4.110", "pylibjpeg") == []


def test_every_package_that_decodes_is_recorded_with_its_version() -> None:
    found = versions()
    assert found["imagecodecs"] == imagecodecs.__version__
    assert set(found) >= {"pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"}


def test_a_run_length_bomb_unpacks_to_no_more_than_the_header_allows() -> None:
    segment = b"\x81\x41" * 200_000  # PackBits (PS3.5 G.3.1): 128 times one byte, 25.6 million in all
    bomb = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    tracemalloc.start()
    with pytest.raises(RuntimeError):
        codecs.CODECS[RLELossless](bomb, 16, 61 * 47)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_eight_bit_pixels_in_big_endian_words_are_swapped_back(tmp_path: Path) -> None:
    pixels = (PICTURE >> 4).astype(np.uint8)[:, :46]
    path = make_dicom(tmp_path, pixels, ExplicitVRBigEndian, 8)
    assert np.array_equal(read_image(path).stored, pixels)
    assert np.array_equal(reference(path), pixels)
