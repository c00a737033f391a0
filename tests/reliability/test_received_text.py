"""Text in what somebody else sends: read within bounds, told in one sentence, never an order to a terminal or shell."""

import shlex
import shutil
from pathlib import Path

import pytest

from nlbs.errors import DatasetError, NlbsError, ShardError
from nlbs.generate.folder import read_record
from nlbs.manifests.tables.extras import parse_findings
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.report.page import _commands
from nlbs.preprocess.root.tables import _harmless, plain_cell
from nlbs.preprocess.sets.repair import _what_was_cut
from nlbs.preprocess.to_dicom import _record_of
from nlbs.shards import open_shards
from nlbs.shards.format.commit import read_part
from nlbs.shards.format.layout import how_to_restore, read_shard_set_json
from tests.conftest import some
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
    for done in some(
        commands(
            [("info", "--shards", folder), ("verify", "--shards", folder), ("info", "--shards", tmp_path)]
        )
    ):
        assert done.code == 0, done
        assert not set(done.said) & {*STEERING, "\x1b"}


def test_a_command_that_is_offered_is_one_line_whatever_a_folder_is_called(
    tiny_root: Path, tmp_path: Path
) -> None:
    name = "x'; touch owned; $(touch owned) `touch owned` #"
    folder = tmp_path / name / "r64; touch owned"
    shutil.copytree(tiny_root / SET, folder)
    (tmp_path / name / "images.zarr").mkdir()
    (tmp_path / name / "images.csv").touch()
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
