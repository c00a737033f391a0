"""Cards as models and shard sets have them; blocks are tried with those of a model (tests/models/test_card.py)."""

from nlbs.card import licence_of, markdown


def test_no_value_can_be_taken_for_markup() -> None:
    text = markdown({"Findings | all": {"labels": "Mass|Nodule", "word": "<!-- nlbs-cvae: end -->\n# x"}})
    assert text == (
        "**Findings \\| all**\n\n|  |  |\n|---|---|\n| labels | Mass\\|Nodule |\n"
        "| word | &lt;!-- nlbs-cvae: end --> # x |\n"
    )


def test_a_licence_is_that_of_the_first_lines_alone() -> None:
    assert licence_of("---\nlicense: cc-by-4.0  # said\n---\n") == "cc-by-4.0"
    assert licence_of('---\ntags:\n- x\nlicence: "mit"\n---\n') == "mit"
    assert licence_of("# x\n\nlicense: mit\n") == licence_of("---\ntags:\n---\nlicense: mit\n") == "unknown"
