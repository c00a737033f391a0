"""Patients are divided as asked, each into one split, and stay where they are."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import ConfigError
from nlbs.manifests.people.splits import SPLITS, assign_splits, parse_shares
from tests.conftest import some

PATIENTS = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=60)
SHARES = (
    st.tuples(*[st.sampled_from([0, 0, 1, 10, 80])] * 3)
    .filter(any)
    .map(lambda parts: tuple(part / sum(parts) for part in parts))
)
SEEDS = st.integers(0, 1000)
USUAL = (0.8, 0.1, 0.1)


def place_by_the_book(seed: int, patient: str) -> float:
    """The documented place of a patient on [0, 1): the first 56 bits of a SHA-256."""
    return int(hashlib.sha256(f"nlbs split {seed} {patient}".encode()).hexdigest()[:14], 16) / 16**14


@given(patients=PATIENTS, shares=SHARES, seed=SEEDS)
def test_every_patient_stands_in_one_split_that_was_asked_for(
    patients: list[str], shares: tuple[float, float, float], seed: int
) -> None:
    splits = assign_splits(patients, shares, seed)
    assert set(splits) == set(patients)
    wanted = {split for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    if len(set(patients)) >= len(wanted):
        assert set(splits.values()) == wanted  # each share that is not empty has at least one


@given(patients=PATIENTS, shares=SHARES, seed=SEEDS, data=st.data())
def test_neither_order_nor_repeats_of_patients_matter(
    patients: list[str], shares: tuple[float, float, float], seed: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(patients * 2))
    assert assign_splits(shuffled, shares, seed) == assign_splits(patients, shares, seed)


@pytest.mark.parametrize("shares", [USUAL, (0.5, 0.25, 0.25), (0.0, 0.5, 0.5), (0.9, 0.0, 0.1)])
def test_a_large_set_is_divided_by_the_documented_hash_at_the_shares(
    shares: tuple[float, float, float],
) -> None:
    splits = assign_splits((f"patient {number}" for number in range(2000)), shares, 7)
    for patient, split in some(splits.items()):
        place = place_by_the_book(7, patient)
        expected = "train" if place < shares[0] else "val" if place < shares[0] + shares[1] else "test"
        assert split == expected
    for split, share in zip(SPLITS, shares, strict=True):
        # Within four standard deviations of a binomial draw.
        assert (
            abs(list(splits.values()).count(split) - 2000 * share) <= 4 * (2000 * share * (1 - share)) ** 0.5
        )


def test_nobody_moves_when_patients_are_added_to_a_large_set() -> None:
    before = assign_splits((f"p{number}" for number in range(500)), USUAL, 0)
    after = assign_splits((f"p{number}" for number in range(1000)), USUAL, 0)
    assert before.items() <= after.items()


def test_another_seed_divides_otherwise() -> None:
    patients = [f"p{number}" for number in range(100)]
    assert assign_splits(patients, USUAL, 0) != assign_splits(patients, USUAL, 1)


@given(seed=SEEDS)
def test_few_patients_fill_train_first_then_val(seed: int) -> None:
    assert assign_splits(["a"], USUAL, seed) == {"a": "train"}
    assert sorted(assign_splits(["a", "b"], USUAL, seed).values()) == ["train", "val"]
    assert sorted(assign_splits(["a", "b", "c"], USUAL, seed).values()) == ["test", "train", "val"]
    assert assign_splits(["a"], (0.0, 0.0, 1.0), seed) == {"a": "test"}


@given(seed=SEEDS, count=st.integers(3, 30))
def test_an_empty_split_takes_one_patient_and_the_others_stay(seed: int, count: int) -> None:
    patients = [f"p{number}" for number in range(count)]
    splits = assign_splits(patients, USUAL, seed)
    by_hash = {
        patient: "train" if place < 0.8 else "val" if place < 0.9 else "test"
        for patient, place in ((patient, place_by_the_book(seed, patient)) for patient in patients)
    }
    empty = len(set(SPLITS) - set(by_hash.values()))
    assert sum(splits[patient] != by_hash[patient] for patient in patients) == empty


def test_it_is_the_nearest_patient_of_the_largest_split_who_moves() -> None:
    patients = [f"p{number}" for number in range(10)]
    seeds = 0
    for seed in range(200):
        places = {patient: place_by_the_book(seed, patient) for patient in patients}
        if max(places.values()) >= 0.9 or sum(place < 0.8 for place in places.values()) < 6:
            continue
        largest = {patient: place for patient, place in places.items() if place < 0.8}
        splits = assign_splits(patients, USUAL, seed)
        if len(largest) < len(patients):  # val is not empty, so test alone takes one
            assert [p for p in patients if splits[p] == "test"] == [max(largest, key=largest.__getitem__)]
            seeds += 1
    assert seeds > 20


def test_nobody_is_divided_into_nothing() -> None:
    assert assign_splits([], USUAL, 0) == {}


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("80/10/10", (0.8, 0.1, 0.1)),
        (" 8 / 1 / 1 ", (0.8, 0.1, 0.1)),
        ("1/0/0", (1.0, 0.0, 0.0)),
        ("0.5/0.25/0.25", (0.5, 0.25, 0.25)),
    ],
)
def test_shares_are_parts_of_their_sum(text: str, shares: tuple[float, float, float]) -> None:
    assert parse_shares(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    "text", ["", "80", "80/20", "80/10/5/5", "80,10,10", "a/b/c", "-80/10/10", "nan/1/1", "80//10"]
)
def test_what_is_not_three_shares_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"--split '{text}' is not three shares such as 80/10/10"):
        parse_shares(text)


@pytest.mark.parametrize("text", ["0/0/0", "9" * 400 + "/1/1"])
def test_shares_that_give_nobody_to_any_split_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="use for example 80/10/10"):
        parse_shares(text)


def test_patients_who_stand_in_a_split_stay_there_when_others_join() -> None:
    everybody = [f"patient {number}" for number in range(200)]
    by_hash = assign_splits(everybody, (0.8, 0.1, 0.1), 0)
    known = {"patient 3": "test", "patient 4": "val", "patient 5": "train"}
    joined = assign_splits(everybody, (0.8, 0.1, 0.1), 0, known)
    assert joined == by_hash | known
    newcomer = next(patient for patient, split in by_hash.items() if split == "test")
    assert assign_splits([newcomer], (0.8, 0.1, 0.1), 0, known) == {newcomer: "test"}
