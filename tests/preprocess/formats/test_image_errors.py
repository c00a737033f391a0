"""Errors of images: they name no text of a file, and survive the way back from a worker."""

import io
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from nlbs.errors import ImageError
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
)
from nlbs.preprocess.formats.image_file import read_image
from tests.conftest import some
from tests.preprocess.dicom_files import (
    PICTURE,
    PLANTED,
    make_dicom,
    replaced,
)


def test_no_message_repeats_text_of_the_file_or_its_path(tmp_path: Path) -> None:
    folder = tmp_path / PLANTED
    folder.mkdir()
    trials: list[dict[str, object]] = [
        {
            "PhotometricInterpretation": "PALETTE " + PLANTED,
            "RedPaletteColorLookupTableDescriptor": [256, 0, 16],
        },
        {"NumberOfFrames": "10"},
        {"Rows": 0},
        {"BitsAllocated": 24},
        {"PresentationLUTShape": PLANTED, "Rows": 62},
        {"ReferencedImageSequence": Sequence([Dataset()]), "BitsStored": 30},
    ]
    for elements in some(trials):
        path = make_dicom(folder, PICTURE, **elements)
        if "NumberOfFrames" in elements:
            replaced(path, "NumberOfFrames", b"P^")
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert "PLANTED" not in str(caught.value)
        assert "P^" not in str(caught.value)
    for path in (folder / "none.dcm", folder):
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert "PLANTED" not in str(caught.value)


def test_an_image_error_survives_the_way_back_from_a_worker(tmp_path: Path) -> None:
    from multiprocessing.reduction import ForkingPickler

    with pytest.raises(ImageError) as caught:
        read_image(make_dicom(tmp_path, PICTURE, Rows=0))
    sent = io.BytesIO(bytes(ForkingPickler.dumps(caught.value)))
    again = ForkingPickler.loads(sent.getvalue())
    assert type(again) is BadHeaderError
    assert str(again) == str(caught.value)
