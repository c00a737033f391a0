"""Why a file gives no image: each class has the status that stands in images.csv."""

from nlbs.errors import ImageError


class NotDicomError(ImageError):
    """The file is neither DICOM nor any other kind of image that is read here."""

    status = "not_dicom"


class OtherKindError(ImageError):
    """The image is of a kind that is not asked for, such as a magnification view."""

    status = "other_kind"
    kind = "unknown"  #: one of nlbs.manifests.kinds.KINDS


class UnsupportedImageError(ImageError):
    """An image file, but of no kind that holds one grey mammogram."""

    status = "unsupported"


class BadHeaderError(ImageError):
    """The header contradicts itself or lacks what decoding needs."""

    status = "bad_header"


class MissingFileError(ImageError):
    """There is no regular, readable file at the path."""

    status = "missing_file"


class NoPixelsError(ImageError):
    """A DICOM file without an image in it."""

    status = "no_pixels"


class TruncatedError(ImageError):
    """The file ends before its pixels do."""

    status = "truncated"


class DecodeError(ImageError):
    """The decoder could not read the pixels."""

    status = "decode_failed"
