"""The transfer syntaxes that pydicom cannot write, and those that hold no mammogram."""

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID, AllTransferSyntaxes, RLELossless

from nlbs.errors import ImageError
from nlbs.preprocess.formats import syntaxes
from nlbs.preprocess.formats.codecs import codestream
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    DecodeError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.formats.syntaxes import SYNTAXES
from tests.preprocess.dicom_files import ENCODERS, PICTURE, make_dicom, rename_syntax

EIGHT = (PICTURE >> 4).astype(np.uint8)


def with_frames(
    folder: Path,
    frames: list[bytes],
    syntax: str,
    pixels: np.ndarray = PICTURE,
    bits: int = 12,
    **elements: object,
) -> Path:
    """Writes a file whose Pixel Data has the given compressed frames under any transfer syntax UID."""
    from pydicom import dcmread

    path = make_dicom(folder, pixels, bits=bits, **elements)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.save_as(path)
    return rename_syntax(path, syntax)


def test_every_syntax_that_pydicom_names_is_known() -> None:
    assert {str(uid) for uid in AllTransferSyntaxes} <= set(SYNTAXES)
    for uid, syntax in SYNTAXES.items():
        assert uid == syntax.uid
        assert bool(syntax.coding) != bool(syntax.refusal)
    for uid in AllTransferSyntaxes:
        assert SYNTAXES[str(uid)].encapsulated == UID(uid).is_encapsulated
        if not SYNTAXES[str(uid)].encapsulated:
            assert SYNTAXES[str(uid)].little_endian == UID(uid).is_little_endian


@pytest.mark.parametrize("uid", [uid for uid, syntax in SYNTAXES.items() if syntax.refusal])
def test_what_holds_no_mammogram_is_refused_in_words(uid: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImageError) as caught:
        read_image(with_frames(tmp_path, [b"1234"], uid))
    assert SYNTAXES[uid].name in str(caught.value)
    assert any(word in str(caught.value) for word in ("video", "server", "multi-component", "sound"))


def test_a_syntax_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    for uid in ("1.2.840.113619.5.2", "1.2.840.10008.1.2.4.53"):
        with pytest.raises(UnsupportedImageError, match="none of the standard's, or a retired one"):
            read_image(with_frames(tmp_path, [b"1234"], uid))


@pytest.mark.parametrize("decoder", ["auto", "imagecodecs", "pylibjpeg"])
@pytest.mark.parametrize("uid", [syntaxes.HTJ2K_LOSSLESS, syntaxes.HTJ2K_RPCL, syntaxes.HTJ2K])
def test_htj2k_of_another_encoder_gives_back_its_pixels(uid: str, decoder: str, tmp_path: Path) -> None:
    for pixels, bits in ((EIGHT, 8), (PICTURE, 12)):
        frame = bytes(imagecodecs.htj2k_encode(pixels))  # OpenJPH; here OpenJPEG decodes
        assert np.array_equal(imagecodecs.htj2k_decode(frame), pixels)
        assert np.array_equal(
            read_image(with_frames(tmp_path, [frame], uid, pixels, bits), decoder).stored, pixels
        )
    with pytest.raises(TruncatedError):
        read_image(with_frames(tmp_path, [frame[: len(frame) // 2]], uid), decoder)


def test_lossy_htj2k_is_decoded_as_another_decoder_does(tmp_path: Path) -> None:
    frame = bytes(imagecodecs.htj2k_encode(PICTURE, reversible=False))
    expected = imagecodecs.htj2k_decode(frame).astype(int)
    stored = read_image(with_frames(tmp_path, [frame], syntaxes.HTJ2K)).stored
    assert np.abs(stored.astype(int) - expected).max() <= 1  # rounding of the inverse transform
    assert np.abs(stored.astype(int) - PICTURE).max() < 80


@pytest.mark.parametrize("pixels", [EIGHT, PICTURE, (PICTURE * 16).astype(np.uint16)], ids=["8", "12", "16"])
def test_lossless_jpeg_xl_gives_back_its_pixels(pixels: np.ndarray, tmp_path: Path) -> None:
    frame = bytes(imagecodecs.jpegxl_encode(pixels, lossless=True))
    bits = int(pixels.max()).bit_length()
    for uid in (syntaxes.JPEG_XL_LOSSLESS, syntaxes.JPEG_XL):
        image = read_image(with_frames(tmp_path, [frame], uid, pixels, bits))
        assert np.array_equal(image.stored, pixels)
        assert image.decoder == "imagecodecs"
    for cut in (1, 12, len(frame) // 2, len(frame) - 3):
        with pytest.raises(DecodeError):
            read_image(with_frames(tmp_path, [frame[:cut]], uid, pixels, bits))
    with pytest.raises(UnsupportedImageError, match="no decoder for transfer syntax JPEG XL"):
        read_image(with_frames(tmp_path, [frame], uid, pixels, bits), "pylibjpeg")


def test_a_jpeg_recompressed_as_jpeg_xl_is_that_jpeg(tmp_path: Path) -> None:
    jpeg = bytes(imagecodecs.jpeg8_encode(EIGHT, level=92))
    frame = bytes(imagecodecs.jpegxl_encode_jpeg(jpeg))
    stored = read_image(with_frames(tmp_path, [frame], syntaxes.JPEG_XL_JPEG, EIGHT, 8)).stored
    assert np.abs(stored.astype(int) - imagecodecs.jpeg8_decode(jpeg).astype(int)).max() <= 2


def deflated(data: bytes) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    return pack.compress(data) + pack.flush()


def test_encapsulated_cells_are_those_of_the_header(tmp_path: Path) -> None:
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    for pixels in (PICTURE, signed):
        cells = (pixels.astype(np.int32) % 65536).astype("<u2").tobytes()
        for uid, frame in (
            (syntaxes.ENCAPSULATED_CELLS, cells),
            (syntaxes.DEFLATED_FRAMES, deflated(cells)),
        ):
            path = with_frames(tmp_path, [frame], uid, pixels)
            assert np.array_equal(read_image(path).stored, pixels)
            with pytest.raises((TruncatedError, DecodeError)):
                read_image(with_frames(tmp_path, [frame[: len(frame) // 2]], uid, pixels))


def test_a_deflated_frame_unpacks_to_no_more_than_the_header_says(tmp_path: Path) -> None:
    bomb = deflated(bytes(50_000_000))
    with pytest.raises(DecodeError, match="more than the 5,734 bytes"):
        read_image(with_frames(tmp_path, [bomb], syntaxes.DEFLATED_FRAMES))
    with pytest.raises(DecodeError, match="damaged"):
        read_image(with_frames(tmp_path, [b"\xff" * 40], syntaxes.DEFLATED_FRAMES))


def test_a_stream_of_more_bits_than_a_cell_has_is_refused(tmp_path: Path) -> None:
    frame = ENCODERS[UID(syntaxes.JPEG_2000_LOSSLESS)](PICTURE, 12)
    with pytest.raises(DecodeError, match="12 bits, BitsAllocated says 8"):
        read_image(with_frames(tmp_path, [bytes(frame)], syntaxes.JPEG_2000_LOSSLESS, EIGHT, 8))


def test_a_lossy_stream_that_is_called_lossless_is_remarked(tmp_path: Path) -> None:
    for uid, encoder in (
        (syntaxes.JPEG_LS, syntaxes.JPEG_LS_LOSSY),
        (syntaxes.JPEG_2000_LOSSLESS, syntaxes.JPEG_2000),
        (syntaxes.JPEG_LOSSLESS_SV1, syntaxes.JPEG_BASELINE),
    ):
        frame = bytes(ENCODERS[UID(encoder)](EIGHT, 8))
        assert codestream(frame).lossless is False
        image = read_image(with_frames(tmp_path, [frame], uid, EIGHT, 8))
        assert "the compressed image is lossy, its transfer syntax says lossless" in image.notes
        honest = bytes(ENCODERS[UID(uid)](EIGHT, 8))
        assert codestream(honest).lossless is True
        assert read_image(with_frames(tmp_path, [honest], uid, EIGHT, 8)).notes == ()


def test_what_is_no_codestream_at_all_is_refused_before_a_decoder_sees_it(tmp_path: Path) -> None:
    for uid in (syntaxes.JPEG_LS, syntaxes.JPEG_2000, syntaxes.JPEG_LOSSLESS_SV1, syntaxes.HTJ2K):
        with pytest.raises(DecodeError, match="no header of their own"):
            read_image(with_frames(tmp_path, [b"\0" * 60 + b"\xff\xd9"], uid))


def test_uncompressed_pixels_have_a_length(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE)
    data = path.read_bytes()
    head = b"\xe0\x7f\x10\0OW\0\0" + struct.pack("<I", PICTURE.nbytes)
    assert data.count(head) == 1
    path.write_bytes(data.replace(head, head[:-4] + b"\xff" * 4))
    with pytest.raises(BadHeaderError, match="undefined length"):
        read_image(path)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x08\0OF"))
    with pytest.raises(ImageError, match="floating-point"):
        read_image(path)
