"""What captions say of a patch."""

import pytest

from nlbs.generate.words import caption, codes_of, in_words


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [
        ("cancer=no,false_positive=no", "normal"),
        ("cancer=yes,false_positive=no", "cancer"),
        ("cancer=no,false_positive=yes", "false positive"),
        ("cancer=no", "no cancer, false positive?"),
        ("cancer=yes", "cancer, false positive?"),
        ("false_positive=no", "cancer?, no false positive"),
        ("", "cancer?, false positive?"),
    ],
)
def test_a_caption_keeps_unknown_apart_from_no(conditions: str, shown: str) -> None:
    assert caption(in_words(codes_of(f"view=CC,age=66,{conditions}"))) == f"CC side? >65\n{shown}"
