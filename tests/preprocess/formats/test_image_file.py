"""PNG, PGM and TIFF beside DICOM: told apart by their first bytes, read as Pillow and the text of a format say."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps

from nlbs.errors import ImageError
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    DecodeError,
    MissingFileError,
    NotDicomError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.formats.source_file import kind_of
from nlbs.preprocess.images.decode import DecodeOptions, decode_image
from tests.preprocess.dicom_files import PICTURE, make_dicom
from tests.preprocess.mask_images import breast_image

EIGHT = (PICTURE >> 4).astype(np.uint8)
SIXTEEN = (PICTURE * 16).astype(np.uint16)


def png_of(rows: bytes, width: int, height: int, bits: int, colour: int, more: bytes = b"") -> bytes:
    """A PNG by hand (ISO/IEC 15948 11.2): filter 0 on every line, not interlaced."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + more
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def tiff_of(
    pixels: np.ndarray, photometric: int = 1, order: str = "<", pages: int = 1, **changes: object
) -> bytes:
    """A TIFF by hand (TIFF 6.0 section 2), uncompressed, one strip; ``changes``: number of a tag -> value."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    begin = b"II*\0" if order == "<" else b"MM\0*"
    out = bytearray(begin + struct.pack(f"{order}I", 8 + len(data) * pages)) + bytearray(data * pages)
    for page in range(pages):
        samples = pixels.shape[2] if pixels.ndim == 3 else 1
        tags = {
            256: pixels.shape[1],
            257: pixels.shape[0],
            258: 8 * pixels.itemsize,
            259: 1,
            262: photometric,
            273: 8 + page * len(data),
            277: samples,
            278: pixels.shape[0],
            279: len(data),
            339: 2 if pixels.dtype.kind == "i" else 1,
        } | {int(name[1:]): value for name, value in changes.items()}
        tags = {tag: value for tag, value in tags.items() if value is not None}
        out += struct.pack(f"{order}H", len(tags))
        for tag, value in sorted(tags.items()):
            out += struct.pack(f"{order}HHII", tag, 4, 1, value)
        following = len(out) + 4 if page + 1 < pages else 0
        out += struct.pack(f"{order}I", following)
    return bytes(out)


def written(folder: Path, content: bytes, name: str = "image.dcm") -> Path:
    """Writes a file under a name that says nothing of its kind."""
    path = folder / name
    path.write_bytes(content)
    return path


def by_pillow(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


# --- What is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_a_grey_png_of_another_writer_is_read(pixels: np.ndarray, tmp_path: Path) -> None:
    image = read_image(written(tmp_path, by_pillow(Image.fromarray(pixels), format="PNG")))
    assert np.array_equal(image.stored, pixels)
    assert image.stored.dtype == pixels.dtype
    assert (image.header.transfer_syntax, image.decoder) == ("png", "imagecodecs")
    assert (image.header.bits_stored, image.header.signed) == (8 * pixels.itemsize, False)
    assert image.header.spacing_mm is None


def test_an_interlaced_png_is_read(tmp_path: Path) -> None:
    # Adam7 of a 2 x 2 image (ISO/IEC 15948 8.2): pass 1 has (0,0), pass 6 (0,1), pass 7 the line (1,0) (1,1).
    plain = png_of(bytes(4), 2, 2, 8, 0)
    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    data = plain[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\x0a\0\x14\0\x1e\x28"))
    stored = read_image(written(tmp_path, data + chunk(b"IEND", b""))).stored
    assert stored.tolist() == [[10, 20], [30, 40]]


@pytest.mark.parametrize(("dtype", "bits"), [(">u1", 8), (">u2", 16)])
@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_equal_channels_and_full_opacity_are_a_grey_png(
    colour: int, channels: int, dtype: str, bits: int, tmp_path: Path
) -> None:
    grey = (SIXTEEN >> (16 - bits)).astype(dtype)
    planes = np.stack([grey] * channels, -1)
    if colour & 4:
        planes[..., -1] = 2**bits - 1
    data = png_of(planes.astype(dtype).tobytes(), 47, 61, bits, colour)
    assert np.array_equal(read_image(written(tmp_path, data)).stored, grey)
    planes[30, 20, channels - 1] -= 1  # one pixel with a tint, or not quite opaque
    with pytest.raises(UnsupportedImageError, match="grey"):
        read_image(written(tmp_path, png_of(planes.astype(dtype).tobytes(), 47, 61, bits, colour)))


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


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_a_tiff_of_another_writer_is_read(
    pixels: np.ndarray, compression: str | None, tmp_path: Path
) -> None:
    data = by_pillow(Image.fromarray(pixels), format="TIFF", compression=compression)
    image = read_image(written(tmp_path, data))
    assert np.array_equal(image.stored, pixels)
    assert image.stored.dtype == pixels.dtype
    assert (image.header.transfer_syntax, image.header.inverted) == ("tiff", False)


def test_a_tiff_compressed_with_zstd_is_read(tmp_path: Path) -> None:
    strip = imagecodecs.zstd_encode(SIXTEEN.tobytes())
    plain = tiff_of(SIXTEEN, t259=50000, t279=len(strip))
    data = plain[:8] + strip + plain[8 + len(strip) :]
    assert np.array_equal(read_image(written(tmp_path, data)).stored, SIXTEEN)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_signs_and_polarities_of_tiff_are_read(order: str, tmp_path: Path) -> None:
    assert np.array_equal(read_image(written(tmp_path, tiff_of(SIXTEEN, order=order))).stored, SIXTEEN)
    white = read_image(written(tmp_path, tiff_of(SIXTEEN, photometric=0, order=order)))
    assert white.header.inverted  # WhiteIsZero: the values stay, as in MONOCHROME1
    assert np.array_equal(white.stored, SIXTEEN)
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    image = read_image(written(tmp_path, tiff_of(signed, order=order)))
    assert np.array_equal(image.stored, signed)
    assert image.header.signed


def test_a_tiff_of_three_equal_channels_is_grey_and_of_others_is_not(tmp_path: Path) -> None:
    colours = np.stack([EIGHT] * 3, -1)
    strip = {"t258": 8}
    assert np.array_equal(read_image(written(tmp_path, tiff_of(colours, 2, **strip))).stored, EIGHT)
    colours[3, 4, 1] += 1
    with pytest.raises(UnsupportedImageError, match="colour"):
        read_image(written(tmp_path, tiff_of(colours, 2, **strip)))


def test_one_page_of_a_tiff_is_taken_only_where_it_is_asked_for(tmp_path: Path) -> None:
    pages = [Image.fromarray(EIGHT // part) for part in (1, 2, 3)]
    path = written(tmp_path, by_pillow(pages[0], format="TIFF", save_all=True, append_images=pages[1:]))
    with pytest.raises(UnsupportedImageError, match="3 frames, expected a single image: --frame"):
        read_image(path)
    for asked, part, number in ((1, 1, 1), (3, 3, 3), ("middle", 2, 2)):
        image = read_image(path, frame=asked)
        assert np.array_equal(image.stored, EIGHT // part)
        assert image.frame == number
    with pytest.raises(UnsupportedImageError, match="frame 4 is asked for, the file has 3"):
        read_image(path, frame=4)


def test_the_kind_is_told_by_content_and_a_dicom_file_goes_first(tmp_path: Path) -> None:
    dicom = make_dicom(tmp_path, PICTURE)
    data = bytearray(dicom.read_bytes())
    data[:4] = b"II*\0"  # PS3.10 7.1 allows a preamble that is the head of a TIFF
    assert np.array_equal(read_image(written(tmp_path, bytes(data), "image.tif")).stored, PICTURE)
    for start in (b"", b"P6\n", b"P5x", b"GIF89a", b"\xff\xd8\xff", b"II+"):
        assert kind_of(start) is None


# --- What is refused ---------------------------------------------------------------------------------


def with_end_chunk_lost(data: bytes) -> bytes:
    return data[:-12]


REFUSED = {
    "palette": (by_pillow(Image.fromarray(EIGHT).convert("P"), format="PNG"), UnsupportedImageError, "palette"),
    "1 bit": (by_pillow(Image.fromarray(EIGHT > 99), format="PNG"), UnsupportedImageError, "1 bits"),
    "no IEND": (
        with_end_chunk_lost(by_pillow(Image.fromarray(EIGHT), format="PNG")),
        TruncatedError,
        "IEND",
    ),
    "png bomb": (png_of(b"\0" * 4, 4, 1, 8, 0).replace(
        struct.pack(">IIBBBBB", 4, 1, 8, 0, 0, 0, 0)
        + struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">IIBBBBB", 4, 1, 8, 0, 0, 0, 0))),
        struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
        + struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))),
    ), BadHeaderError, "60000 x 60000"),
    "png flip": (
        by_pillow(Image.fromarray(EIGHT), format="PNG").replace(b"IDAT", b"IDAT\x01", 1)[:-1],
        DecodeError,
        "checksum",
    ),
    "pgm head": (b"P5\nwide 61\n255\n" + bytes(99), BadHeaderError, "width"),
    "pgm greatest": (b"P5\n2 2\n70000\n" + bytes(99), BadHeaderError, "70000"),
    "pgm bomb": (b"P5\n60000 60000\n255\n", BadHeaderError, "60000 x 60000"),
    "pgm short": (b"P5\n47 61\n255\n" + bytes(2866), TruncatedError, "2,866 bytes of pixels, its size needs 2,867"),
    "pgm beyond": (b"P5\n2 1\n100\n\x64\x65", DecodeError, "up to 101"),
    "pgm text short": (b"P2\n2 2\n9\n1 2 3", TruncatedError, "3 pixels"),
    "pgm text words": (b"P2\n2 2\n9\n1 2 three 4", DecodeError, "no numbers"),
    "pgm text below": (b"P2\n2 1\n9\n1 -2", DecodeError, "below 0"),
    "tiff bomb": (tiff_of(EIGHT, t256=60000, t257=60000), BadHeaderError, "60000 x 60000"),
    "tiff short strip": (tiff_of(EIGHT, t279=2866), TruncatedError, "2,866 bytes"),
    "tiff beyond": (tiff_of(EIGHT, t273=10**6), TruncatedError, "ends before its pixels"),
    "tiff hole": (tiff_of(EIGHT, t273=0), TruncatedError, "lacks strips"),
    "tiff strips": (tiff_of(EIGHT, t278=10), BadHeaderError, "1 strips or tiles, its size needs 7"),
    "tiff float": (tiff_of(SIXTEEN.astype(np.float32)), UnsupportedImageError, "32 bits"),
    "tiff 12 bits": (tiff_of(EIGHT, t258=12), UnsupportedImageError, "12 bits"),
    "tiff palette": (tiff_of(EIGHT, photometric=3), UnsupportedImageError, "photometric interpretation 3"),
    "tiff jpeg": (tiff_of(EIGHT, t259=7), UnsupportedImageError, "compression 7"),
    "tiff no rows": (tiff_of(EIGHT, t257=None), BadHeaderError, "no rows"),
    "tiff directories": (b"II*\0" + struct.pack("<I", 8) + bytes(2) + struct.pack("<I", 8), BadHeaderError, "not end"),
    "tiff cut": (tiff_of(EIGHT)[:-20], TruncatedError, "within its directories"),
    "text": (b"File Path,Age\n" * 40, NotDicomError, "nor a PNG, PGM or TIFF"),
    "empty": (b"", NotDicomError, "not a DICOM file"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_whole_grey_image_is_refused_in_words(name: str, tmp_path: Path) -> None:
    content, error, words = REFUSED[name]
    with pytest.raises(ImageError, match=words) as caught:
        read_image(written(tmp_path, content))
    assert type(caught.value) is error


@pytest.mark.parametrize("kind", ["png", "pgm", "tiff", "tiff lzw"])
def test_a_plain_file_cut_anywhere_is_an_error_or_the_whole_image(kind: str, tmp_path: Path) -> None:
    whole = {
        "png": by_pillow(Image.fromarray(SIXTEEN), format="PNG"),
        "pgm": b"P5\n47 61\n65535\n" + SIXTEEN.astype(">u2").tobytes(),
        "tiff": tiff_of(SIXTEEN),
        "tiff lzw": by_pillow(Image.fromarray(SIXTEEN), format="TIFF", compression="tiff_lzw"),
    }[kind]
    survivors = 0
    for cut in {*range(0, len(whole), len(whole) // 60), *range(len(whole) - 24, len(whole))}:
        try:
            stored = read_image(written(tmp_path, whole[:cut])).stored
        except ImageError:
            continue
        survivors += 1
        assert np.array_equal(stored, SIXTEEN)
    assert survivors <= 4


def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (*(tmp_path / name for name in ("fifo", "folder", "loop", "socket")), Path("/dev/zero")):
            with pytest.raises(MissingFileError):
                read_image(path)


# --- As an image -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "pgm", "tiff", "white is zero"])
def test_a_plain_mammogram_is_shown_in_its_own_range(kind: str, tmp_path: Path) -> None:
    stored = breast_image(1, "L", "MLO").astype(np.uint16)
    content = {
        "png": by_pillow(Image.fromarray(stored), format="PNG"),
        "pgm": b"P5\n%d %d\n65535\n" % stored.shape[::-1] + stored.astype(">u2").tobytes(),
        "tiff": by_pillow(Image.fromarray(stored), format="TIFF"),
        "white is zero": tiff_of((4095 - stored).astype(np.uint16), photometric=0),
    }[kind]
    image = decode_image(written(tmp_path, content), DecodeOptions())
    assert image.record["voi"] == "range"
    assert image.record["transfer_syntax"] == kind.split()[0].replace("white", "tiff")
    assert image.record["spacing_mm"] is None
    assert image.record["header_view"] is image.record["header_laterality"] is image.record["frame"] is None
    expected = decode_image(make_dicom(tmp_path, stored), DecodeOptions())
    assert image.pixels.shape == expected.pixels.shape
    assert np.abs(image.pixels.astype(int) - expected.pixels).max() <= 1


# --- Orientation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_an_image_is_turned_as_pillow_turns_it(pixels: np.ndarray, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    png, tiff = tmp_path / "x.png", tmp_path / "x.tif"
    Image.fromarray(pixels).save(png, exif=exif)
    Image.fromarray(pixels).save(tiff, tiffinfo={274: orientation})
    with Image.open(png) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    for path in (png, tiff):
        image = read_image(path)
        assert np.array_equal(image.stored, expected)
        assert (image.header.rows, image.header.columns) == expected.shape
        assert ("orientation" in "; ".join(image.notes)) is (orientation != 1)


def test_an_orientation_that_is_none_is_left_out_with_a_note(tmp_path: Path) -> None:
    Image.fromarray(EIGHT).save(tmp_path / "x.tif", tiffinfo={274: 9})
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.stored, EIGHT)
    assert "expected 1 to 8" in image.notes[0]
