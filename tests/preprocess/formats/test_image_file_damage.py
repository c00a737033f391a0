"""Damaged files: an image error or an honest image, never a crash, a hang or another exception."""

from tests.preprocess.mutations import DAMAGES, guarded


def test_a_damaged_file_is_an_image_error_or_an_honest_image() -> None:
    count = 14 * len(DAMAGES) // 2  # half of the kinds of damage in each of the 14 files
    counts, complaints = guarded(seed=3, count=count)
    assert not complaints, "\n".join(complaints)
    assert sum(counts.values()) == count
    assert len(counts) >= 5  # the damage does strike
