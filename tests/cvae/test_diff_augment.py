import numpy as np
import numpy.typing as npt
import torch

from nlbs.cvae.diff_augment import Changes, diff_augment, draw_changes

FAR = 10_000  #: a hole there cuts nothing


def changes(
    brightness: float = 0, contrast: float = 1, shift: tuple[int, int] = (0, 0), hole: tuple[int, int] = (FAR, FAR)
) -> Changes:  # fmt: skip
    return Changes(
        torch.tensor([brightness]), torch.tensor([contrast]), torch.tensor([shift]), torch.tensor([hole])
    )


def slowly(image: npt.NDArray[np.float64], drawn: Changes, number: int) -> npt.NDArray[np.float64]:
    """One pixel after the other, as the paper says it."""
    size = len(image)
    (down, right), (row, column) = drawn.shift[number].tolist(), drawn.hole[number].tolist()
    bright = image + float(drawn.brightness[number])
    sharp = (bright - bright.mean()) * float(drawn.contrast[number]) + bright.mean()
    out = np.zeros_like(image)
    for y in range(size):
        for x in range(size):
            is_cut = row - size // 4 <= y < row + size // 4 and column - size // 4 <= x < column + size // 4
            if not is_cut and 0 <= y - down < size and 0 <= x - right < size:
                out[y, x] = sharp[y - down, x - right]
    return out


def test_no_change_gives_the_image() -> None:
    image = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(diff_augment(image, changes()), image, rtol=0, atol=1e-6)


def test_all_changes_are_those_of_the_paper_pixel_by_pixel() -> None:
    images = torch.randn(12, 1, 16, 16, dtype=torch.float64)
    drawn = draw_changes(12, 16, torch.Generator().manual_seed(3))
    found = diff_augment(images, drawn)
    for number in range(12):
        expected = slowly(images[number, 0].numpy(), drawn, number)
        np.testing.assert_allclose(found[number, 0].numpy(), expected, rtol=0, atol=1e-9)


def test_a_hole_in_the_middle_is_a_quarter_of_the_image_and_one_at_a_corner_a_sixteenth() -> None:
    image = torch.ones(1, 1, 16, 16)
    for hole, share in (((8, 8), 1 / 4), ((0, 0), 1 / 16), ((16, 16), 1 / 16)):
        assert float((diff_augment(image, changes(hole=hole)) == 0).float().mean()) == share


def test_the_changes_are_within_the_papers_ranges_and_depend_on_the_seed_alone() -> None:
    drawn = draw_changes(4000, 64, torch.Generator().manual_seed(0))
    ranges = [(float(values.min()), float(values.max())) for values in drawn]
    assert ranges[2:] == [(-8, 8), (0, 64)]
    np.testing.assert_allclose(ranges[:2], [(-0.5, 0.5), (0.5, 1.5)], atol=0.01)
    again = draw_changes(4000, 64, torch.Generator().manual_seed(0))
    other = draw_changes(4000, 64, torch.Generator().manual_seed(1))
    assert all(torch.equal(one, two) for one, two in zip(drawn, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(drawn, other, strict=True))


def test_parts_and_repetitions_are_rows_of_the_whole() -> None:
    images = torch.randn(6, 1, 8, 8)
    drawn = draw_changes(6, 8, torch.Generator().manual_seed(0))
    whole = diff_augment(images, drawn)
    assert torch.equal(diff_augment(images[2:4], drawn.part(slice(2, 4))), whole[2:4])
    twice = diff_augment(torch.cat([images, images]), drawn.repeated(2))
    assert torch.equal(twice, torch.cat([whole, whole]))


def test_gradients_go_through() -> None:
    images = torch.randn(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    drawn = draw_changes(3, 8, torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: diff_augment(x, drawn), images)
