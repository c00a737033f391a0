"""Whether what ``shard_set.json`` says can be true: every name, type and number of it, before anything goes by it."""

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from nlbs.errors import ShardError
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS
from nlbs.names import checked_name
from nlbs.paths import AnyPath
from nlbs.shards.format.payload import DTYPES
from nlbs.text import shown

LARGEST_RESOLUTION = 4096  #: edge of a patch in pixels
MOST_ROWS = 1 << 32
_MOST_SHARDS, _MOST_GENERATIONS = 1_000_000, 100_000
_MOST_SHARD_BYTES, _MOST_BYTES = 1 << 44, 1 << 60
_MOST_COUNT = 1 << 53
_MOST_WORD_CHARS = 4000  # of a text in it

_BOOKS = {**{condition.name: condition.values for condition in NLBS}, "split": SPLITS}
_OF_A_SYNTHETIC_SET = ("model", "sampler", "seed", "conditions")


def check_description(info: Mapping[str, Any], path: AnyPath, advice: str) -> None:
    """Raise ShardError where a description of a shard set holds what none can hold.

    Args:
        info: the JSON of a ``shard_set.json`` with all its keys.
        path: of it, for messages.
        advice: what to do, for the end of a message.
    """
    _Check(path, advice).description(info)


class _Check:
    def __init__(self, path: AnyPath, advice: str) -> None:
        self._path, self._advice = path, advice

    def description(self, info: Mapping[str, Any]) -> None:
        self.name("dataset_id", info["dataset_id"])
        if "content_id" in info:
            self.name("dataset_id", info["content_id"])
        self.parameters(self.mapping("parameters", info["parameters"]), info.get("format_version"))
        self.manifest("manifest", info["manifest"])
        self.shards(info["shards"], str(info["parameters"]["container"]))
        counts = self.mapping("counts", info["counts"])
        for name, count in counts.items():
            if isinstance(count, dict) and name not in ("patches", "images", "patients"):
                for value, number in count.items():
                    self.whole(f"counts: {name}: {value}", number, 0, _MOST_COUNT)
            else:
                self.whole(f"counts: {name}", count, 0, _MOST_COUNT)
        self.code_books(self.mapping("code_books", info["code_books"]))
        self.whole("generation", info.get("generation", 1), 1, _MOST_GENERATIONS)
        self.whole("images_generation", info.get("images_generation", 1), 0, _MOST_GENERATIONS)
        self.history(info.get("history", []), len(info["shards"]))
        synthetic = info.get("synthetic")
        if synthetic is not None:
            for name in _OF_A_SYNTHETIC_SET:
                if name not in self.mapping("synthetic", synthetic):
                    self.refuse(f"synthetic: {name}", None, "to be there")
            self.plain("synthetic", synthetic)

    def parameters(self, parameters: Mapping[str, Any], version: Any) -> None:
        for name in ("resolution", "stride", "min_foreground", "dtype", "container"):
            if name not in parameters:
                self.refuse(f"parameters: {name}", None, "to be there")
        self.whole("parameters: resolution", parameters["resolution"], 1, LARGEST_RESOLUTION)
        if parameters["stride"] is not None:
            self.whole("parameters: stride", parameters["stride"], 1, 1 << 31)
        self.number("parameters: min_foreground", parameters["min_foreground"], 0.0, 1.0)
        if parameters.get("spacing_mm") is not None:
            self.number("parameters: spacing_mm", parameters["spacing_mm"], 1e-4, 1e4)
        if not isinstance(parameters["dtype"], str) or parameters["dtype"] not in DTYPES:
            self.refuse("parameters: dtype", parameters["dtype"], " or ".join(DTYPES))
        channels = 3 if version == 2 else 1
        if parameters.get("channels", 1) != channels:
            self.refuse(
                "parameters: channels", parameters.get("channels"), f"{channels}, by the format version"
            )
        self.name("word", parameters["container"])
        for name in ("compression", "mode"):
            if name in parameters:
                self.name("word", parameters[name])
        self.plain("parameters", parameters)

    def manifest(self, what: str, manifest: Any) -> None:
        known = self.mapping(what, manifest)
        self.name("manifest", known.get("name"))
        self.name("sha256", known.get("sha256"))
        self.whole(f"{what}: rows", known.get("rows"), 0, MOST_ROWS)

    def shards(self, shards: Any, container: str) -> None:
        if not isinstance(shards, list) or len(shards) > _MOST_SHARDS:
            self.refuse("shards", shards, f"a list of at most {_MOST_SHARDS:,}")
        total = 0
        for shard in shards:
            name = self.name("shard", self.mapping("shards", shard).get("name"))
            if not name.endswith(f".{container}"):
                self.refuse("shards: name", name, f"a name that ends with .{container}")
            self.whole(f"{name}: bytes", shard.get("bytes"), 0, _MOST_SHARD_BYTES)
            self.whole(f"{name}: crc32c", shard.get("crc32c"), 0, (1 << 32) - 1)
            self.whole(f"{name}: patches", shard.get("patches", 0), 0, MOST_ROWS)
            if "zarr_json_crc32c" in shard:
                self.whole(f"{name}: zarr_json_crc32c", shard["zarr_json_crc32c"], 0, (1 << 32) - 1)
            total += shard["bytes"]
        if total > _MOST_BYTES:
            self.refuse("shards: bytes", total, f"at most {_MOST_BYTES:,} of all together")
        if len({shard["name"] for shard in shards}) < len(shards):
            self.refuse("shards", shards, "each name once")

    def code_books(self, books: Mapping[str, Any]) -> None:
        for name, values in books.items():
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                self.refuse(f"code_books: {name}", values, "a list of texts")
            if name in _BOOKS and tuple(values) != _BOOKS[name]:
                self.refuse(f"code_books: {name}", values, ", ".join(_BOOKS[name]))
            self.plain(f"code_books: {name}", values)

    def history(self, history: Any, shards: int) -> None:
        if not isinstance(history, list) or len(history) > _MOST_GENERATIONS:
            self.refuse("history", history, f"a list of at most {_MOST_GENERATIONS:,}")
        for entry in history:
            known = self.mapping("history", entry)
            self.name("description", known.get("name"))
            self.name("sha256", known.get("sha256"))
            for name in ("dataset_id", "content_id"):
                self.name("dataset_id", known.get(name))
            self.whole("history: images_generation", known.get("images_generation"), 0, _MOST_GENERATIONS)
            self.whole("history: images", known.get("images"), 0, _MOST_COUNT)
            self.whole("history: shards", known.get("shards"), 1, shards)
            self.manifest("history: manifest", known.get("manifest"))

    def mapping(self, what: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.refuse(what, value, "an object")
        return value

    def name(self, kind: str, value: Any) -> str:
        return checked_name(kind, value, self._path, advice=self._advice)

    def whole(self, what: str, value: Any, low: int, high: int) -> None:
        if type(value) is not int or not low <= value <= high:  # True is no number here
            self.refuse(what, value, f"a whole number from {low} to {high}")

    def number(self, what: str, value: Any, low: float, high: float) -> None:
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            self.refuse(what, value, f"a number from {low:g} to {high:g}")

    def plain(self, what: str, value: Any) -> None:
        """Refuse a text that is too long, at whatever depth; the reader of the JSON has bounded the depth."""
        if isinstance(value, str):
            if len(value) > _MOST_WORD_CHARS:
                self.refuse(what, value, f"at most {_MOST_WORD_CHARS} characters")
        elif isinstance(value, dict):
            for key, item in value.items():
                self.plain(what, key)
                self.plain(what, item)
        elif isinstance(value, list):
            for item in value:
                self.plain(what, item)

    def refuse(self, what: str, value: Any, expected: str) -> NoReturn:
        raise ShardError(
            f"{self._path} is damaged: {shown(what)[1:-1]} is {shown(value)}, expected {expected}; {self._advice}"
        )
