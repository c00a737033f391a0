"""Kinds of image: what tables and views say of them, and what --kinds takes."""

from pathlib import Path

import pytest

from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.conditions import OTHER_VIEWS, VIEWS, parse_view
from nlbs.manifests.kinds import KINDS, STANDARD_KINDS, parse_kinds, united_kind, view_and_kind
from nlbs.manifests.tables.table import TableOptions, read_table


def test_standard_takes_what_says_no_kind_too_and_all_takes_all() -> None:
    assert parse_kinds("standard") == STANDARD_KINDS == ("standard", "unknown")
    assert parse_kinds("all") == tuple(KINDS)
    assert parse_kinds(" Standard, implant-displaced ") == ("standard", "unknown", "implant_displaced")
    assert parse_kinds("for_processing") == ("for_processing",)
    assert "tomosynthesis" in parse_kinds("standard", frame=True)
    assert "tomosynthesis" not in parse_kinds("magnified", frame=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected all"),
        ("magnifed", "did you mean 'magnified'"),
        ("standard,alll", "expected all"),
        (",", "some of"),
    ],
)
def test_a_kind_that_there_is_not_is_refused_with_the_nearest(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_kinds(text)


@pytest.mark.parametrize(
    ("text", "view", "kind"),
    [
        # ACR MQCM 1999 equivalents of PS3.16 CID 4015: M... and S... before, ...ID, ...RL, ...RM behind the view,
        ("MCC", "CC", "magnified"),
        ("M ML", "ML", "magnified"),
        ("SCC", "CC", "spot"),
        ("SMLO", "MLO", "spot"),
        ("smmlo", "MLO", "magnified"),
        ("MSCC", "CC", "magnified"),
        ("CCID", "CC", "implant_displaced"),
        ("MLO_ID", "MLO", "implant_displaced"),
        ("CCRL", "CC", None),
        ("CC RM", "CC", None),
        ("CC mag", "CC", "magnified"),
        ("Spot MLO", "MLO", "spot"),
        ("MLO spot compression", "MLO", "spot"),
        ("CC spot mag", "CC", "magnified"),
        ("CC implant displaced", "CC", "implant_displaced"),
        ("specimen", None, "specimen"),
        # and of PS3.3 table C.8-74a.
        ("CCSC", "CC", "biopsy"),
        ("CC ST+", "CC", "biopsy"),
        ("MLPRF-", "ML", "biopsy"),
    ],
)
def test_a_prefix_or_suffix_of_a_view_is_a_kind(text: str, view: str | None, kind: str | None) -> None:
    assert view_and_kind(text) == (view, kind)
    assert parse_view(text) == view


@pytest.mark.parametrize(
    "view", [*VIEWS, *OTHER_VIEWS, "cranio-caudal", "", "XYZ", "RMLO", "LCC", "M", "CC MLO"]
)
def test_a_plain_view_is_no_other_kind(view: str) -> None:
    assert view_and_kind(view) is None


def test_what_either_calls_no_standard_view_is_none_and_a_films_table_counts() -> None:
    assert united_kind(None, None) == united_kind(None, "unknown") == "unknown"
    assert united_kind("standard", None) == united_kind(None, "standard") == "standard"
    assert united_kind("standard", "for_processing") == "for_processing"
    assert united_kind("synthetic_2d", "standard") == "synthetic_2d"
    assert united_kind("standard", "secondary_capture") == "standard"
    assert united_kind("spot", "magnified") == "magnified"
    assert united_kind("spot", "implant_displaced") == "spot"


HEAD = "file,pid,View,what\n"


def read(folder: Path, text: str, columns: dict[str, str]) -> list[str | None]:
    (folder / "meta.csv").write_text(text, encoding="utf-8")
    table = read_table((folder / "meta.csv",), options=TableOptions(columns=columns))
    return [row.kind for row in table.rows]


def test_a_table_of_ones_own_names_kinds(tmp_path: Path) -> None:
    columns = {"path": "file", "patient": "pid", "view": "View", "kind": "what"}
    text = HEAD + "a,1,CC,Standard\nb,1,MCC,standard\nc,2,CC,for processing\nd,2,CC,\ne,3,CCID,\nf,3,CC,odd\n"
    assert read(tmp_path, text, columns) == [
        *("standard", "magnified", "for_processing", None, "implant_displaced", None)
    ]
    table = read_table((tmp_path / "meta.csv",), options=TableOptions(columns=columns))
    assert table.rows[-1].notes == ("kind is kept as unknown: its cell cannot be read",)
    with pytest.raises(DatasetError, match="no column 'that' for --map kind"):
        read(tmp_path, text, {**columns, "kind": "that"})


def test_embed_names_computed_views_saved_screens_and_spots(tmp_path: Path) -> None:
    types = ["2D,", "2D,1", "2D,1.0", "2D,0", "cview,", "ROI_SSC,", "ROI_SS,", "other,", ",", "3D,"]
    files = "anon_dicom_path,empi_anon,acc_anon,ImageLateralityFinal,ViewPosition,FinalImageType,spot_mag\n"
    files += "".join(f"cohort_1/1/{number}.dcm,1,9,L,CC,{text}\n" for number, text in enumerate(types))
    clinical = (
        "empi_anon,acc_anon,study_date_anon,desc,tissueden,asses,side,path_severity,age_at_study\n"
        "1,9,2014-01-02,MG Screening,2,N,L,,50\n"
    )
    (tmp_path / "files.csv").write_text(files, encoding="utf-8")
    (tmp_path / "clinical.csv").write_text(clinical, encoding="utf-8")
    table = read_table((tmp_path / "files.csv", tmp_path / "clinical.csv"), options=TableOptions())
    assert [row.kind for row in table.rows] == [
        *("standard", "spot", "spot", "standard", "synthetic_2d", "secondary_capture", "secondary_capture"),
        *(None, None, "tomosynthesis"),
    ]
