"""Drawing over real patches by a denoiser that the test knows: images of independent pixels N(-0.2, 0.3^2)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from nlbs.errors import ConfigError
from nlbs.generate.editing import Inpainting, SuperResolution, Task, drawn, hole_of
from nlbs.manifests.schema import NLBS
from nlbs.models.conditioning import zeros_of
from nlbs.models.samplers import DenoisingSampler
from tests.models.test_samplers import EDGE, Gaussian

CODES = zeros_of(NLBS, 1)


def patch(seed: int = 0, edge: int = EDGE) -> npt.NDArray[np.uint8]:
    found: npt.NDArray[np.uint8] = np.random.default_rng(seed).integers(0, 256, (edge, edge), dtype=np.uint8)
    return found


def draw(task: Task, known: npt.NDArray[np.uint8], number: int = 0, seed: int = 0) -> npt.NDArray[np.uint8]:
    sampler = DenoisingSampler(Gaussian(deviation=0.3), steps=12)
    return drawn(sampler, task, known, CODES, seed, number, passes=2)


def test_known_pixels_are_kept_to_the_bit() -> None:
    hole = hole_of((3, 2, 9, 14), None, EDGE)
    assert hole.sum() == 6 * 12
    assert not hole[:2].any() and hole[2, 3] and not hole[2, 9]
    grey, task = patch(), Inpainting(hole)
    one, again, other = (draw(task, task.known(grey), number) for number in (0, 0, 1))
    for image in (one, other):
        np.testing.assert_array_equal(image[~hole], grey[~hole])
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[hole], other[hole])
    assert not np.array_equal(one, draw(task, task.known(grey), 0, seed=1))


def test_what_was_in_the_hole_is_not_looked_at() -> None:
    hole = hole_of(None, None, EDGE)
    assert hole.sum() == EDGE * EDGE / 4
    task, grey = Inpainting(hole), patch()
    changed = np.where(hole, 255 - grey, grey)
    np.testing.assert_array_equal(draw(task, task.known(grey)), draw(task, task.known(changed)))


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("low_high", [(0, 256), (100, 130), (250, 256)])
def test_a_draw_averages_to_the_small_patch_within_a_grey_level(
    scale: int, low_high: tuple[int, int]
) -> None:
    task = SuperResolution(scale, EDGE)
    small = np.random.default_rng(1).integers(*low_high, (EDGE // scale, EDGE // scale)).astype(np.uint8)
    for number in range(3):
        image = draw(task, small, number).astype(np.float64)
        blocks = image.reshape(EDGE // scale, scale, EDGE // scale, scale)
        means = blocks.mean(axis=(1, 3))
        assert np.abs(means - small).max() <= 1
        if low_high == (100, 130):
            assert blocks.std(axis=(1, 3)).mean() > 15  # and is drawn: 0.3 of [-1, 1] are 38 grey levels


def test_a_larger_patch_is_known_by_its_blocks() -> None:
    grey = np.kron([[10, 20], [30, 41]], np.ones((8, 8))).astype(np.uint8)
    grey[0, 0] = 74  # one more of 64 pixels by 64
    task = SuperResolution(8, EDGE)
    np.testing.assert_array_equal(task.known(grey), [[11, 20], [30, 41]])
    assert task.shown(task.known(grey)).shape == (EDGE, EDGE)


def test_a_mask_is_a_picture_of_any_size_in_which_the_hole_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.kron([[0, 255], [0, 0]], np.ones((50, 30))).astype(np.uint8)).save(tmp_path / "m.png")
    found = hole_of(None, tmp_path / "m.png", EDGE)
    assert found.sum() == EDGE * EDGE / 4
    assert found[: EDGE // 2, EDGE // 2 :].all()
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"cannot read the mask .*no.png"):
        hole_of(None, tmp_path / "no.png", EDGE)


@pytest.mark.parametrize("box", [(4, 4, 4, 8), (-1, 0, 4, 4), (0, 0, EDGE + 1, 4), (8, 0, 4, 4)])
def test_a_box_lies_within_the_image(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match="lies not within 0,0,16,16"):
        hole_of(box, None, EDGE)


def test_something_is_known_and_something_is_not() -> None:
    for which, hole in (("all", np.ones((4, 4), bool)), ("none", np.zeros((4, 4), bool))):
        with pytest.raises(ConfigError, match=f"{which} of the pixels are to be drawn"):
            Inpainting(hole)
    with pytest.raises(ConfigError, match="no blocks of 3 x 3"):
        SuperResolution(3, EDGE)


def test_a_block_that_is_known_to_be_black_or_white_is_so() -> None:
    small = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    image = draw(SuperResolution(8, EDGE), small).reshape(2, 8, 2, 8)
    assert image[0, :, 0].max() <= 1 and image[1, :, 1].max() <= 1
    assert image[0, :, 1].min() >= 254 and image[1, :, 0].min() >= 254
    assert torch.is_grad_enabled()
