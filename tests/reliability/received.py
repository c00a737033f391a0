"""What a dataset root from somebody else may hold, every digest in it mended; and what the commands make of it."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tests.forks import forked

SET = "r64-s64"

#: Runs the command lines given as JSON one after the other; after each its exit code, at the end the memory it took.
_DRIVER = """
import json, os, resource, sys, traceback, warnings
os.dup2(1, 2)
warnings.simplefilter("ignore")
from nlbs.preprocess.cli import main
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = -1
    print("exit code", code, flush=True)
# Not ru_maxrss, in which the process that started this one counts as well.
status = open("/proc/self/status", encoding="ascii").read()
print("kilobytes", status.split("VmHWM:")[1].split()[0])
"""


class Done(NamedTuple):
    """What one command line did."""

    code: int
    said: str


def commands(lines: Sequence[Sequence[object]], most_megabytes: int = 700) -> list[Done]:
    """Runs nlbs-preprocess with several command lines in one process; it may not die, nor take much memory."""
    text = json.dumps([[str(word) for word in line] for line in lines])
    done = forked(_DRIVER, [text])
    parts = re.split(r"^exit code (-?\d+)\n", done.stdout, flags=re.MULTILINE)
    found = [Done(int(code), said) for said, code in zip(parts[::2], parts[1::2], strict=False)]
    assert len(found) == len(lines), (lines[len(found)], done.returncode, parts[-1][-500:])
    assert int(parts[-1].split()[-1]) < 1000 * most_megabytes, parts[-1]
    return found


def is_refused(done: Done) -> bool:
    """Says whether a command ended with one bounded sentence of plain text."""
    lines = [line for line in done.said.splitlines() if line.startswith("Error: ")]
    plain = all(letter.isprintable() or letter in "\n\t" for letter in done.said)
    return (
        done.code == 1 and len(lines) == 1 and len(lines[0]) < 2500 and "Traceback" not in done.said and plain
    )


def digest(value: Any) -> str:
    """Gives the SHA-256 of a JSON value, as the format reference says."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def change_description(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes shard_set.json of a set and mends its digest."""
    info = json.loads((folder / "shard_set.json").read_text(encoding="utf-8"))
    info.pop("record_sha256", None)
    change(info)
    (folder / "shard_set.json").write_text(
        json.dumps({**info, "record_sha256": digest(info)}), encoding="utf-8"
    )


def mend_manifest(folder: Path) -> None:
    """Makes shard_set.json agree with what manifest.arrow holds now."""
    sha256 = hashlib.sha256((folder / "manifest.arrow").read_bytes()).hexdigest()
    change_description(folder, lambda info: info["manifest"].update(sha256=sha256))


def change_manifest(
    folder: Path, change: Callable[[pa.Table], pa.Table], options: pa.ipc.IpcWriteOptions | None = None
) -> None:
    """Changes manifest.arrow of a set and mends every digest."""
    path = folder / "manifest.arrow"
    table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
    changed = change(table)
    changed = changed.replace_schema_metadata(table.schema.metadata)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, changed.schema, options=options) as writer:
        writer.write_table(changed)
    mend_manifest(folder)


def with_column(name: str, array: pa.Array) -> Callable[[pa.Table], pa.Table]:
    """Gives a change of a table: another column of that name."""
    return lambda table: table.set_column(table.schema.get_field_index(name), name, array)


def with_value(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """Gives a change of a table: another value in the first row of a column of numbers."""

    def change(table: pa.Table) -> pa.Table:
        values = [value, *table[name].to_pylist()[1:]]
        return with_column(name, pa.array(values, table[name].type))(table)

    return change


def with_codes(name: str, codes: Callable[[list[int]], list[int | None]]) -> Callable[[pa.Table], pa.Table]:
    """Gives a change of a table: other indices into the dictionary of a column, in range or not."""

    def change(table: pa.Table) -> pa.Table:
        chunk = table[name].chunk(0)
        indices = pa.array(codes(chunk.indices.to_pylist()), chunk.indices.type)
        return with_column(name, pa.DictionaryArray.from_arrays(indices, chunk.dictionary, safe=False))(table)

    return change


def with_words(name: str, words: Callable[[list[str]], list[str]]) -> Callable[[pa.Table], pa.Table]:
    """Gives a change of a table: other values in the dictionary of a column."""

    def change(table: pa.Table) -> pa.Table:
        chunk = table[name].chunk(0)
        values = pa.array(words(chunk.dictionary.to_pylist()), pa.string())
        return with_column(name, pa.DictionaryArray.from_arrays(chunk.indices, values))(table)

    return change


def change_record(root: Path, change: Callable[[dict[str, Any]], object], image: str | None = None) -> str:
    """Changes what the store says of an image, the first or that one, and mends its digest; gives the image."""
    image = image or min(path.name for path in (root / "images.zarr").iterdir() if path.is_dir())
    path = root / "images.zarr" / image / "zarr.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    described["attributes"].pop("record_sha256")
    change(described)
    checked = [described["attributes"], described.get("shape"), described.get("data_type")]
    described["attributes"]["record_sha256"] = digest(checked)
    path.write_text(json.dumps(described), encoding="utf-8")
    return image
