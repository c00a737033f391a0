"""DICOM files that are no images by their SOP class: a DICOMDIR, a report, a presentation state."""

import pydicom
from pydicom.uid import UID

from nlbs.preprocess.formats.header import element
from nlbs.preprocess.formats.image_errors import NoPixelsError

_WAYS_OUT = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, which lists the files of a folder: name these in the table",
}


def require_image(dataset: pydicom.FileDataset) -> None:
    """Raise NoPixelsError where a file describes no image and its SOP class says what it is instead (PS3.6 A).

    Args:
        dataset: the elements of the file, with those of group 0002.
    """
    if "Rows" in dataset:
        return
    uid = element(dataset, "SOPClassUID") or element(dataset.file_meta, "MediaStorageSOPClassUID")
    # The names are the standard's, and no text of the file.
    name = uid.name if isinstance(uid, UID) else ""
    if name == uid or not name or "Image Storage" in name:
        return
    what = _WAYS_OUT.get(str(uid), f"an object of the SOP class {name}, take its row out of the table")
    raise NoPixelsError(f"there is no Pixel Data (7FE0,0010), and no image is described: this is {what}")
