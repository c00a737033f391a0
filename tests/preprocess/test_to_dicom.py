"""Synthetic patches as DICOM: what pydicom reads back, and that nothing real is ever written so."""

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from nlbs.errors import ConfigError, DatasetError
from nlbs.preprocess.to_dicom import write_captures
from tests.generate.conftest import contents
from tests.shards.conftest import make_shard_set

RECORD = {
    "synthetic": True, "software": "NLBS-CVAE", "model": "0123456789abcdef", "seed": 3, "sampler": "prior",
    "conditions": "given by flags", "patches": 3, "request": "ab" * 16, "complete": True,
}  # fmt: skip
SAID = [("CC", "L", ">65", "yes", "no"), ("MLO", "R", "", "", ""), ("", "", "<=45", "no", "yes")]


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder of pictures as nlbs-generate leaves it."""
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "samples.json").write_text(json.dumps(RECORD))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    with (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "index", "view", "laterality", "age_bin", "cancer", "false_positive"])
        for index, said in enumerate(SAID):
            Image.fromarray(pixels[index]).save(folder / f"synthetic-{index:06d}.png")
            writer.writerow([f"synthetic-{index:06d}.png", index, *said])
    return folder


def test_a_capture_is_marked_as_synthetic_data_and_holds_the_pixels(samples: Path, tmp_path: Path) -> None:
    assert write_captures(samples, tmp_path / "dicom") == 3
    for index, (view, side, *_) in enumerate(SAID):
        read = pydicom.dcmread(tmp_path / "dicom" / f"synthetic-{index:06d}.dcm")
        assert read[0x0008, 0x001C].value == "YES"  # PS3.3 C.12.1: Synthetic Data
        assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"  # PS3.4 B.5: Secondary Capture Image Storage
        assert read.ConversionType == "SYN"  # PS3.3 C.8.6.1
        with Image.open(samples / f"synthetic-{index:06d}.png") as png:
            np.testing.assert_array_equal(read.pixel_array, np.asarray(png))
        assert read.get("ViewPosition", "") == view
        assert read.get("Laterality", "") == side
        assert str(read.PatientName).startswith("SYNTHETIC")
        assert not read.PatientBirthDate
        for word in ("SYNTHETIC", "0123456789abcdef", "seed 3", f"index {index}", "given by flags"):
            assert word in read.ImageComments
    assert "cancer yes" in pydicom.dcmread(tmp_path / "dicom" / "synthetic-000000.dcm").ImageComments


def test_each_patch_is_a_patient_of_its_own_and_the_bytes_are_the_same_each_time(
    samples: Path, tmp_path: Path
) -> None:
    write_captures(samples, tmp_path / "one")
    write_captures(samples, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    read = [pydicom.dcmread(path) for path in sorted((tmp_path / "one").glob("*.dcm"))]
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert len({str(getattr(one, keyword)) for one in read}) == 3
    kept = (tmp_path / "one" / "synthetic-000000.dcm").stat().st_mtime_ns
    (tmp_path / "one" / "synthetic-000001.dcm").unlink()
    write_captures(samples, tmp_path / "one")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert (tmp_path / "one" / "synthetic-000000.dcm").stat().st_mtime_ns == kept


def test_files_of_other_patches_are_in_the_way(samples: Path, tmp_path: Path) -> None:
    write_captures(samples, tmp_path / "dicom")
    (samples / "samples.json").write_text(json.dumps({**RECORD, "request": "cd" * 16}))
    with pytest.raises(ConfigError, match="of another patch"):
        write_captures(samples, tmp_path / "dicom")
    before = contents(tmp_path / "dicom")
    write_captures(samples, tmp_path / "dicom", overwrite=True)
    assert not set(before.values()) & set(contents(tmp_path / "dicom").values())


def test_what_a_case_withholds_is_not_told(samples: Path, tmp_path: Path) -> None:
    text = (samples / "samples.csv").read_text()
    rows = [line.split(",")[:5] for line in text.splitlines()]
    (samples / "samples.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    write_captures(samples, tmp_path / "dicom")
    read = pydicom.dcmread(tmp_path / "dicom" / "synthetic-000000.dcm")
    assert "cancer" not in read.ImageComments
    assert "age bin >65" in read.ImageComments


def test_a_record_with_other_things_than_names_of_conditions_is_refused(
    samples: Path, tmp_path: Path
) -> None:
    for names in ("view", [1], ["a" * 65], ["a\n"]):
        (samples / "samples.json").write_text(json.dumps({**RECORD, "schema": names}))
        with pytest.raises(DatasetError, match="expected names of conditions"):
            write_captures(samples, tmp_path / "dicom")


def test_nothing_real_is_written_as_synthetic(samples: Path, tmp_path: Path) -> None:
    make_shard_set(tmp_path / "root" / "r16-s16")
    for folder in (tmp_path / "root", tmp_path / "root" / "r16-s16", tmp_path / "nothing"):
        with pytest.raises(DatasetError, match="does not say that its patches are synthetic"):
            write_captures(folder, tmp_path / "dicom")
    record = json.dumps(RECORD | {"of_patients": True, "recipe": "reconstruct"})
    (samples / "samples.json").write_text(record)
    with pytest.raises(DatasetError, match=r"made from those of real patients \(reconstruct\)"):
        write_captures(samples, tmp_path / "dicom")
    (samples / "samples.json").write_text(json.dumps(RECORD))
    (samples / "samples.csv").unlink()
    with pytest.raises(DatasetError, match="not complete"):
        write_captures(samples, tmp_path / "dicom")
