"""What is done to every shard set of a dataset root: one that is bad does not keep the others from their turn."""

from collections.abc import Callable
from typing import Any

from nlbs.errors import NlbsError, ShardError
from nlbs.paths import AnyPath
from nlbs.preprocess.report.info import info_lines, root_info, shard_set_info
from nlbs.preprocess.workers import Workers
from nlbs.shards import open_shards
from nlbs.shards.format.commit import PARTS
from nlbs.shards.format.layout import (
    MANIFEST,
    SHARD_SET_JSON,
    can_be_repaired,
    find_shard_sets,
    how_to_recut,
    how_to_restore,
)
from nlbs.shards.format.verify import damages
from nlbs.text import counted

Say = Callable[[str], object]


def verify_sets(shards: AnyPath, workers: Workers | None, say: Say) -> None:
    """Read every byte of a shard set, or of all of a dataset root, and say what is not as it was written.

    Args:
        shards: a shard set, or a dataset root.
        workers: who restores what is damaged; None restores nothing.
        say: takes a line.

    Raises:
        ShardError: something is damaged at the end, or there is no shard set.
    """
    folders = find_shard_sets(shards)
    if folders == [shards] or (len(folders) == 1 and not _without_description(shards)):
        left = _verify(folders[0], workers, say)
        if left:
            files = counted(left, f"file of {folders[0]} is", f"files of {folders[0]} are")
            raise ShardError(
                f"{files} damaged: {how_to_restore(folders[0]) if workers is None else 'see above'}"
            )
        return
    bad = []
    for number, folder in enumerate(folders):
        say(f"{'' if number == 0 else chr(10)}Shard set {folder}")
        try:
            left = _verify(folder, workers, say)
        except (NlbsError, OSError) as error:
            say(f"{folder} cannot be {'read' if workers is None else 'restored'}: {error}")
            left = 1
        if left:
            bad.append(folder.name)
    for folder in _without_description(shards):
        say(f"\n{folder / SHARD_SET_JSON} is missing: {how_to_recut(folder)}")
        bad.append(folder.name)
    if bad:
        advice = "see above"
        if workers is None and any(can_be_repaired(shards / name) for name in bad):
            advice = "--repair restores what the decoded images still give"
        raise ShardError(
            f"{counted(len(bad), f'shard set of {shards} is', f'shard sets of {shards} are')} damaged "
            f"({', '.join(bad)}): {advice}"
        )


def info_of_sets(shards: AnyPath, batch_size: int) -> list[dict[str, Any]]:
    """Return what a shard set holds, or what each of a dataset root does, as :func:`shard_set_info` says it.

    Of one that cannot be read among several: ``shard_set``, its folder, and ``error``.

    Raises:
        ShardError: the only one cannot be read, or there is none.
    """
    folders = find_shard_sets(shards)
    if len(folders) == 1:
        with open_shards(folders[0]) as shard_set:
            return [shard_set_info(shard_set, batch_size)]
    of_root = root_info(shards)
    return [_info(folder, batch_size, of_root) for folder in folders]


def lines_of_sets(infos: list[dict[str, Any]]) -> list[str]:
    """Return what :func:`info_of_sets` says, in lines of text: a section for each set."""
    lines: list[str] = []
    for info in infos:
        if lines:
            lines += ["", ""]
        if "error" in info:
            lines += [f"Shard set       {info['shard_set']}", f"Cannot be read  {info['error']}"]
        else:
            lines += info_lines(info)
    return lines


def _verify(folder: AnyPath, workers: Workers | None, say: Say) -> int:
    """Return how many files of a set are damaged, after what can be restored is."""
    found = list(damages(folder))
    for damage in found:
        say(f"{folder / damage.name} {damage.what}")
    if found and workers is not None:
        from nlbs.preprocess.sets.repair import repair

        repair(folder, workers)
        found = list(damages(folder))
        say(f"{folder} is restored" if not found else f"{folder} could not be restored")
    if not found:
        say(f"{folder}: every byte is as it was written")
    return len(found)


def _info(folder: AnyPath, batch_size: int, of_root: dict[str, Any]) -> dict[str, Any]:
    try:
        with open_shards(folder) as shard_set:
            return shard_set_info(shard_set, batch_size, of_root)
    except ShardError as error:
        return {"shard_set": str(folder), "error": str(error)}


def _without_description(root: AnyPath) -> list[AnyPath]:
    """Return the folders of finished shard sets whose description is gone; one that is being written is none."""
    return sorted(
        path
        for path in root.iterdir()
        if (path / MANIFEST).is_file()
        and not (path / SHARD_SET_JSON).exists()
        and not (path / PARTS).exists()
    )
