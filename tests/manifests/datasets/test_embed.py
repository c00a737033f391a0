"""The two tables of EMBED."""

from pathlib import Path

import pytest

from nlbs.errors import DatasetError
from tests.manifests.datasets.tables import EMBED_CLINICAL, EMBED_FILES, known, read


@pytest.mark.parametrize("turned", [False, True])
def test_embed_joins_its_two_tables_by_exam_and_side(tmp_path: Path, turned: bool) -> None:
    tables = (EMBED_CLINICAL, EMBED_FILES) if turned else (EMBED_FILES, EMBED_CLINICAL)
    table = read(tmp_path, *tables, keep="density,birads,FinalImageType")
    assert table.dialect.key == "embed"
    rows = table.rows
    assert [row.row for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].path == "cohort_1/111/1.2/1.2.3/a.dcm"
    assert [row.patient for row in rows] == ["111", "111", "222", "333", "444"]
    assert [known(row) for row in rows] == [
        ("MLO", "L", 56, None, True),  # read A, then benign
        ("CC", "R", 56, None, False),  # read negative
        ("CC", "L", 90, None, False),  # read A, then cancer; the screen itself has no pathology
        ("ML", "R", 45, True, None),  # one of two findings is cancer; no screening exam
        ("FB", "R", None, None, None),  # nothing in the clinical table
    ]
    assert rows[0].kept == {"density": "B", "birads": "0", "FinalImageType": "2D"}
    assert rows[2].kept["density"] is None  # 5: a male breast
    assert rows[3].kept == {"density": "D", "birads": "5", "FinalImageType": "2D"}


def test_one_table_of_embed_alone_is_asked_for_the_other(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="give its clinical table as a second --csv"):
        read(tmp_path, EMBED_FILES)
    with pytest.raises(DatasetError, match="is the clinical table of EMBED, which names no images"):
        read(tmp_path, EMBED_CLINICAL)
