"""The transfer syntaxes of DICOM (PS3.6 Table A-1): how each codes pixels, or why it holds no mammogram."""

from dataclasses import dataclass

IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, EXPLICIT_BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
ENCAPSULATED_CELLS, DEFLATED_FRAMES = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS, JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_LOSSY = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K = (f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
JPEG_XL_LOSSLESS, JPEG_XL_JPEG, JPEG_XL = (f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))

_VIDEO = "a video, expected a single image"
_REFERENCE = "it refers to pixels on a server, which the file does not hold"
_PART_2 = "multi-component JPEG 2000 is for volumes and colours, expected a single grey image"


@dataclass(frozen=True)
class Syntax:
    """One transfer syntax."""

    uid: str
    name: str  #: as PS3.6 has it, shortened
    coding: str  #: "cells", "deflate", "rle", "jpeg", "jpeg-ls", "jpeg2000", "jpegxl"; "" where it is refused
    encapsulated: bool = True
    little_endian: bool = True
    lossless: bool = False  #: whether it promises that no pixel was changed
    refusal: str = ""  #: why no mammogram is stored so

    @property
    def marked(self) -> bool:
        """Whether a whole frame ends with the marker FFD9 (T.81 B.1.1.3, T.87, T.800 A.4.4)."""
        return self.coding in ("jpeg", "jpeg-ls", "jpeg2000")

    @property
    def is_jpeg_2000(self) -> bool:
        """Whether values have a sign in the codestream itself."""
        return self.coding == "jpeg2000"


_ALL = (
    Syntax(IMPLICIT_LITTLE, "Implicit VR Little Endian", "cells", encapsulated=False, lossless=True),
    Syntax(EXPLICIT_LITTLE, "Explicit VR Little Endian", "cells", encapsulated=False, lossless=True),
    Syntax(DEFLATED, "Deflated Explicit VR Little Endian", "cells", encapsulated=False, lossless=True),
    Syntax(
        EXPLICIT_BIG,
        "Explicit VR Big Endian",
        "cells",
        encapsulated=False,
        little_endian=False,
        lossless=True,
    ),
    Syntax(ENCAPSULATED_CELLS, "Encapsulated Uncompressed", "cells", lossless=True),
    Syntax(DEFLATED_FRAMES, "Deflated Image Frame Compression", "deflate", lossless=True),
    Syntax(RLE, "RLE Lossless", "rle", lossless=True),
    Syntax(JPEG_BASELINE, "JPEG Baseline", "jpeg"),
    Syntax(JPEG_EXTENDED, "JPEG Extended", "jpeg"),
    Syntax(JPEG_LOSSLESS, "JPEG Lossless", "jpeg", lossless=True),
    Syntax(JPEG_LOSSLESS_SV1, "JPEG Lossless SV1", "jpeg", lossless=True),
    Syntax(JPEG_LS, "JPEG-LS Lossless", "jpeg-ls", lossless=True),
    Syntax(JPEG_LS_LOSSY, "JPEG-LS Near-lossless", "jpeg-ls"),
    Syntax(JPEG_2000_LOSSLESS, "JPEG 2000 Lossless", "jpeg2000", lossless=True),
    Syntax(JPEG_2000, "JPEG 2000", "jpeg2000"),
    Syntax(HTJ2K_LOSSLESS, "HTJ2K Lossless", "jpeg2000", lossless=True),
    Syntax(HTJ2K_RPCL, "HTJ2K Lossless RPCL", "jpeg2000", lossless=True),
    Syntax(HTJ2K, "HTJ2K", "jpeg2000"),
    Syntax(JPEG_XL_LOSSLESS, "JPEG XL Lossless", "jpegxl", lossless=True),
    Syntax(JPEG_XL_JPEG, "JPEG XL JPEG Recompression", "jpegxl"),
    Syntax(JPEG_XL, "JPEG XL", "jpegxl"),
    Syntax("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2 Lossless", "", refusal=_PART_2),
    Syntax("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2", "", refusal=_PART_2),
    Syntax("1.2.840.10008.1.2.4.94", "JPIP Referenced", "", refusal=_REFERENCE),
    Syntax("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", "", refusal=_REFERENCE),
    Syntax("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced", "", refusal=_REFERENCE),
    Syntax("1.2.840.10008.1.2.4.205", "JPIP HTJ2K Referenced Deflate", "", refusal=_REFERENCE),
    *(
        Syntax(f"1.2.840.10008.1.2.4.{number}{fragmentable}", name, "", refusal=_VIDEO)
        for number, name in (
            (100, "MPEG2 Main Level"),
            (101, "MPEG2 High Level"),
            (102, "MPEG-4 AVC/H.264 Level 4.1"),
            (103, "MPEG-4 AVC/H.264 BD-compatible"),
            (104, "MPEG-4 AVC/H.264 Level 4.2, 2D"),
            (105, "MPEG-4 AVC/H.264 Level 4.2, 3D"),
            (106, "MPEG-4 AVC/H.264 Stereo"),
        )
        for fragmentable in ("", ".1")
    ),
    Syntax("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main", "", refusal=_VIDEO),
    Syntax("1.2.840.10008.1.2.4.108", "HEVC/H.265 Main 10", "", refusal=_VIDEO),
    Syntax("1.2.840.10008.1.2.7.1", "SMPTE ST 2110-20 Progressive", "", refusal=_VIDEO),
    Syntax("1.2.840.10008.1.2.7.2", "SMPTE ST 2110-20 Interlaced", "", refusal=_VIDEO),
    Syntax("1.2.840.10008.1.2.7.3", "SMPTE ST 2110-30 Audio", "", refusal="sound, expected an image"),
)

#: UID -> transfer syntax; what is not in here is none of the standard's, or one that it has retired.
SYNTAXES = {syntax.uid: syntax for syntax in _ALL}

#: Coding of a codestream that tells what it is -> the transfer syntax by which it is decoded, and by no other.
UID_OF_CODING = {
    "jpeg": JPEG_LOSSLESS,
    "jpeg-ls": JPEG_LS_LOSSY,
    "jpeg2000": JPEG_2000,
    "jpegxl": JPEG_XL,
    "rle": RLE,
}
