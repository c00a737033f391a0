"""All public datasets: each table is told by its columns, however it was saved; none is taken for another.

Also covers: manifests/tables/dialect.py.
"""

from pathlib import Path

import pytest

from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.tables.dialect import EXTRA_PARSERS
from nlbs.manifests.tables.dialects import DIALECTS
from tests.manifests.datasets.tables import (
    BREASTS,
    CHEST,
    CMMD,
    DAMAGED,
    INBREAST,
    MASS,
    MASS_TRAIN,
    MIAS,
    RSNA,
    cbis_row,
    read,
)

TABLES = {
    "nlbs": "File Path,Image Laterality,View Position,Age,Cancer,False Positive\na/1/x.dcm,L,CC,66,0,0\n",
    "nlbs-guide": "File Path,View,Laterality,Age,Cancer,False Positive\na/1/x.dcm,CC,L,66,0,0\n",
    "nlbs-damaged": DAMAGED,
    "prepared": "out_path,view,laterality,age_bin,cancer,false_positive\na.png,CC,L,3,0,0\n",
    "vindr-mammo": BREASTS,
    "rsna": RSNA,
    "cbis-ddsm": MASS_TRAIN,
    "cmmd": CMMD,
    "inbreast": INBREAST,
    "chestxray14": CHEST,
    "mini-mias": MIAS,
}


def test_every_dataset_has_a_table_here() -> None:
    assert {*TABLES, "embed"} == {dialect.key for dialect in DIALECTS}
    assert all(set(dialect.extras) <= set(EXTRA_PARSERS) for dialect in DIALECTS)


@pytest.mark.parametrize("key", TABLES)
def test_a_dataset_that_is_named_is_read_as_the_one_that_is_recognised(tmp_path: Path, key: str) -> None:
    recognised, named = read(tmp_path, TABLES[key]), read(tmp_path, TABLES[key], dataset=key)
    assert recognised == named
    assert recognised.dialect.key == key


@pytest.mark.parametrize(
    "key", [key for key in TABLES if key not in ("nlbs-damaged", "mini-mias", "chestxray14")]
)
def test_however_a_dataset_was_saved_it_reads_the_same(tmp_path: Path, key: str) -> None:
    """Byte order mark, Windows line ends, header in capitals."""
    header, rest = TABLES[key].split("\n", 1)
    saved = "\ufeff" + header.upper() + "\r\n" + rest
    assert read(tmp_path, saved) == read(tmp_path, TABLES[key])


def test_a_dataset_that_is_named_and_does_not_fit_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no column 'image file path'.*A table of the CBIS-DDSM form"):
        read(tmp_path, RSNA, dataset="cbis-ddsm")


def test_a_dataset_that_does_not_exist_is_named_with_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'inbreast'"):
        read(tmp_path, RSNA, dataset="in-breast")


def test_a_table_that_fits_two_datasets_asks_which(tmp_path: Path) -> None:
    both = "out_path,view,laterality,age_bin,cancer,false_positive,ID1,LeftRight,Age,classification\n"
    with pytest.raises(DatasetError, match=r"--dataset \(prepared, cmmd\)"):
        read(tmp_path, both + "a.png,CC,L,3,0,0,D1-0001,L,44,Benign\n")
    assert (
        read(tmp_path, both + "a.png,CC,L,3,0,0,D1-0001,L,44,Benign\n", dataset="cmmd").rows[0].path
        == "D1-0001"
    )


def test_tables_of_two_datasets_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"table1\.csv"):
        read(tmp_path, RSNA, BREASTS)


def test_a_million_rows_take_no_more_than_their_share(tmp_path: Path) -> None:
    """Lesions of one image far apart, and work that grows with the rows alone: 40,000 rows in seconds."""
    rows = "".join(
        cbis_row("Mass-Training", f"P_{n % 20_000:05d}", "LEFT", "CC", 1, "BENIGN") for n in range(40_000)
    )
    assert len(read(tmp_path, MASS + rows).rows) == 20_000
