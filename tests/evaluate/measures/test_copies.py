"""Copies that are known to be copies are found; patches of other patients are not."""

import numpy as np
import pytest
from scipy import ndimage

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.copies import CopyDetector, audit_copies, plant_copies
from tests.evaluate.textures import power_law_patches

PATIENTS = np.repeat(np.arange(75), 4)


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    """1000 textures of breast-like spectrum with air at one side of every third."""
    patches = power_law_patches(1000, 64, 3.2, seed=0)
    patches[::3, :, 50:] = 0
    return patches


@pytest.fixture(scope="module")
def train(tissue: np.ndarray) -> np.ndarray:
    return tissue[:400]


def test_planted_copies_are_the_stated_changes_of_training_patches(train: np.ndarray) -> None:
    kinds = plant_copies(train, per_kind=50, seed=1)
    assert {len(patches) for patches in kinds.values()} == {50}
    known = {patch.tobytes() for patch in train}
    assert all(patch.tobytes() in known for patch in kinds["exact"])
    flips = known | {patch[y, x].tobytes() for patch in train for y, x in FLIPS}
    assert all(patch.tobytes() in flips - known for patch in kinds["flip"])
    for kind, largest in (("noise", 2.55), ("blend", 2.55)):
        each = kinds[kind].astype(float)
        distance = min(np.abs(each[0] - patch).mean() for patch in train)
        assert 0 < distance < largest, kind


FLIPS = [
    (slice(None), slice(None, None, -1)),
    (slice(None, None, -1), slice(None)),
    (slice(None, None, -1), slice(None, None, -1)),
]


def test_at_least_95_percent_of_every_kind_of_near_copy_are_flagged_at_one_percent_false_positives(
    tissue: np.ndarray, train: np.ndarray
) -> None:
    audit = audit_copies(tissue[700:], train, tissue[400:700], PATIENTS)
    assert set(audit.caught) == {"exact", "noise", "blend", "brightness and contrast", "shift", "flip"}
    assert {kind: share.value for kind, share in audit.caught.items() if share.value < 0.95} == {}
    assert audit.proven
    assert audit.held_out_flagged.value <= 0.04  # 150 patches at a rate of 1 %
    # Held-out patches as "generated" are neither nearer to training nor farther.
    assert audit.generated_auc.value == pytest.approx(0.5, abs=0.05)
    assert audit.verdict == "no copies found"
    assert "no copies found" in audit.sentence


def test_copies_among_generated_patches_are_found_with_their_sources(
    tissue: np.ndarray, train: np.ndarray
) -> None:
    generated = tissue[700:].copy()
    generated[:20] = train[100:120, ::-1]
    audit = audit_copies(generated, train, tissue[400:700], PATIENTS)
    assert audit.verdict == "copies"
    found = dict(zip(audit.flagged.tolist(), audit.sources.tolist(), strict=True))
    assert {row: found.get(row) for row in range(20)} == {row: 100 + row for row in range(20)}
    assert audit.generated_flagged.value >= 20 / 300


def test_where_planted_copies_escape_nothing_is_proven(tissue: np.ndarray, train: np.ndarray) -> None:
    """Blurred by 8 pixels nothing is left of a copy that could be found; then nothing found means nothing."""
    erased = np.stack([ndimage.gaussian_filter(patch, 8) for patch in train[:50]])
    audit = audit_copies(
        tissue[700:], train, tissue[400:700], PATIENTS, planted={"exact": train[:50], "erased": erased}
    )
    assert not audit.proven
    assert audit.verdict == "not proven"
    assert audit.sentence.startswith("Not proven: of planted copies only these shares were caught: erased")
    assert audit.caught["exact"].value == 1


def test_larger_patches_are_reduced_first(tissue: np.ndarray) -> None:
    large = np.repeat(np.repeat(tissue[:40], 3, axis=1), 3, axis=2)
    detector = CopyDetector(large)
    shifted = np.roll(large[:10], 4, axis=2)
    found = detector(shifted[:, :, ::-1])
    assert found.rows.tolist() == list(range(10))
    assert found.likeness.min() > 0.9
    others = tissue[40:70][np.arange(40, 70) % 3 != 0]  # without air, whose edge is alike in all
    assert detector(np.repeat(np.repeat(others, 3, axis=1), 3, axis=2)).likeness.max() < 0.7


def test_a_featureless_patch_is_no_copy_of_another(tissue: np.ndarray) -> None:
    flat = np.full((1, 64, 64), 90, np.uint8)
    flat[0, 20, 20] += 1  # one grey level: rounding
    detector = CopyDetector(np.concatenate([tissue[:20], flat]))
    assert detector(flat).scores[0] < 0.5


def test_too_few_held_out_patches_are_refused_in_words(tissue: np.ndarray, train: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match=r"expected 99 or more for a rate of 1\.0%"):
        audit_copies(tissue[700:], train, tissue[400:450], np.arange(50))
    with pytest.raises(EvaluationError, match=r"300 held-out patches of 1 patients, of which at least 0 set"):
        audit_copies(tissue[700:], train, tissue[400:700], np.zeros(300))


def test_a_hundred_and_thirty_held_out_patients_are_enough(tissue: np.ndarray, train: np.ndarray) -> None:
    audit = audit_copies(tissue[700:720], train, tissue[400:530], np.arange(130))
    assert audit.proven
    assert audit.held_out_flagged.groups == 130  # each is judged once, by the threshold of others


def breasts(count: int, contrast: float, seed: int) -> np.ndarray:
    """Textures inside of outlines that differ in size alone."""
    generator = np.random.default_rng(seed)
    texture = power_law_patches(count, 64, 3.2, seed=seed).astype(np.float64) - 128
    y, x = np.mgrid[:64, :64]
    radius = 30 + generator.uniform(-8, 8, (count, 1, 1))
    inside = (x / 1.2) ** 2 + (y - 32) ** 2 < radius**2
    return np.where(inside, np.clip(np.rint(120 + contrast * texture), 1, 255), 0).astype(np.uint8)


def test_copies_of_breasts_whose_outlines_are_alike_are_found_though_they_were_moved() -> None:
    """Of 8 candidates in place of 64, a tenth of what was moved is not among them."""
    every = breasts(1100, 1.5, seed=5)
    audit = audit_copies(every[:20], every[:900], every[900:], np.arange(200))
    assert {kind: share.value for kind, share in audit.caught.items() if share.value < 0.95} == {}


def test_plain_breasts_are_seldom_taken_for_copies_for_an_outline_that_many_have() -> None:
    every, plain = breasts(600, 1.0, seed=6), breasts(60, 0.3, seed=7)
    detector = CopyDetector(every[:450])
    found, real = detector(plain), detector(every[450:])
    # By likeness alone they often are: little but an outline is like every outline.
    alike = (found.likeness > np.quantile(real.likeness, 0.99)).mean()
    assert alike > 0.25
    assert (found.scores > np.quantile(real.scores, 0.99)).mean() < alike / 2


def test_other_patches_of_the_same_patient_do_not_hide_a_copy(tissue: np.ndarray, train: np.ndarray) -> None:
    """Three of each patient, moved by a pixel: beside the source there are two more that are as like."""
    moved = np.concatenate([np.roll(train[:200], step, axis=2) for step in (0, 1, -1)])
    noise = np.random.default_rng(0).normal(0, 8, (20, 64, 64))
    copies = np.clip(np.rint(train[:20] + noise), 0, 255).astype(np.uint8)
    by_patient, by_patch = (
        CopyDetector(moved, np.tile(np.arange(200), 3))(copies),
        CopyDetector(moved)(copies),
    )
    assert by_patient.scores.min() > 0.7
    assert (by_patient.scores - by_patch.scores).min() > 0.2
    assert by_patient.likeness.tolist() == by_patch.likeness.tolist()
