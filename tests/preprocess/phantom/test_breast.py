"""Pixels of the phantom: anatomy by view and side, density by age, findings where the truth says.

Also covers: preprocess/phantom/anatomy.py, preprocess/phantom/lesion.py, preprocess/phantom/patient.py,
preprocess/phantom/truth.py.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from nlbs.preprocess.phantom.breast import Drawing, View, draw_pixels, draw_view, spacing_of
from nlbs.preprocess.phantom.lesion import Finding
from nlbs.preprocess.phantom.patient import draw_breast, draw_patient, stream
from nlbs.preprocess.phantom.truth import truth_of
from tests.conftest import some

ROWS, COLUMNS = 384, 300
VIEWS = [("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]


@cache
def view_of(index: int, side: str, name: str, columns: int = COLUMNS, rows: int = ROWS) -> View:
    patient = draw_patient(index, stream(0, index))
    breast = draw_breast(patient, side, stream(0, index, "LR".index(side)))
    width_mm = columns * spacing_of(rows)
    return draw_view(breast, name, width_mm, stream(0, index, "LR".index(side), ("CC", "MLO").index(name)))


def draw(view: View, rows: int = ROWS, columns: int = COLUMNS) -> Drawing:
    return draw_pixels(view, rows, columns, stream(0, view.breast.patient.index, 99))


@cache
def drawing_of(index: int, side: str, name: str) -> Drawing:
    return draw(replace(view_of(index, side, name), label=False))


@cache
def findings(count: int) -> list[View]:
    """The views of the first patients in which there is something to find."""
    views = [view_of(index, side, name) for index in range(count) for side, name in VIEWS]
    return [view for view in views if view.finding != Finding()]


@pytest.mark.parametrize(("side", "name"), VIEWS)
def test_the_chest_wall_is_at_the_left_of_a_left_and_at_the_right_of_a_right_breast(
    side: str, name: str
) -> None:
    for index in (0, 3):
        pixels = drawing_of(index, side, name).pixels
        tissue_left, tissue_right = (pixels[:, 0] > 1500).mean(), (pixels[:, -1] > 1500).mean()
        chest, front = (tissue_left, tissue_right) if side == "L" else (tissue_right, tissue_left)
        assert chest > 0.4
        assert front == 0


@pytest.mark.parametrize("side", ["L", "R"])
def test_only_mlo_shows_the_pectoral_muscle_in_the_upper_corner(side: str) -> None:
    for index in (0, 3):
        corners = {}
        for name in ("CC", "MLO"):
            pixels = drawing_of(index, side, name).pixels
            corner = pixels[:10, :10] if side == "L" else pixels[:10, -10:]
            corners[name] = float(corner.mean())
            drawing = drawing_of(index, side, name)
            truth = truth_of(view_of(index, side, name), drawing, "", "")
            assert truth.pectoral == (name == "MLO")
        assert corners["CC"] == 0
        assert corners["MLO"] > 2600


@pytest.mark.parametrize(("side", "name"), VIEWS)
def test_air_is_exactly_zero_and_the_breast_is_one_piece_of_scanner_like_values(side: str, name: str) -> None:
    pixels = drawing_of(0, side, name).pixels
    assert pixels.dtype == np.uint16
    pieces, count = ndimage.label(pixels > 0)
    sizes = np.bincount(pieces.ravel())[1:]
    assert count == 1 or sizes.max() / sizes.sum() > 0.9995  # noise may part pixels of the thin rim
    assert 0.15 < sizes.sum() / pixels.size < 0.75
    inner = ndimage.binary_erosion(pixels > 0, iterations=8, border_value=1)
    low, middle, high = np.percentile(pixels[inner], (1, 50, 99))
    # The breast of the GE Senographe file these values are modelled on: 1 % 2085, 50 % 2390, 99 % 2880.
    assert 2000 < low < middle < 2800
    assert 2500 < high < 3300


def test_a_view_label_is_bright_and_away_from_the_breast() -> None:
    for side, name in VIEWS:
        view = view_of(0, side, name)
        plain = draw(replace(view, label=False)).pixels
        labelled = draw(replace(view, label=True)).pixels
        changed = np.argwhere(plain != labelled)
        assert labelled.max() > 3300
        assert (plain[plain != labelled] == 0).all()
        assert changed[:, 0].max() < ROWS / 6
        front = changed[:, 1] > COLUMNS / 2 if side == "L" else changed[:, 1] < COLUMNS / 2
        assert front.all()


def test_density_falls_with_age() -> None:
    people = [draw_patient(index, stream(0, index)) for index in range(300)]
    ages = np.array([person.age_years for person in people])
    densities = np.array([person.density for person in people])
    assert np.corrcoef(ages, densities)[0, 1] < -0.7
    assert ages.min() >= 40
    assert ages.max() <= 85
    assert densities[ages < 46].mean() > 2 * densities[ages > 65].mean()
    # Women of one age differ.
    assert 0.02 < np.std(densities[(ages >= 50) & (ages < 53)]) < 0.1


def test_pixels_show_the_density_that_the_truth_tells() -> None:
    told, seen = [], []
    for index in range(12):
        drawing = drawing_of(index, "L", "CC")
        inner = ndimage.binary_erosion(drawing.pixels > 0, iterations=8, border_value=1)
        told.append(drawing.density)
        seen.append((drawing.pixels[inner] > 2450).mean())
        assert drawing.density == pytest.approx(view_of(index, "L", "CC").breast.density, abs=0.01)
    assert np.corrcoef(told, seen)[0, 1] > 0.9


def test_an_image_differs_from_the_same_without_its_finding_at_the_finding_only() -> None:
    views = findings(9)
    kinds = {(view.finding.mass is None, view.finding.calcifications == ()) for view in views}
    assert kinds == {(True, False), (False, True), (False, False)}
    for view in some(views):
        drawing = draw(view)
        without = draw(replace(view, finding=Finding()))
        changed = np.argwhere(drawing.pixels != without.pixels)
        assert len(changed)
        truth = truth_of(view, drawing, "", "")
        near = np.zeros(len(changed), bool)
        if truth.mass_y is not None and truth.mass_x is not None and truth.mass_extent is not None:
            distance = np.hypot(changed[:, 0] - truth.mass_y, changed[:, 1] - truth.mass_x)
            near |= distance <= truth.mass_extent + 1
            centre = round(truth.mass_y), round(truth.mass_x)
            assert int(drawing.pixels[centre]) - int(without.pixels[centre]) > 100
        if truth.calcifications_top is not None:
            y, x = changed.T
            near |= (
                (y >= truth.calcifications_top)
                & (y < truth.calcifications_bottom)
                & (x >= truth.calcifications_left)
                & (x < truth.calcifications_right)
            )
        assert near.all()


def test_findings_are_of_the_kinds_that_the_labels_mean() -> None:
    sizes: dict[bool, list[float]] = {
        True: [],
        False: [],
    }  # of calcifications, mm: of cancers, of false positives
    for view in some(findings(60)):
        mass, dots = view.finding.mass, view.finding.calcifications
        sizes[view.breast.cancer] += [dot.diameter_mm for dot in dots]
        if view.breast.cancer:
            assert mass is not None
            assert mass.spicules
            assert 2.5 < mass.radius_mm < 14  # 6 to 25 mm across, drawn with 5 percent of scatter
            assert len(dots) == 0 or 8 <= len(dots) <= 25
        else:
            assert view.breast.false_positive
            assert (mass is None) != (len(dots) == 0)
            assert mass is None or not mass.spicules
    assert all(0.18 < size < 0.57 for size in some(sizes[True]))
    assert all(size >= 1 for size in some(sizes[False]))


def test_findings_lie_inside_the_breast_and_equally_deep_in_both_views() -> None:
    for view in some(findings(12)):
        plain = draw(replace(view, finding=Finding(), label=False))
        if view.finding.mass is None:
            continue
        truth = truth_of(view, plain, "", "")
        assert truth.mass_y is not None
        assert truth.mass_x is not None
        assert plain.pixels[round(truth.mass_y), round(truth.mass_x)] > 2000
        depth_mm = view.anatomy.nipple[1] - view.finding.mass.x_mm
        assert depth_mm == pytest.approx(view.breast.finding_depth_mm, abs=20)


def test_anatomy_does_not_depend_on_the_size_of_the_image() -> None:
    small, large = view_of(1, "R", "CC"), view_of(1, "R", "CC", 600, 768)
    assert np.array_equal(small.anatomy.outline, large.anatomy.outline)
    area = [
        (draw(replace(view, label=False), rows, columns).pixels > 0).mean()
        for view, rows, columns in ((small, ROWS, COLUMNS), (large, 768, 600))
    ]
    assert area[0] == pytest.approx(area[1], rel=0.01)


def test_breasts_differ_between_patients_much_and_between_sides_little() -> None:
    size = {
        (index, side): float((drawing_of(index, side, "CC").pixels > 0).mean())
        for index in range(8)
        for side in ("L", "R")
    }
    between_sides = np.mean([abs(size[index, "L"] / size[index, "R"] - 1) for index in range(8)])
    between_patients = np.std([size[index, "L"] for index in range(8)]) / np.mean(list(size.values()))
    assert 0.002 < between_sides < 0.1
    assert between_patients > 2 * between_sides
