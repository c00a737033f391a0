"""A shard set in Croissant 1.0 (MLCommons, http://mlcommons.org/croissant/1.0), which data catalogues read."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from nlbs.manifests.schema import NLBS
from nlbs.shards.format.manifest import SCHEMA

#: As the specification asks to write it out.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_SAID = {
    "image": "id of the image",
    "y": "top edge in pixels of the source image",
    "x": "left edge in pixels of the source image",
    "scale": "pixels of the source image per pixel of the patch, from row to row",
    "foreground": "share of the patch inside the foreground, 0 to 1",
    "age_years": "completed years, 90 is above 89; null is unknown",
    "patient": "id of the patient",
    "split": "train, val or test, by patient",
    "shard": "file of its pixels",
    "offset": "where its pixels begin in that file, in bytes",
    "nbytes": "of its pixels as stored",
    "crc32c": "of these bytes",
    **{
        c.name: f"{', '.join(f'{code} {word}' for code, word in enumerate(c.values))}; null is unknown"
        for c in NLBS
        if not pa.types.is_dictionary(SCHEMA.field(c.name).type)
    },
}
#: Of the shards of a container: which files, and their type.
_SHARDS = {"tar": ("*.tar", "application/x-tar"), "zarr": ("*.zarr/**", "application/vnd.zarr; version=3")}


def croissant(table: pa.Table, info: Mapping[str, Any], told: Mapping[str, str]) -> dict[str, Any]:
    """Return the description of a set as JSON values: its files, and the columns of its manifest.

    Args:
        table: the manifest.
        info: all that ``shard_set.json`` says.
        told: ``name``, ``license`` and ``description``.
    """
    manifest, (includes, encoding) = info["manifest"], _SHARDS[info["parameters"]["container"]]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        **told,
        "version": f"{info.get('generation', 1)}.0.0",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "manifest",
                "name": "manifest",
                "description": "One row per patch: where its pixels are, and its conditions. An Arrow IPC file.",
                "contentUrl": manifest["name"],
                "encodingFormat": "application/vnd.apache.arrow.file",
                "sha256": manifest["sha256"],
            },
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "description": "The pixels; shard_set.json has the size and the CRC-32C of each.",
                "includes": includes,
                "encodingFormat": encoding,
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "patches",
                "name": "patches",
                "description": "One record per patch.",
                "field": [_field(field) for field in table.schema],
            }
        ],
    }


def _field(field: pa.Field) -> dict[str, Any]:
    name, number = field.name, "sc:Float" if pa.types.is_floating(field.type) else "sc:Integer"
    return {
        "@type": "cr:Field",
        "@id": f"patches/{name}",
        "name": name,
        "description": _SAID.get(name, f"{name.replace('_', ' ')}; null is unknown"),
        "dataType": "sc:Text" if pa.types.is_dictionary(field.type) else number,
        "source": {"fileObject": {"@id": "manifest"}, "extract": {"column": name}},
    }
