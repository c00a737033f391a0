"""A name planted anywhere in the input is found nowhere in the output but in sources.csv."""

import base64
import csv
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from nlbs.shards import open_shards
from tests.conftest import some
from tests.reliability.canaries import (
    LETTERS,
    STRUCTURAL,
    break_element,
    contents,
    digits,
    found_in,
    letters,
    plant,
    value_of,
    write_table,
)
from tests.reliability.conftest import nlbs

CUT = ("--resolution", "64", "--stride", "64", "--jobs", "1")
#: Text, where numbers or known words belong: each makes a row fail or leaves a remark.
BROKEN = (
    *(name for name in STRUCTURAL if name != "PixelData"),
    "TransferSyntaxUID",
    "Modality",
    "ViewPosition",
)
ALL_DIGITS = {digits(number).encode() for number in range(10_000)}


@dataclass
class Planted:
    """What was built from planted files, and all that the commands said."""

    folder: Path
    roots: list[Path]
    said: str
    paths: list[str]
    planted: int


def _planted_rows(images: Path, tiny: Path) -> tuple[list[list[str]], int]:
    """Plants canaries in files and returns the rows of a table of them, good and bad, and how many canaries."""
    sources = sorted(tiny.rglob("*.dcm"))
    rows: list[list[str]] = []
    count = 0
    for number, source in enumerate(sources):
        path = f"{letters(910)}/{letters(920 + number // 4)}/{letters(930 + number)}.dcm"
        if number in (0, 1, 4):  # JPEG lossless, JPEG 2000, uncompressed
            count = plant(source, images / path)
        else:
            (images / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, images / path)
        age = ("97", "118", "90", "55", LETTERS, digits(7), "", "61")[number]
        flag = ("1", "0", letters(3), "")[number % 4]
        rows.append(
            [path, "LR"[number % 2], ("CC", letters(4))[number % 2], age, flag, "0", f"{letters(8)}{number}"]
        )
    for number, keyword in enumerate(BROKEN):
        path = f"{letters(911)}/{letters(921)}/{letters(940 + number)}.dcm"
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        break_element(sources[4], images / path, keyword)
        rows.append([path, "L", "CC", "50", "0", "0", letters(960 + number)])
    cut_short = f"{letters(911)}/{letters(912)}.dcm"
    (images / cut_short).write_bytes((images / rows[1][0]).read_bytes()[:-9000])
    (images / letters(913)).mkdir()
    (images / f"{letters(914)}.dcm").write_text(LETTERS * 99)
    bad = [
        cut_short,
        f"{letters(913)}",
        f"{letters(914)}.dcm",
        f"{letters(915)}.dcm",
        f"../{letters(916)}.dcm",
        "",
    ]
    bad += [f"/{letters(917)}", f"={letters(918)}", f"{letters(919)}\0", "x" * 5000 + LETTERS, rows[0][0]]
    rows += [[path, "L", "CC", "50", "0", "0", letters(8) + "0"] for path in bad]
    return rows, count


@pytest.fixture(scope="module")
def planted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Builds, recuts, looks at and verifies a set in which everything that can be is a canary."""
    folder = tmp_path_factory.mktemp("planted")
    images = folder / f"in-{LETTERS}"
    header = ["File Path", "Image Laterality", "View Position", "Age", "Cancer", "False Positive", "Patient"]
    header += [f"{LETTERS} notes", f"Born {digits(5)}"]
    unused = [letters(901), digits(902)]
    rows, count = _planted_rows(images, tiny)
    table = images / f"{letters(1)}.csv"
    write_table(table, header, [[*row, *unused] for row in rows] + [[rows[0][0], LETTERS]])

    key = folder / "key"
    key.write_text("5" * 64)
    temporary = folder / "tmp"
    temporary.mkdir()
    root, other = folder / "out-uint8", folder / "out-uint16"
    build = ("build-shards", "--csv", table, *CUT, "--patient-column", "patient", "--max-failures")
    any_number = (*build, "100%", "--out")
    first_line = folder / "no-header.csv"
    write_table(first_line, [*rows[0], *unused], [rows[1]])
    codes, said = nlbs(
        (*any_number, root),
        (*any_number, other, "--dtype", "uint16"),
        ("reshard", "--shards", root, "--resolution", "64", "--stride", "32", "--jobs", "1"),
        ("preview", "--shards", root / "r64-s64", "--out", root / "look", "--images", "3"),
        ("verify", "--shards", root / "r64-s64"),
        ("info", "--shards", root / "r64-s64"),
        (*build, "0", "--out", folder / "out-stopped"),
        ("build-shards", "--csv", first_line, "--out", folder / "out-headless", *CUT),
        umask=0,
        NLBS_KEY_FILE=str(key),
        TMPDIR=str(temporary),
    )
    assert codes == [0] * 6 + [1] * 2, said
    assert not list(temporary.rglob("*"))
    return Planted(folder, [root, other], said, [row[0] for row in rows], count)


def test_canaries_were_planted_in_thousands_of_elements_and_the_images_were_still_decoded(
    planted: Planted,
) -> None:
    assert planted.planted > 3000
    for root in planted.roots:
        with (root / "images.csv").open(newline="") as file:
            statuses = [row["status"] for row in csv.DictReader(file)]
        assert statuses[:8] == ["ok"] * 8
        assert {"bad_row", "bad_header", "unsafe_path", "missing_file", "not_dicom", "truncated"} <= set(
            statuses
        )


def test_no_canary_is_in_any_output_in_any_encoding_but_in_sources_csv(planted: Planted) -> None:
    leaks, files = [], 0
    for root in sorted(planted.folder.glob("out-*")):
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            leaks += [f"the name {name}: {how}" for how in found_in(name.encode(), ALL_DIGITS)]
            if path.is_file() and name != "sources.csv":
                files += 1
                for what, data in contents(path):
                    leaks += [f"{what} of {name}: {how}" for how in found_in(data, ALL_DIGITS)]
    assert leaks == []
    assert files > 60


def test_no_canary_is_in_what_the_commands_say_beside_the_folders_they_were_given(planted: Planted) -> None:
    said = planted.said.replace(str(planted.folder / f"in-{LETTERS}"), "")
    assert found_in(said.encode(), ALL_DIGITS) == set(), said


def test_sources_csv_names_them_and_only_its_owner_reads_it_whatever_the_umask(planted: Planted) -> None:
    for root in some(planted.roots):
        path = root / "sources.csv"
        assert path.stat().st_mode & 0o777 == 0o600
        assert letters(930) in path.read_text(encoding="utf-8")
        others = [other for other in root.rglob("*") if other.is_file() and other != path]
        assert any(other.stat().st_mode & 0o044 for other in others)  # the umask was 0


def test_ages_above_89_are_one_age(planted: Planted) -> None:
    for root in some(planted.roots):
        with (root / "images.csv").open(newline="") as file:
            ages = [row["age_years"] for row in csv.DictReader(file)][:8]
        assert ages == ["90", "90", "90", "55", "47", "47", "47", "61"]  # 47: of the header
        with open_shards(root / "r64-s64") as shards:
            assert max(age for age in shards.manifest["age_years"].to_pylist() if age is not None) == 90


def test_ids_are_no_plain_hash_of_what_is_known_and_differ_under_another_key(
    planted: Planted, tmp_path: Path
) -> None:
    root = planted.roots[0]
    with (root / "images.csv").open(newline="") as file:
        ids = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    known = {str(number) for number in range(20)}
    for path in planted.paths:
        full = planted.folder / f"in-{LETTERS}" / path if "\0" not in path else path
        known |= {
            path,
            str(full),
            path.replace("/", "\\"),
            Path(path).name,
            Path(path).stem,
            Path(path).parent.name,
        }
    known |= {f"{letters(8)}{number}" for number in range(9)}
    hashes = set()
    for text in known | {f"nlbs image {text}" for text in known} | {f"nlbs patient {text}" for text in known}:
        for name in hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}:
            digest = hashlib.new(name, text.encode(), usedforsecurity=False)
            hashes |= {digest.hexdigest(), base64.b64encode(digest.digest()).decode()}
    for row in some(ids):
        for found in (row["image"], row["patient"].removeprefix("p")):
            assert not any(found in digest for digest in hashes)
    (tmp_path / "key").write_text("6" * 64)
    table = next((planted.folder / f"in-{LETTERS}").glob("*.csv"))
    build = ("build-shards", "--csv", table, "--out", tmp_path / "s", *CUT, "--patient-column", "patient")
    build += ("--max-failures", "100%")
    codes, said = nlbs((*build, "--key-file", tmp_path / "key"))
    assert codes == [0], said
    with (tmp_path / "s" / "images.csv").open(newline="") as file:
        others = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    for column in ("image", "patient"):
        assert not {row[column] for row in ids} & {row[column] for row in others}


@pytest.mark.parametrize("encode", ["utf-8", "utf-16-le", "utf-16-be", "latin-1"])
def test_the_search_finds_a_canary_in_every_encoding(encode: str) -> None:
    noise = os.urandom(999).replace(b"7391", b"0000")
    for text in (letters(5), letters(5).lower(), letters(5)[::-1], digits(12)):
        assert found_in(noise + text.encode(encode) + noise, ALL_DIGITS)
    for shift in range(3):
        for data in (letters(5).encode(), letters(5).lower().encode()):
            assert found_in(base64.b64encode(b"." * shift + data + b"..."), ALL_DIGITS)
    assert found_in(letters(7).encode().hex().encode(), ALL_DIGITS)
    assert value_of("PN", 1) is not None
