"""What of an image is cut: closed forms, and slices and radiographs of pydicom and pydicom-data."""

from pathlib import Path

import data_store
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from nlbs.preprocess.formats.header import plain_header
from nlbs.preprocess.images.decode import DecodeOptions, decode_image
from nlbs.preprocess.images.foreground import (
    FOREGROUNDS,
    air_threshold,
    body_bits,
    body_mask,
    foreground_of,
    tissue_bits,
    tissue_mask,
    whole_mask,
)
from nlbs.preprocess.images.mask import Mask, NoForegroundError
from nlbs.preprocess.images.store import mask_of
from nlbs.shards.format.payload import foreground_word
from tests.preprocess.dicom_files import make_dicom

PUBLIC = Path(data_store.__file__).parent / "data"
ROWS, COLUMNS = np.mgrid[:512, :512]


def disk(row: float, column: float, radius: float) -> np.ndarray:
    return np.hypot(ROWS - row, COLUMNS - column) <= radius


def chest(inverted: bool = False) -> np.ndarray:
    """uint16, 12 bits: a disk with two lungs as dark as the air around it, and a letter beside it."""
    values = np.where(disk(256, 256, 200), 2500, 60)
    values[disk(256, 180, 60) | disk(256, 332, 60)] = 60
    values[10:40, 10:16] = 4000
    values = values + np.random.default_rng(0).normal(0, 8, values.shape)
    values = np.clip(np.rint(values), 0, 4095).astype(np.uint16)
    return 4095 - values if inverted else values


def agreement(mask: Mask, truth: np.ndarray) -> float:
    return float(2 * (mask.bits & truth).sum() / (mask.bits.sum() + truth.sum()))


@pytest.mark.parametrize("inverted", [False, True])
def test_a_body_is_the_whole_disk_with_its_lungs_and_without_the_letter(inverted: bool) -> None:
    header = plain_header(512, 512, 12, "png", False, inverted)
    mask = body_mask(chest(inverted), header)
    assert agreement(mask, disk(256, 256, 200)) > 0.99
    assert mask.bits[256, 180]
    assert mask.bits[256, 332]
    assert not mask.keep[25, 12]


def test_of_two_bodies_the_larger_one_counts() -> None:
    small = np.where(disk(150, 150, 90) | disk(400, 400, 60), 100, 0).astype(np.float32)
    bits = body_bits(small, 50.0)
    assert bits[150, 150]
    assert not bits[400, 400]


def test_a_chest_that_fills_its_image_has_no_air_and_is_all_body() -> None:
    values = np.random.default_rng(1).normal(2500, 400, (512, 512)).clip(0, 4095).astype(np.uint16)
    assert body_mask(values, plain_header(512, 512, 12, "png", False, False)).fraction > 0.99


@pytest.mark.parametrize(
    "find, value", [(body_mask, 7), (tissue_mask, 255)], ids=["nothing but air", "nothing but glass"]
)
def test_an_image_of_nothing_has_no_foreground(find: object, value: int) -> None:
    assert callable(find)
    with pytest.raises(NoForegroundError):
        find(np.full((256, 256), value, np.uint8), plain_header(256, 256, 8, "png", False, False))


def test_an_image_that_is_too_small_says_which_foreground_takes_it() -> None:
    with pytest.raises(NoForegroundError, match=r"16 x 16 pixels .* --foreground none"):
        body_mask(np.ones((16, 16), np.uint8), plain_header(16, 16, 8, "png", False, False))


def test_the_threshold_of_air_lies_between_air_and_body() -> None:
    assert 100 < air_threshold(chest().astype(np.float32)) < 2400


def stained(colour: tuple[int, int, int]) -> np.ndarray:
    """uint8, (512, 512, 3): two pieces of tissue and a speck of dust on glass."""
    image = np.full((512, 512, 3), 240, np.uint8)
    image[disk(150, 150, 80) | disk(380, 380, 60) | disk(400, 60, 3)] = colour
    image[disk(150, 150, 2)] = 240  # a gap between two cells
    return image


@pytest.mark.parametrize("colour", [(90, 60, 140), (235, 180, 205)], ids=["haematoxylin", "pale eosin"])
def test_tissue_is_what_is_dark_or_coloured_on_glass_in_one_or_several_pieces(
    colour: tuple[int, int, int],
) -> None:
    image, truth = stained(colour), disk(150, 150, 80) | disk(380, 380, 60)
    header = plain_header(512, 512, 8, "png", False, False)
    mask = tissue_mask(image, header)
    assert agreement(mask, truth) > 0.98
    assert mask.bits[150, 150]
    assert not mask.bits[400, 60]
    assert agreement(tissue_mask(image[..., 1], header), truth) > 0.98
    assert (tissue_bits(image / 255) == mask.bits).all()


def test_a_slide_full_of_tissue_is_not_taken_for_its_own_glass() -> None:
    assert tissue_bits(np.full((64, 64), 0.5)).all()


def test_nothing_of_the_image_is_left_out_where_no_foreground_is_asked_for() -> None:
    mask = whole_mask(np.zeros((1030, 700), np.uint8), plain_header(1030, 700, 8, "png", False, False))
    assert mask.fraction == 1.0
    assert mask.step * len(mask.bits) == 1030


def test_the_mask_of_a_record_tells_its_foreground() -> None:
    for name, foreground in FOREGROUNDS.items():
        assert foreground_of(foreground.method) == name
        assert foreground_word({"foreground": name}) == foreground.what
    assert foreground_of(None) == foreground_of("background-peak 7") == "breast"


def test_a_slice_is_shown_in_its_window_without_its_noise_and_as_no_breast(tmp_path: Path) -> None:
    elements = {"Modality": "MR", "PixelSpacing": [1.0, 1.0], "Laterality": "R", "ViewPosition": "RL"}
    window = {"WindowCenter": 1250.5, "WindowWidth": 2501, "RescaleSlope": 1, "RescaleIntercept": 0}
    path = make_dicom(tmp_path, chest(), **elements, **window)
    image = decode_image(path, DecodeOptions(foreground="body"))
    record = image.record
    bits, step = mask_of(record)
    assert step == 1
    assert bits.sum() == pytest.approx(np.pi * 200**2, rel=0.01)
    assert record["mask_method"] == "body 1"
    assert record["spacing_mm"] == [1.0, 1.0]
    assert (record["header_view"], record["header_laterality"], record["mask_flags"]) == (None, None, [])
    assert (record["voi"], image.notes) == ("window", ())
    assert image.pixels[0, 0] == 0
    y, x = 256 - record["crop_y"], 256 - record["crop_x"]
    stored = float(chest()[256, 256])
    # LINEAR of PS3.3 C.11.2.1.2.1: centre - 0.5 and width - 1.
    assert image.pixels[y, x] == np.rint(255 * np.clip((stored - 1250) / 2500 + 0.5, 0, 1))


@pytest.mark.parametrize("foreground", ["tissue", "none"])
def test_glass_stays_white(tmp_path: Path, foreground: str) -> None:
    slide = stained((90, 60, 140))[..., 1]
    slide[slide == 60] += (ROWS[slide == 60] // 4).astype(np.uint8)
    path = make_dicom(tmp_path, slide, bits=8, Modality="SM")
    image = decode_image(path, DecodeOptions(foreground=foreground))
    assert image.pixels[0, 0] == 255


def test_a_foreground_that_the_modality_does_not_have_is_remarked(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, chest(), Modality="MR")
    notes = decode_image(path, DecodeOptions(foreground="tissue")).notes
    assert notes[0] == "by Modality (0008,0060) the foreground is body, not tissue: check --foreground"
    assert decode_image(path, DecodeOptions(foreground="none")).notes == ()


@pytest.mark.parametrize(
    ("name", "frame", "least", "most"),
    [
        ("RG1_UNCR.dcm", None, 0.9, 1.0),  # a chest that fills its film
        ("MR2_UNCR.dcm", None, 0.4, 0.6),  # a shoulder
        ("MR-SIEMENS-DICOM-WithOverlays.dcm", None, 0.4, 0.5),  # a belly with air in it
        ("emri_small.dcm", "middle", 0.4, 0.7),
    ],
)
def test_public_radiographs_and_slices_have_a_body(
    name: str, frame: str | None, least: float, most: float
) -> None:
    if not (PUBLIC / name).is_file():
        pytest.skip(f"this pydicom-data has no {name}")
    image = decode_image(PUBLIC / name, DecodeOptions(foreground="body", frame=frame))
    assert least <= image.record["mask_fraction"] <= most
    assert image.record["header_view"] is None
    assert image.record["inverted"] == name.startswith("RG1")


def test_a_small_slice_of_pydicom_is_read_with_its_spacing() -> None:
    image = decode_image(Path(str(get_testdata_file("MR_small.dcm"))), DecodeOptions(foreground="body"))
    assert image.record["spacing_mm"] == [0.3125, 0.3125]
    assert image.record["header_kind"] == "unknown"  # though its Image Type says SECONDARY
