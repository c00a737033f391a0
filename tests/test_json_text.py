"""JSON that may come from anywhere: bounded before it is read, and in what it says."""

import json
from pathlib import Path
from typing import Any

import pytest

from nlbs.files import read_json
from nlbs.json_text import MOST_DEPTH, parse_json
from tests.conftest import some
from tests.reliability.test_received_text import HOSTILE


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_json_is_one_bounded_sentence(what: str, tmp_path: Path) -> None:
    for text in (HOSTILE[what], HOSTILE[what].encode()):
        with pytest.raises(ValueError, match=r"^it ") as caught:
            parse_json(text)
        assert len(str(caught.value)) < 200
    (tmp_path / "x.json").write_text(HOSTILE[what], encoding="utf-8")
    with pytest.raises(ValueError, match=r"^it "):
        read_json(tmp_path / "x.json")


def test_good_json_is_what_the_standard_library_makes_of_it() -> None:
    values: list[Any] = [
        {"a": [1, 2.5, None, True, "ü\u202e"], "b": {"c": []}},
        [],
        {},
        3,
        "x",
        None,
        True,
        [0.1] * 1000,
        [1, "a", None, 2.0],
        -(2**63),
        2**64 - 1,
        [[[]]],
        {"": ""},
    ]
    for value in some(values):
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            assert parse_json(text) == json.loads(text) == value
    deep: Any = 1
    for _ in range(MOST_DEPTH):
        deep = [deep]
    assert parse_json(json.dumps(deep)) == deep
    with pytest.raises(ValueError, match="deep"):
        parse_json(json.dumps([deep]))


def test_a_file_that_is_too_large_or_no_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    import os

    (tmp_path / "large").write_bytes(b" " * 1001)
    with pytest.raises(ValueError, match="it has 1,001 bytes, at most 1,000 are read"):
        read_json(tmp_path / "large", 1000)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_json(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")
