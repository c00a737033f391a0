import pytest
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import NLBS
from nlbs.models.guidance import Guidance, as_guidance, parsed_guidance
from tests.cvae.conftest import codes

EFFECTS = {"view": 1.0, "laterality": 10.0, "age_bin": 100.0, "cancer": 1000.0, "false_positive": 10000.0}


def additive(some: dict[str, Tensor], times: int) -> list[Tensor]:
    """A network to which each condition that is known adds its own effect, on top of 7."""
    known = {name: (some[name] != UNKNOWN).float() for name in NLBS.names}
    assert len(some["view"]) % times == 0
    return [7 + torch.stack([EFFECTS[name] * known[name] for name in NLBS.names]).sum(dim=0)]


@pytest.mark.parametrize(
    ("guidance", "strengths"),
    [
        (Guidance(), {}),
        (Guidance(2.5), dict.fromkeys(NLBS.names, 2.5)),
        (Guidance(1, {"cancer": 3}), {"cancer": 3}),
        (Guidance(1.5, {"cancer": 4, "view": 0}), dict.fromkeys(NLBS.names, 1.5) | {"cancer": 4, "view": 0}),
        (Guidance(0), dict.fromkeys(NLBS.names, 0)),
    ],
)
def test_where_effects_add_up_each_condition_has_its_own_strength(
    guidance: Guidance, strengths: dict[str, float]
) -> None:
    expected = 7 + sum(effect * strengths.get(name, 1) for name, effect in EFFECTS.items())
    (found,) = guidance.follow(codes(1, 0, 3, 1, 0), additive)
    assert found.item() == pytest.approx(expected)


def test_a_condition_that_is_unknown_is_not_guided_by() -> None:
    (found,) = Guidance(2, {"cancer": 5}).follow(codes(1, 0, 3, UNKNOWN, 0), additive)
    assert found.item() == pytest.approx(7 + 2 * (1 + 10 + 100 + 10000))


def test_guidance_of_one_asks_once_and_changes_no_bit() -> None:
    asked = []

    def predict(some: dict[str, Tensor], times: int) -> list[Tensor]:
        asked.append(times)
        return [torch.full((len(some["view"]),), 0.1)]

    (found,) = Guidance().follow(codes(1, 0, 3, 1, 0), predict)
    assert asked == [1]
    assert found.item() == torch.tensor(0.1).item()


def test_what_is_asked_for_as_usual_takes_no_pass_of_its_own() -> None:
    assert Guidance(2, {"cancer": 2, "view": 2}).terms(NLBS.names) == Guidance(2).terms(NLBS.names)
    assert len(Guidance(1, {"cancer": 3}).terms(NLBS.names)) == 2
    assert len(Guidance(1.5, {"cancer": 3}).terms(NLBS.names)) == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("3", Guidance(3)),
        ("1.5, cancer=3", Guidance(1.5, {"cancer": 3})),
        ("false-positive=2", Guidance(1.25, {"age_bin": 1, "false_positive": 2})),
        ("age_bin=2", Guidance(1.25, {"age_bin": 2})),
    ],
)
def test_guidance_is_read_from_words(words: str, expected: Guidance) -> None:
    assert parsed_guidance(words, Guidance(1.25, {"age_bin": 1}), NLBS) == expected


def test_words_of_a_guidance_are_read_as_that_guidance() -> None:
    for guidance in (Guidance(2), Guidance(1.5, {"cancer": 3, "view": 0.5})):
        assert parsed_guidance(str(guidance), Guidance(9), NLBS) == guidance


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("much", "'much' is no number"),
        ("", "'' is no number"),
        ("1,2", "two numbers have no name"),
        ("cancer=1,cancer=2", "cancer stands twice"),
        ("cancr=2", "cannot guide by 'cancr': there is no condition 'cancr'; did you mean 'cancer'"),
        ("-1", "expected 0 or more"),
        ("cancer=-2", "a guidance of cancer of -2 is asked for"),
        ("nan", "expected 0 or more"),
        ("inf", "expected 0 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed_guidance(words, Guidance(), NLBS)


def test_a_number_is_the_guidance_of_all_conditions() -> None:
    assert as_guidance(2) == Guidance(2)
    assert as_guidance(Guidance(2, {"view": 1})).of == {"view": 1}
