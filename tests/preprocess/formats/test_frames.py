"""One frame of many: its pixels, found by every kind of table, and what its functional groups say."""

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from nlbs.errors import ConfigError
from nlbs.preprocess.formats.frames import chosen_frame, parse_frame
from nlbs.preprocess.formats.image_errors import BadHeaderError, TruncatedError, UnsupportedImageError
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.decode import DecodeOptions, decode_image
from nlbs.preprocess.images.header_conditions import stated_conditions
from tests.preprocess.dicom_files import ENCODERS, LOSSLESS_SYNTAXES, PICTURE, make_dicom, public_file
from tests.preprocess.mask_images import breast_image

#: Five frames that differ everywhere, uint16, 12 bits.
FRAMES = np.stack([np.roll(PICTURE, 7 * number, axis=0) ^ number for number in range(5)])


def multi_frame(
    folder: Path,
    frames: np.ndarray = FRAMES,
    syntax: UID = ExplicitVRLittleEndian,
    bits: int = 12,
    **elements: object,
) -> Path:
    """Writes a file of several frames; compressed ones have a basic offset table."""
    path = make_dicom(folder, frames[0], bits=bits)
    single, dataset = pydicom.dcmread(path), Dataset()
    dataset.update(single)  # one that was never read may be written in any byte order
    dataset.file_meta = single.file_meta
    dataset.NumberOfFrames = len(frames)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset["PixelData"].VR = "OW"
    if syntax == RLELossless:
        dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax in ENCODERS:
        dataset.PixelData = encapsulate([bytes(ENCODERS[syntax](frame, bits)) for frame in frames])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(
        path,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return path


@pytest.mark.parametrize(
    "syntax",
    LOSSLESS_SYNTAXES,
    ids=lambda uid: uid.keyword,
)
def test_the_frame_that_is_asked_for_comes_out(syntax: UID, tmp_path: Path) -> None:
    path = multi_frame(tmp_path, syntax=syntax)
    for asked, number in ((1, 1), (2, 2), ("middle", 3), (5, 5)):
        image = read_image(path, frame=asked)
        assert np.array_equal(image.stored, FRAMES[number - 1])
        assert image.frame == number
        assert image.notes == ()
    with pytest.raises(
        UnsupportedImageError, match="5 frames, expected a single image: --frame middle, or --frame"
    ):
        read_image(path)
    with pytest.raises(UnsupportedImageError, match="frame 6 is asked for, the file has 5"):
        read_image(path, frame=6)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=lambda uid: uid.keyword)
def test_frames_of_an_odd_number_of_bytes_are_cut_where_they_end(syntax: UID, tmp_path: Path) -> None:
    frames = (FRAMES >> 4).astype(np.uint8)
    assert frames[0].size % 2 == 1
    path = multi_frame(tmp_path, frames, syntax, 8)
    for number in range(1, 6):
        assert np.array_equal(read_image(path, frame=number).stored, frames[number - 1])


def test_public_multi_frame_files_are_read_as_pydicom_reads_them() -> None:
    names = (
        "emri_small.dcm",
        "emri_small_RLE.dcm",
        "emri_small_big_endian.dcm",
        "emri_small_jpeg_2k_lossless.dcm",
        "emri_small_jpeg_ls_lossless.dcm",
    )
    for name in names:
        path = public_file(name)
        for number in (1, 4, 10):
            expected = pydicom.pixels.pixel_array(path, index=number - 1, raw=True)
            assert np.array_equal(read_image(path, frame=number).stored, expected)


def test_a_frame_is_found_by_every_kind_of_table_and_without_one(tmp_path: Path) -> None:
    streams = [bytes(ENCODERS[JPEGLSLossless](frame, 12)) for frame in FRAMES]
    path = multi_frame(tmp_path, syntax=JPEGLSLossless)
    dataset = pydicom.dcmread(path)
    extended = encapsulate_extended(streams)
    cases = {
        "basic table, one fragment each": (encapsulate(streams), None),
        "basic table, three fragments each": (encapsulate(streams, fragments_per_frame=3), None),
        "no table, one fragment each": (encapsulate(streams, has_bot=False), None),
        "no table, three fragments each": (encapsulate(streams, fragments_per_frame=3, has_bot=False), None),
        "extended table": (extended[0], extended[1:]),
    }
    for name, (data, tables) in cases.items():
        dataset.PixelData = data
        if tables:
            dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = tables
        dataset.save_as(path)
        for number in (1, 3, 5):
            assert np.array_equal(read_image(path, frame=number).stored, FRAMES[number - 1]), name


def test_fragments_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    path = multi_frame(tmp_path, syntax=RLELossless)
    dataset = pydicom.dcmread(path)
    streams = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=5))
    dataset.PixelData = encapsulate(streams, fragments_per_frame=2, has_bot=False)
    dataset.save_as(path)
    with pytest.raises(BadHeaderError, match="10 fragments and no offset table that tells 5 frames apart"):
        read_image(path, frame=2)


def test_more_frames_in_the_table_than_the_header_says_are_no_single_image(tmp_path: Path) -> None:
    path = multi_frame(tmp_path, syntax=JPEGLSLossless, NumberOfFrames=1)
    with pytest.raises(BadHeaderError, match="the offset table names 5 frames, NumberOfFrames says 1"):
        read_image(path)


def test_of_the_other_frames_no_pixel_is_read(tmp_path: Path) -> None:
    for syntax in (ExplicitVRLittleEndian, JPEGLSLossless):
        path = multi_frame(tmp_path, np.stack([FRAMES[0]] * 200), syntax)
        read = 0

        class Counted(io.FileIO):
            def readinto(self, buffer: memoryview) -> int:
                nonlocal read
                count = super().readinto(buffer)
                read += count
                return count

        from nlbs.preprocess.formats.image_file import dicom_image

        with io.BufferedReader(Counted(path), 512) as file:
            stored = dicom_image(file, "auto", 100, 10**6).stored
        assert np.array_equal(stored, FRAMES[0])
        # Of compressed frames the heads of the items are read, and what the file's buffer takes with them.
        assert read < 0.5 * path.stat().st_size if syntax == JPEGLSLossless else read < 60_000


def test_pixels_for_fewer_frames_than_stated_are_truncated(tmp_path: Path) -> None:
    with pytest.raises(TruncatedError, match="of 6 frames need 34,404"):
        read_image(multi_frame(tmp_path, NumberOfFrames=6), frame=1)


def test_bytes_beyond_the_frames_are_remarked(tmp_path: Path) -> None:
    image = read_image(multi_frame(tmp_path, NumberOfFrames=1))
    assert image.notes == (f"Pixel Data has {4 * FRAMES[0].nbytes:,} bytes more than its image needs",)


# --- Functional groups (PS3.3 C.7.6.16) ---------------------------------------------------------------


def group(sequence: str, **elements: object) -> Dataset:
    item, outer = Dataset(), Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    setattr(outer, sequence, Sequence([item]))
    return outer


def test_what_the_groups_say_of_a_frame_is_used_and_its_own_goes_over_the_shared(tmp_path: Path) -> None:
    shared = group("PixelMeasuresSequence", PixelSpacing=[0.1, 0.09])
    shared.update(
        group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-5, RescaleType="US")
    )
    shared.update(group("FrameVOILUTSequence", WindowCenter=900, WindowWidth=800))
    shared.update(group("FrameAnatomySequence", FrameLaterality="R"))
    own = [group("FrameVOILUTSequence", WindowCenter=1000 + number, WindowWidth=500) for number in range(5)]
    own[3].FrameVOILUTSequence[0].VOILUTFunction = "LINEAR_EXACT"
    path = multi_frame(
        tmp_path,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(own),
    )
    for number, function in ((2, None), (4, "LINEAR_EXACT")):
        header = read_image(path, frame=number).header
        assert header.spacing_mm == (0.1, 0.09)
        dataset = header.dataset
        assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (2, -5)
        assert (dataset.WindowCenter, dataset.WindowWidth) == (1000 + number - 1, 500)
        assert dataset.get("VOILUTFunction") == function
        assert stated_conditions(dataset)["header_laterality"] == "R"


def test_groups_for_another_number_of_frames_are_refused(tmp_path: Path) -> None:
    own = Sequence([group("FrameVOILUTSequence", WindowCenter=1, WindowWidth=5)] * 4)
    with pytest.raises(BadHeaderError, match="4 items, NumberOfFrames says 5"):
        read_image(multi_frame(tmp_path, PerFrameFunctionalGroupsSequence=own), frame=1)


def test_a_tomosynthesis_is_decoded_by_its_middle_frame(tmp_path: Path) -> None:
    breast = breast_image(1, "L", "CC").astype(np.uint16)
    frames = np.stack([breast // 3, breast, breast // 2])
    window = group("FrameVOILUTSequence", WindowCenter=2500, WindowWidth=1500)
    path = multi_frame(tmp_path, frames, JPEG2000Lossless, SharedFunctionalGroupsSequence=Sequence([window]))
    image = decode_image(path, DecodeOptions(frame="middle"))
    assert image.record["frame"] == 2
    assert image.record["voi"] == "window"
    expected = decode_image(
        make_dicom(tmp_path, breast, WindowCenter=2500, WindowWidth=1500), DecodeOptions(frame="middle")
    )
    assert expected.record["frame"] is None  # a single image is taken as it is
    assert np.array_equal(image.pixels, expected.pixels)


# --- The option ---------------------------------------------------------------------------------------


def test_the_option_is_a_number_or_middle() -> None:
    assert [parse_frame(text) for text in (None, "middle", "1", "17")] == [None, "middle", 1, 17]
    for text in ("0", "-1", "last", "1.5", "²", ""):
        with pytest.raises(ConfigError, match="--frame"):
            parse_frame(text)


def test_middle_is_the_lower_one_of_two() -> None:
    assert [chosen_frame(frames, "middle") for frames in (1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3]
    assert chosen_frame(1, None) == 1


def test_the_frame_stands_in_the_recipe() -> None:
    assert DecodeOptions(frame="middle").recipe()["frame"] == "middle"
    assert "frame" not in DecodeOptions().recipe()


def test_the_table_is_read_in_the_files_own_way(tmp_path: Path) -> None:
    # A table whose offsets do not lead to items is no table: here the fragments are one to a frame.
    path = multi_frame(tmp_path, syntax=JPEGLSLossless)
    data = path.read_bytes()
    place = data.index(b"\xfe\xff\x00\xe0\x14\0\0\0") + 8
    path.write_bytes(data[:place] + struct.pack("<5I", 0, 9, 18, 27, 36) + data[place + 20 :])
    assert np.array_equal(read_image(path, frame=4).stored, FRAMES[3])
