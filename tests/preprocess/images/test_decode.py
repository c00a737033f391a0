"""The whole way from a file to a decoded image: crop, background, record, and what is noted."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1

from nlbs.errors import ImageError
from nlbs.preprocess.images.decode import DecodeOptions, clear_outside, crop_box, decode_image
from nlbs.preprocess.images.mask import Mask
from nlbs.preprocess.images.store import mask_of
from tests.preprocess.dicom_files import PICTURE, PLANTED, make_dicom
from tests.preprocess.mask_images import CHANGES, breast_image, label, plain

WINDOW = {"WindowCenter": 2500, "WindowWidth": 1500}


def test_the_crop_holds_the_window_of_the_stored_values(tmp_path: Path) -> None:
    case = label(plain(), near=True)
    spacing = {"ImagerPixelSpacing": list(case.header.spacing_mm or ())}
    path = make_dicom(tmp_path, case.stored, JPEGLosslessSV1, **WINDOW, **spacing)
    image = decode_image(path, DecodeOptions())
    record = image.record
    y, x = record["crop_y"], record["crop_x"]
    part = case.stored[y : y + record["crop_rows"], x : x + record["crop_columns"]].astype(float)
    # PS3.3 C.11.2.1.2.1, scaled to 0 to 255.
    expected = np.clip((part - 2499.5) / 1499 + 0.5, 0, 1) * 255
    kept = image.pixels > 0
    assert np.abs(image.pixels - expected)[kept].max() <= 0.5 + 1e-6
    truth = case.truth[y : y + record["crop_rows"], x : x + record["crop_columns"]]
    assert kept[truth & (expected >= 1)].mean() > 0.95  # all but the strip of belly
    marks = case.marks[y : y + record["crop_rows"], x : x + record["crop_columns"]]
    assert not kept[marks].any()
    assert image.notes == ()


def test_the_record_is_plain_json_that_fits_the_image_and_names_nobody(tmp_path: Path) -> None:
    folder = tmp_path / PLANTED
    folder.mkdir()
    path = make_dicom(folder, breast_image(1, "R", "CC"), JPEG2000Lossless, ImagerPixelSpacing=[0.2, 0.2])
    image = decode_image(path, DecodeOptions())
    record = json.loads(json.dumps(image.record, allow_nan=False))
    assert record == image.record
    assert "PLANTED" not in json.dumps(record)
    assert (record["source_rows"], record["source_columns"]) == (1024, 800)
    assert image.pixels.shape == (record["crop_rows"], record["crop_columns"])
    assert record["crop_y"] + record["crop_rows"] <= 1024
    assert record["crop_x"] + record["crop_columns"] <= 800
    assert record["spacing_mm"] == [0.2, 0.2]
    assert record["voi"] == "range"
    assert record["decoder"].startswith("imagecodecs ")
    assert record["transfer_syntax"] == "1.2.840.10008.1.2.4.90"
    bits, step = mask_of(record)
    assert bits.shape == (-(-record["crop_rows"] // step), -(-record["crop_columns"] // step))
    share = bits.sum() * step**2 / (1024 * 800)
    assert share == pytest.approx(record["mask_fraction"], abs=0.002)


def test_background_is_air_or_left_as_it_is(tmp_path: Path) -> None:
    case = CHANGES["grey background"](plain())
    path = make_dicom(tmp_path, case.stored, WindowCenter=2048, WindowWidth=4096)
    clean = decode_image(path, DecodeOptions())
    whole = decode_image(path, DecodeOptions(keep_background=True))
    assert clean.pixels.shape == whole.pixels.shape
    assert (whole.pixels > 0).mean() > 0.99
    assert 0.4 < (clean.pixels > 0).mean() < 0.95
    inside = clean.pixels > 0
    assert np.array_equal(clean.pixels[inside], whole.pixels[inside])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_both_types_show_the_same_image(tmp_path: Path, dtype: str) -> None:
    path = make_dicom(tmp_path, breast_image(1, "L", "MLO"), **WINDOW)
    pixels = decode_image(path, DecodeOptions(dtype=dtype)).pixels
    assert pixels.dtype == dtype
    eight = decode_image(path, DecodeOptions()).pixels
    assert np.abs(pixels / np.iinfo(dtype).max - eight / 255).max() <= 1 / 255


def test_an_inverted_image_decodes_to_the_upright_one(tmp_path: Path) -> None:
    stored = breast_image(1, "L", "MLO")
    upright = decode_image(make_dicom(tmp_path, stored, **WINDOW), DecodeOptions(dtype="uint16"))
    path = make_dicom(
        tmp_path,
        (4095 - stored).astype(np.uint16),
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=4095 - 2500 + 1,  # C.11-1 is symmetric about its centre less one half
        WindowWidth=1500,
    )
    turned = decode_image(path, DecodeOptions(dtype="uint16"))
    assert turned.record["inverted"] is True
    assert turned.pixels.shape == upright.pixels.shape
    assert np.abs(turned.pixels.astype(int) - upright.pixels).max() <= 1


def test_a_breast_takes_contrast_from_its_own_range_where_the_window_is_useless(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, breast_image(1, "L", "MLO"), WindowCenter=100, WindowWidth=50)
    image = decode_image(path, DecodeOptions())
    assert image.record["voi"] == "range"
    assert "without contrast" in image.notes[0]
    bits, step = mask_of(image.record)
    inside = np.kron(bits, np.ones((step, step), bool))[: image.pixels.shape[0], : image.pixels.shape[1]]
    assert image.pixels[inside].std() > 25


def test_a_breast_of_unlikely_size_is_noted(tmp_path: Path) -> None:
    small = decode_image(make_dicom(tmp_path, CHANGES["tiny"](plain()).stored), DecodeOptions())
    assert any("look at its mask" in note for note in small.notes)


def test_a_map_of_labels_is_remarked_on_and_an_image_is_not(tmp_path: Path) -> None:
    stored = breast_image(1, "L", "MLO")
    labels = (np.digitize(stored, (300, 900, 1500, 2100, 2700)) * 700).astype(np.uint16)
    said = [
        [note for note in decode_image(make_dicom(tmp_path, one), DecodeOptions()).notes if "labels" in note]
        for one in (labels, stored)
    ]
    assert len(said[0]) == 1 and "different grey values alone: is it a map of labels?" in said[0][0]
    assert said[1] == []


def test_what_holds_no_breast_has_its_own_status(tmp_path: Path) -> None:
    for stored in (np.zeros((300, 200), np.uint16), np.full((300, 200), 900, np.uint16)):
        with pytest.raises(ImageError) as caught:
            decode_image(make_dicom(tmp_path, stored), DecodeOptions())
        assert caught.value.status == "no_breast"


def test_an_image_no_larger_than_a_stamp_is_decoded_or_refused(tmp_path: Path) -> None:
    for rows, columns in ((61, 47), (1, 1), (8, 300), (300, 8)):
        try:
            image = decode_image(make_dicom(tmp_path, np.resize(PICTURE, (rows, columns))), DecodeOptions())
        except ImageError as error:
            assert error.status == "no_breast"
        else:
            assert image.pixels.shape == (image.record["crop_rows"], image.record["crop_columns"])


@pytest.mark.parametrize("shape", [(40, 32), (41, 35)])
def test_a_crop_follows_the_kept_cells_of_the_mask(shape: tuple[int, int]) -> None:
    pixels = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape) + 1
    keep = np.zeros((10, 8), bool)
    keep[2, 3], keep[4, 5] = True, True
    mask = Mask(keep, keep, 4, 0.0)
    part = pixels[crop_box(mask)]
    assert np.array_equal(part, pixels[8:20, 12:24])
    part = part.copy()
    clear_outside(part, mask)
    expected = np.zeros((12, 12), np.uint16)
    expected[:4, :4] = pixels[8:12, 12:16]
    expected[8:, 8:] = pixels[16:20, 20:24]
    assert np.array_equal(part, expected)


def test_what_lies_outside_is_cleared_cell_by_cell_up_to_ragged_edges() -> None:
    generator = np.random.default_rng(3)
    for _ in range(30):
        rows, columns, step = (int(n) for n in generator.integers((1, 1, 1), (60, 60, 9)))
        keep = generator.random((max(1, rows // step), max(1, columns // step))) < 0.6
        keep[0, 0] = True
        mask, pixels = Mask(keep, keep, step, 0.0), np.ones((rows, columns), np.uint8)
        part = pixels[crop_box(mask)].copy()
        clear_outside(part, mask)
        full = np.kron(keep, np.ones((step, step), bool))[:rows, :columns]
        expected = np.zeros((rows, columns), np.uint8)
        expected[: full.shape[0], : full.shape[1]] = full
        assert np.array_equal(part, expected[crop_box(mask)])


def test_the_recipe_names_every_option() -> None:
    options = DecodeOptions("uint16", "window", "pylibjpeg", True, 3)
    assert options.recipe() == {
        "dtype": "uint16",
        "voi": "window",
        "decoder": "pylibjpeg",
        "keep_background": True,
        "frame": 3,
    }
