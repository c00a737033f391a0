"""Contact sheets show each image where it belongs, and PNGs carry pixels and text."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from nlbs.pictures import as_uint8, contact_sheet, sheet_html, table_html, write_png


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flat(value: int, height: int = 16, width: int = 16) -> npt.NDArray[np.uint8]:
    return np.full((height, width), value, np.uint8)


def box_of(page: npt.NDArray[Any], value: int | tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Gives top, left, bottom and right of all pixels of one grey value or colour."""
    rows, columns = np.nonzero((page == value).all(axis=2))
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def test_images_stand_row_by_row_in_the_order_given() -> None:
    values = [91, 92, 93, 94, 95]
    page = contact_sheet([flat(value) for value in values], [""] * 5, columns=2, tile_px=16)
    boxes = [box_of(page, value) for value in values]
    assert [(bottom - top, right - left) for top, left, bottom, right in boxes] == [(16, 16)] * 5
    assert boxes == sorted(boxes)
    tops, lefts = [box[0] for box in boxes], [box[1] for box in boxes]
    assert tops[0] == tops[1] < tops[2] == tops[3] < tops[4]
    assert lefts[0] == lefts[2] == lefts[4] < lefts[1] == lefts[3]
    assert page.dtype == np.uint8
    assert page.shape[2] == 3


def test_small_images_are_enlarged_without_new_values_and_large_ones_averaged() -> None:
    board = np.kron([[10, 200], [200, 10]], np.ones((4, 4))).astype(np.uint8)  # 8x8
    page = contact_sheet([board], [""], tile_px=32)
    top, left, _, _ = box_of(page, 10)
    np.testing.assert_array_equal(page[top : top + 32, left : left + 32, 0], np.kron(board, np.ones((4, 4))))
    fine = np.tile(np.array([[100, 150], [150, 100]], np.uint8), (32, 32))  # 64x64, mean 125
    page = contact_sheet([fine], [""], tile_px=16)
    assert box_of(page, 125)[2] - box_of(page, 125)[0] == 16


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(40, 20, (32, 16)), (20, 40, (16, 32)), (1, 500, (1, 32))]
)
def test_an_image_keeps_its_proportions(height: int, width: int, expected: tuple[int, int]) -> None:
    page = contact_sheet([flat(123, height, width)], [""], tile_px=32)
    top, left, bottom, right = box_of(page, 123)
    assert (bottom - top, right - left) == expected


def test_captions_stand_below_their_image_and_the_title_above_all() -> None:
    green = np.zeros((16, 16, 3), np.uint8) + np.array([1, 120, 1], np.uint8)  # no text has this colour
    plain = contact_sheet([green] * 2, ["", ""], tile_px=64)
    page = contact_sheet([green] * 2, ["", "CC L\n66"], tile_px=64, title="Patches")
    top, left, bottom, right = box_of(page, (1, 120, 1))
    assert page.shape[0] > plain.shape[0]
    assert (page[:top] > 200).any()  # light text
    middle = (left + right) // 2
    assert not (page[bottom:, :middle] > 150).any()
    assert (page[bottom:, middle:] > 150).any()


def test_each_line_of_a_caption_has_room() -> None:
    heights = [
        contact_sheet([flat(77)], [caption], tile_px=64).shape[0] for caption in ("", "a", "a\nb", "a\nb\nc")
    ]
    assert heights[0] < heights[1] < heights[2] < heights[3]


def test_a_caption_that_is_too_wide_goes_on_below_so_that_unknown_is_not_cut_off() -> None:
    image = np.zeros((20, 20), np.uint8)
    broken = contact_sheet([image], ["no cancer, false positive?"], tile_px=128)
    by_hand = contact_sheet([image], ["no cancer,\nfalse positive?"], tile_px=128)
    np.testing.assert_array_equal(broken, by_hand)


def test_colour_images_keep_their_colours() -> None:
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[...] = (200, 10, 60)
    page = contact_sheet([colour, flat(90)], ["", ""], tile_px=16)
    assert (page == (200, 10, 60)).all(axis=2).sum() == 256
    assert (page == 90).all(axis=2).sum() == 256


def test_no_images_make_an_empty_page_and_missing_captions_an_error() -> None:
    assert contact_sheet([], []).ndim == 3
    with pytest.raises(ValueError, match="shorter"):
        contact_sheet([flat(1), flat(2)], ["one"])


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_a_png_holds_the_pixels_and_the_text(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels, {"Comment": "synthetic, ≤45", "Software": "nlbs"})
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert image.text == {"Comment": "synthetic, ≤45", "Software": "nlbs"}  # type: ignore[attr-defined]
    assert names(tmp_path) == ["a.png"]


def test_the_same_picture_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, contact_sheet([flat(5)], ["é"]), {"k": "v"})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_notebook_gets_one_picture_of_the_first_images_and_no_markup_from_values() -> None:
    html = sheet_html([flat(9)] * 40, ["x"] * 40, "<b>")
    assert html.startswith('<img alt="&lt;b&gt;: the first 32" src="data:image/png;base64,')
    assert html.count("<") == 1
    assert "<td style='text-align:left'>&lt;i&gt;</td>" in table_html("t", {"a": "<i>"})


def test_sixteen_bits_are_shown_in_eight_white_as_white() -> None:
    assert as_uint8(np.array([0, 257, 65535], np.uint16)).tolist() == [0, 1, 255]
