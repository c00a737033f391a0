"""Text in what somebody else sends: read within bounds, told in one sentence, never an order to a terminal or shell."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nlbs.config import read_yaml
from nlbs.errors import ConfigError, DatasetError, NlbsError, ShardError
from nlbs.files import read_json
from nlbs.generate.folder import read_record
from nlbs.json_text import MOST_DEPTH, parse_json
from nlbs.manifests.tables.extras import parse_findings
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.report.page import _commands
from nlbs.preprocess.root.tables import _harmless, plain_cell
from nlbs.preprocess.sets.repair import _what_was_cut
from nlbs.preprocess.to_dicom import _record_of
from nlbs.shards import open_shards
from nlbs.shards.format.commit import read_part
from nlbs.shards.format.layout import how_to_restore, read_shard_set_json
from nlbs.text import PrintableStream, printable, shown
from nlbs.yaml_text import parse_yaml
from tests.reliability.received import SET, change_description, commands, is_refused

NESTED = "[" * 100_000
HOSTILE = {
    "lists": NESTED,
    "objects": '{"a":' * 100_000,
    "closed": "[" * 500 + "]" * 500,
    "a number of 5000 digits": '{"a": ' + "1" * 5000 + "}",
    "1e999": '{"a": 1e999}',
    "NaN": '{"a": NaN}',
    "Infinity": '{"a": [-Infinity]}',
    "66 bits": f'{{"a": {1 << 65}}}',
    "a key twice": '{"a": 1, "a": 2}',
    "half a surrogate pair": '{"a": "\\ud800"}',
    "a key of half a surrogate pair": '{"\\udfff": 1}',
    "cut off": '{"a": [1, 2',
    "nothing": "",
    "words": "no JSON",
}


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
    for value in values:
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


@pytest.mark.parametrize("what", HOSTILE)
def test_every_reader_of_json_survives_it(tiny_root: Path, tmp_path: Path, what: str) -> None:
    root, text = tmp_path / "shards", HOSTILE[what]
    shutil.copytree(tiny_root, root)
    folder = root / SET
    (folder / "parts").mkdir()
    (folder / "parts" / "00000.json").write_text(text, encoding="utf-8")
    assert read_part(folder, 0) is None
    (folder / "samples.json").write_text(text, encoding="utf-8")
    assert read_record(folder) is None
    image = next(path.name for path in (root / "images.zarr").iterdir() if path.is_dir())
    (root / "images.zarr" / image / "zarr.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match="is damaged"):
        ImageStore(root / "images.zarr").record(image)
    (tmp_path / "samples.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match="does not say that its patches are synthetic"):
        _record_of(tmp_path)
    (folder / "shard_set.json").write_text(text, encoding="utf-8")
    _what_was_cut(folder)
    with pytest.raises(ShardError, match="cannot read"):
        read_shard_set_json(folder)


def test_a_bad_set_beside_it_stops_no_good_one(tiny: Path, tiny_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(tiny_root, root)
    for number, text in enumerate(HOSTILE.values()):
        shutil.copytree(root / SET, root / f"bad-{number}")
        (root / f"bad-{number}" / "shard_set.json").write_text(text, encoding="utf-8")
    info, report, verify, convert, append = commands(
        [
            ("info", "--shards", root / SET),
            ("report", "--shards", root / SET, "--out", tmp_path / "report.html"),
            ("verify", "--shards", root / SET),
            ("convert", "--shards", root / SET, "--to", "zarr"),
            ("append", "--csv", tiny / "meta.csv", "--out", root, "--jobs", "1"),
        ]
    )
    for done in (info, report, verify, convert, append):
        assert done.code == 0, done.said
    assert info.said.count("which cannot be read") == len(HOSTILE)


def test_yaml_that_repeats_itself_is_counted_before_it_is_built(tmp_path: Path) -> None:
    aliases = "a0: &a0 {k: v}\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    merges = "a0: &a0 {k: v}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}\n" for n in range(1, 12)
    )
    hostile = {
        aliases: "values",
        merges: "values",
        "[" * 5000: "deep",
        "&a [*a]": "itself",
        "a: 1\na: 2": "twice",
        "a: " + "1" * 5000: "a number of 5,000",
        "a: 0x" + "f" * 5000: "a number",
        "a: 2020-13-45": "month",
        "!!python/object/apply:os.system [ls]": "tag",
        "? [a]\n: 1": "unhashable",
        "a: 1\n---\nb: 2": "single document",
        "a: \0": "special characters",
        "x" * (1 << 17): "characters|bytes",
        "a: &x 1\nb: *y": "undefined alias",
    }
    for text, why in hostile.items():
        with pytest.raises(ValueError, match=why):
            parse_yaml(text)
        (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match="cannot read the configuration") as caught:
            read_yaml(tmp_path / "c.yaml")
        assert len(str(caught.value)) < 1000
        assert printable(str(caught.value)) == str(caught.value)


def test_good_yaml_is_what_the_library_makes_of_it() -> None:
    for text in (
        "a: 1\nb: [x, 2.5, null, true]\n",
        "x: &d {a: 1}\ny: {<<: *d, b: 2}\nz: [*d, *d]",
        "- a\n- b\n",
        "",
        "x: &a {p: 1}\ny: &b {q: 2}\nz: {<<: [*a, *b], p: 3}",
        "d: 2020-01-02\ns: '0x10'\nn: -1e-3\n",
    ):
        assert parse_yaml(text) == yaml.safe_load(text)


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


# --- What is shown -----------------------------------------------------------------------------------------

STEERING = [
    "\x1b[2J",
    "\x9b31m",
    "\x07",
    "\r",
    "\u202e",
    "\u2066",
    "\u200f",
    "\ud800",
    "\u2028",
    "\0",
    "\x7f",
    "\x85",
]


@pytest.mark.parametrize("mark", STEERING)
def test_nothing_that_steers_a_terminal_is_shown(mark: str) -> None:
    for text in (printable(f"a{mark}b"), shown(f"a{mark}b")):
        assert mark not in text
        assert text.isprintable()
    assert printable("Brüste 乳房 ثدي\n", keep="\n") == "Brüste 乳房 ثدي\n"


def test_a_value_in_a_message_is_bounded() -> None:
    for value in (10**5000, -(10**5000), "x" * 10**6, ["x"] * 10**6, {"a": 1}, b"x" * 10**6, 1e300, None):
        assert len(shown(value)) < 400


def test_what_a_command_says_is_printable_wherever_the_words_came_from(
    tiny_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r64\x1b[31m-s64\u202e"
    shutil.copytree(tiny_root / SET, folder)
    change_description(folder, lambda info: info["parameters"].update({"mode": "\x1b]0;owned\x07"}))
    (refused,) = commands([("info", "--shards", folder)])
    assert is_refused(refused), refused
    change_description(
        folder, lambda info: info["parameters"].update({"mode": "patches", "x\x1b": "\x9b31m"})
    )
    for done in commands(
        [("info", "--shards", folder), ("verify", "--shards", folder), ("info", "--shards", tmp_path)]
    ):
        assert done.code == 0, done
        assert not set(done.said) & {*STEERING, "\x1b"}


def test_a_stream_escapes_what_its_encoding_lacks() -> None:
    code = "from nlbs.text import PrintableStream as P; import sys; print('\\u4e73 \\x1b \\ud800', file=P(sys.stdout))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", **_path()},
    )
    assert done.stdout == b"\\u4e73 \\x1b \\ud800\n"
    assert PrintableStream(sys.stdout).isatty() == sys.stdout.isatty()


def _path() -> dict[str, str]:
    import os

    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}


def test_a_command_that_is_offered_is_one_line_whatever_a_folder_is_called(
    tiny_root: Path, tmp_path: Path
) -> None:
    name = "x'; touch owned; $(touch owned) `touch owned` #"
    folder = tmp_path / name / "r64; touch owned"
    shutil.copytree(tiny_root / SET, folder)
    (tmp_path / name / "images.zarr").mkdir()
    with open_shards(folder) as shards:
        offered = _commands(folder.parent, folder, shards)
    assert len(offered) >= 8
    for line in (*offered, how_to_restore(folder)):
        words = shlex.split(line)
        assert {str(folder), str(folder.parent)} & set(words), line
        assert not {"touch", ";", "owned"} & set(words)


# --- Cells -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "[[['a'], 1]]",
        "[['a'], 1]",
        "[{'a': 1}]",
        "[{[]: 1}]",
        "[{}]",
        "[1, [2]]",
        "[" * 9000,
        "[" + "-" * 9000 + "1]",
        "[b'a']",
        "['a'",
        "[a]",
        "[1" + "0" * 5000 + "]",
        "[x for x in y]",
        "[__import__('os')]",
        "[()]",
        "['a'] + ['b']",
        "[{1, 2}]",
        "[..., 1]",
    ],
)
def test_a_cell_that_is_no_list_of_findings_costs_its_row_alone(cell: str) -> None:
    with pytest.raises(ValueError, match="is no list of findings") as caught:
        parse_findings(cell)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("['Mass', 'Nodule']", "Mass|Nodule"),
        ("[1, 2]", "1|2"),
        ("[None]", None),
        ("[]", None),
        ("['a\\d']", "a\\d"),
        ("Mass|Nodule", "Mass|Nodule"),
        ("['Mass', None]", "Mass"),
    ],
)
def test_lists_of_findings_are_read_as_before(cell: str, expected: str | None) -> None:
    assert parse_findings(cell) == expected


@pytest.mark.parametrize(
    "text", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝cmd()", "＋1", "－1", "＠x"]
)
def test_no_cell_nor_header_is_a_formula_in_any_width(text: str) -> None:
    assert _harmless(text) == f"'{text}"
    assert plain_cell(f"'{text}") == text


def test_errors_of_received_data_are_errors_that_a_command_explains() -> None:
    assert issubclass(ShardError, NlbsError)
    assert issubclass(DatasetError, NlbsError)
