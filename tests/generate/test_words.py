"""What captions say of a patch.

Also covers: manifests/captions.py.
"""

import pytest

from nlbs.generate.words import caption, code_of, codes_of, in_words


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


def test_a_view_that_says_a_side_too_is_refused_and_never_loses_it() -> None:
    with pytest.raises(ValueError, match="a view and a side"):
        code_of("view", "LCC")
    with pytest.raises(ValueError, match="expected CC or MLO"):
        code_of("view", "banana")
    assert code_of("view", "mlo") == 1
