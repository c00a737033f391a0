"""Commit records, of which a build continues."""

import json
from pathlib import Path
from typing import Any

import pytest

from nlbs.shards.format.commit import read_part

HOSTILE_PARTS: list[dict[str, Any]] = [
    {"entry": {"bytes": "1", "crc32c": 0}},
    {"entry": []},
    {"entry": {"bytes": -1, "crc32c": 0}},
    {"columns": []},
    {"entry": {"bytes": 1, "crc32c": 0, "name": "../x"}},
    {"columns": {"offset": [1]}},
    {"columns": {"offset": ["x"], "nbytes": [1], "crc32c": [1]}},
    {"columns": {"offset": [1], "nbytes": [1, 2], "crc32c": [1]}},
    {"columns": {"offset": [1 << 63], "nbytes": [1], "crc32c": [1]}},
    {"columns": {"offset": [1], "nbytes": [True], "crc32c": [1]}},
]


@pytest.mark.parametrize("change", HOSTILE_PARTS)
def test_a_commit_record_that_is_none_is_as_one_that_is_not_there(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    good = {
        "dataset_id": "0" * 32,
        "entry": {"bytes": 1, "crc32c": 0},
        "columns": {"offset": [1], "nbytes": [1], "crc32c": [1], "image": ["a"]},
    }
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "00000.json").write_text(json.dumps(good), encoding="utf-8")
    assert read_part(tmp_path, 0) == good
    (tmp_path / "parts" / "00000.json").write_text(json.dumps({**good, **change}), encoding="utf-8")
    assert read_part(tmp_path, 0) is None
