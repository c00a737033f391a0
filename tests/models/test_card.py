"""The model card: what programs own of it, and what a person does."""

from pathlib import Path

import pytest

from nlbs.card import licence_of
from nlbs.models.card import (
    complete_card,
    identity,
    is_of,
    new_card,
    told_filter,
    update_card,
    verdict_of,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file in the place of a model: a card says nothing but its digest."""
    path = tmp_path / "best_model.safetensors"
    path.write_bytes(b"weights")
    return path


def facts(model: Path, epochs: int = 1) -> dict[str, dict[str, object]]:
    return {"Training": {"model": identity(model), "epochs": epochs}}


def test_a_card_is_made_and_completed_and_says_what_is_not_known(model: Path) -> None:
    assert complete_card(model, {"realism": {"": "x"}}) is None  # there is none
    card = update_card(model, "toy", facts(model))
    assert card == model.parent / "README.md"
    text = card.read_text()
    assert (licence_of(text), verdict_of(text)) == ("unknown", "not audited")
    assert is_of(text, identity(model))
    assert "**Not for diagnosis**" in text
    assert text.count("Not measured yet") == 5
    figures = {
        "memorisation": {"": "**Copies of training patches: not proven.**"},
        "galleries": {"": "pictures"},
    }
    assert complete_card(model, figures) == card
    assert verdict_of(card.read_text()) == "not proven"
    assert "pictures" not in card.read_text()


def test_what_a_person_writes_stays_and_what_a_person_takes_out_stays_out(model: Path) -> None:
    card = update_card(model, "toy", facts(model))
    assert card is not None
    edited = (
        card.read_text()
        .replace("license: unknown", "license: mit")
        .replace("## Figures", "## Mine\n\nMy words.")
    )
    begin, end = edited.index("<!-- nlbs-cvae: utility"), edited.index("### Memorisation")
    card.write_text(edited[:begin] + edited[end:])
    complete_card(
        model, {"realism": {"Distance": [["", "d"], ["drawn", "2.0 [1.0, 3.0]"]]}, "utility": {"": "gone"}}
    )
    update_card(model, "toy", facts(model, epochs=7))
    text = card.read_text()
    assert licence_of(text) == "mit"
    assert "My words." in text
    assert "| epochs | 7 |" in text
    assert "| drawn | 2.0 \\[1.0, 3.0\\] |" in text  # figures of these weights stay
    assert "gone" not in text


def test_figures_of_other_weights_go(model: Path) -> None:
    update_card(model, "toy", facts(model))
    complete_card(model, {"memorisation": {"": "**Copies of training patches: no copies found.**"}})
    model.write_bytes(b"other weights")
    assert complete_card(model, {"realism": {"": "of others"}}) is None
    card = update_card(model, "toy", facts(model))
    assert card is not None
    assert verdict_of(card.read_text()) == "not audited"


def test_a_stage_that_is_fitted_anew_is_another_model(model: Path) -> None:
    before = identity(model)
    model.with_name("best_model.flow.safetensors").write_bytes(b"flow")
    assert identity(model).startswith(f"{before}, flow ")
    assert not is_of(new_card("toy", {"Training": {"model": identity(model)}}), before)


@pytest.mark.parametrize("text", ["# My project\n", "\xff\n"])
def test_a_readme_of_somebody_else_is_left(model: Path, text: str) -> None:
    path = model.parent / "README.md"
    path.write_bytes(text.encode("latin-1"))
    assert update_card(model, "toy", facts(model)) is None
    assert complete_card(model, {"realism": {"": "x"}}) is None
    assert path.read_bytes() == text.encode("latin-1")


def test_a_mark_that_lost_its_end_swallows_nothing(model: Path) -> None:
    card = update_card(model, "toy", facts(model))
    assert card is not None
    broken = card.read_text().replace("<!-- nlbs-cvae: end -->", "", 1)
    card.write_text(broken)
    update_card(model, "toy", facts(model, epochs=7))
    assert "## Figures" in card.read_text()
    assert "| epochs | 1 |" in card.read_text()


def test_no_filter_tells_who_is_in_the_data() -> None:
    assert told_filter(None) == "all patches"
    assert told_filter("view == 'MLO'") == "view == 'MLO'"
    assert told_filter("patient == 'p0123' and cancer == 1") == "some patients or images"
