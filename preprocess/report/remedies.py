"""What to do about each status of images.csv: a sentence for the report, the same as in ``shards/README.md``."""

#: Status -> what to do. "ok" asks for nothing.
REMEDIES = {
    "bad_row": "mend that row of the table, as its reason says",
    "disagreement": "mend the table or the header, or choose with --disagree csv or tag",
    "duplicate": "nothing: the earlier row of the same file counts",
    "unsafe_path": "give the folder of the images with --images, and paths inside it",
    "missing_file": "check --images and the paths; download what was not downloaded",
    "not_dicom": "the reason says what lies there: download it again, unpack or convert it",
    "other_kind": "nothing, where standard views are wanted; else --kinds all, or the kinds that are",
    "unsupported": "convert the file to a single grey image of up to 16 bits; --frame takes one of several",
    "bad_header": "get the file again from where it came, or mend the element that the reason names",
    "no_pixels": "the file holds no image: take its row out of the table",
    "truncated": "download or copy the file again",
    "decode_failed": "download the file again; else try --decoder pylibjpeg, or convert it with gdcmconv --raw",
    "no_breast": "look at the image: without a breast, take its row out of the table",
    "out_of_memory": "use fewer --jobs, or take the row out where its image is larger than any detector's",
    "timeout": "give more time with --file-timeout; if it fails again, convert the file",
    "codec_crash": "convert the file with another program, for example gdcmconv --raw",
    "file_changed": "build again once nothing writes to the file",
    "not_reached": "mend what failed before it, or allow more with --max-failures, and build again",
}
