"""The tables of NLBS: one whose separators were lost is read line by line."""

from pathlib import Path

import pytest

from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.table import ImageRow
from tests.manifests.datasets.tables import DAMAGED, known, read


@pytest.mark.parametrize(
    "header", ["", "File PathImage LateralityView PositionAgeCancerFalse Positive\n", "\ufeff"]
)
def test_nlbs_without_separators_is_read_line_by_line(tmp_path: Path, header: str) -> None:
    table = read(
        tmp_path, header + DAMAGED + DAMAGED.replace("left", "right").replace("dcmLCC6600", "dcmRMLO10")
    )
    assert table.dialect.key == "nlbs-damaged"
    first, second = table.rows
    path = "abnormal/109430185503/left/CC/IM-0019-0002-0001.dcm"
    assert first == ImageRow(1, path, Conditions("CC", "L", 66, 3, False, False), "109430185503")
    assert known(second) == ("MLO", "R", None, True, False)


def test_a_line_without_separators_that_does_not_fit_is_a_bad_row(tmp_path: Path) -> None:
    _, bad = read(tmp_path, DAMAGED + DAMAGED.replace("6600", "600")).rows
    assert bad.problem == "the row has 1 cells, the header has 6"
