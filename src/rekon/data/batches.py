"""A set whose volumes are known only when its files are there, converted and calibrated batch by batch.

Batch k of n holds every n-th volume of the split's list, from the k-th on, so that batches are alike. A volume that
cannot be converted is named in the batch's record, and stops no other. What the machine is to blame for, such as a full
disk, says nothing of a file: it fails the job, which can be run again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from rekon.config.datasets import Dataset
from rekon.data.calibrate import calibrate
from rekon.data.convert import CONVERTER, convert, source_hash
from rekon.data.formats.raw import AGAIN
from rekon.data.release import require
from rekon.data.splits import read_split
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.files import fingerprint, read_json, write_json

BAD = 0.05  # of a split's volumes may be left out; more are a sign of something else than single bad files
# what of a catalogue's entry changes no volume
_NOT_READ = {
    "title", "licence", "role", "stands_for", "homepage", "access", "citation", "normalisation", "fit", "fetch",
    "published",
}  # fmt: skip
_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE,
    errno.ETIMEDOUT,
}  # fmt: skip
T = TypeVar("T")


def parse_batch(text: str) -> tuple[int, int]:
    """`K/N` as two numbers, 1 <= K <= N."""
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise UserError(f"--batch {text}: expected K/N, for example 1/4.")
    return int(k), int(n)


def of_batch(items: Sequence[T], batch: tuple[int, int]) -> Sequence[T]:
    """The items that belong to batch (k, n)."""
    return items[batch[0] - 1 :: batch[1]]


def convert_batch(
    dataset_name: str,
    split: str,
    dataset: Dataset,
    listing: Path | str,
    folder: Path | str,
    batch: tuple[int, int],
    out: Path | str,
    threads: int = 1,
    count: int | None = None,
) -> None:
    """Convert a batch of the raw files that `listing` names (relative to it) to folder/<stem>.h5; record it in `out`.

    listing: what `write_split` wrote; batch: (k, n); count: only the first so many of the list; threads: files at a
    time. A volume is kept if its raw file, the converter and what the catalogue says of reading are unchanged. Raises
    UserError when two files have one name, and when none of several files can be converted.
    """
    listing, folder = Path(listing), Path(folder)
    chosen = read_split(listing)
    names = chosen.names[:count]
    stems = [Path(name).stem for name in names]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise UserError(f"{listing}: two files are called {twice!r}; rename one, volumes are named after their files.")
    mine = of_batch(names, batch)
    require(listing.parent, mine)
    jobs = [(listing.parent / name, folder / f"{Path(name).stem}.h5", dataset_name, dataset) for name in mine]
    bad: dict[str, str] = {}
    with ProcessPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        results = map(_convert_one, jobs) if pool is None else pool.map(_convert_one, jobs)
        for name, (raw, *_), problem in zip(mine, jobs, results, strict=True):
            print(f"{dataset_name}/{split} {raw.name}: {problem or 'done'}", flush=True)
            if problem:
                bad[name] = problem
    if len(bad) == len(jobs) > 1:
        raise UserError(f"{listing}: none of {len(jobs)} files could be converted; the first: {bad[mine[0]]}")
    made = [out.as_posix() for (raw, out, *_), name in zip(jobs, mine, strict=True) if name not in bad]
    expected = None if chosen.expected is None else min(chosen.expected, count or chosen.expected)
    write_json(
        out,
        {
            "dataset": dataset_name,
            "split": split,
            "list": {"sha256": chosen.sha256, "names": len(names), "expected": expected},
            "volumes": made,
            "bad": bad,
        },
    )


def read_batches(records: Iterable[Path | str], bad_share: float = BAD) -> tuple[list[Path], dict[str, Any]]:
    """Volumes of all batches, and what a manifest says of them: the list they are of, which files were left out.

    Raises UserError when records are of different lists, and when more than `bad_share` of the files are bad.
    """
    contents = [(path, read_json(path)) for path in sorted(map(Path, records))]
    lists = {content["list"]["sha256"] for _, content in contents}
    if len(lists) != 1:
        raise UserError(f"{contents[0][0]}: batches of different lists; run the rule convert_batch again.")
    bad = {name: why for _, content in contents for name, why in content["bad"].items()}
    volumes = [Path(name) for _, content in contents for name in content["volumes"]]
    if len(bad) > bad_share * (len(bad) + len(volumes)):
        name, why = next(iter(sorted(bad.items())))
        raise UserError(
            f"{contents[0][0].parent}: {len(bad)} of {len(bad) + len(volumes)} files cannot be converted, more than "
            f"single bad files; {name}: {why}"
        )
    return volumes, {"list": contents[0][1]["list"], "left_out": bad}


def calibrate_batch(
    manifest: Path | str, folder: Path | str, batch: tuple[int, int], out: Path | str, threads: int = 1
) -> None:
    """Calibrate a batch of a manifest's volumes into folder/<volume>.h5, and record it in `out`; maps there stay."""
    volumes = of_batch(read_json(Path(manifest))["volumes"], batch)
    todo = [(one["path"], Path(folder) / f"{one['volume']}.h5") for one in volumes]
    missing = [(volume, maps) for volume, maps in todo if not maps.exists()]
    if threads == 1 or len(missing) < 2:
        for volume, maps in missing:
            calibrate(volume, maps)
    else:
        with ProcessPoolExecutor(threads) as pool:
            for done in [pool.submit(calibrate, volume, maps) for volume, maps in missing]:
                done.result()
    write_json(out, {"maps": [maps.as_posix() for _, maps in todo]})


def _convert_one(job: tuple[Path, Path, str, Dataset]) -> str | None:
    """The reason why a file cannot be converted, or None. Raises what is no fault of the file's."""
    raw, out, dataset_name, dataset = job
    try:
        converter = _converter(dataset)
        if not _up_to_date(raw, out, dataset, converter):
            convert(raw, out, dataset_name, dataset, out.stem, converter=converter)
    except Exception as error:
        if isinstance(error, MemoryError | AssertionError) or _of_machine(error):
            raise
        # damage can show as any exception, wherever a file is first believed
        words = " ".join(str(error).split())
        return words if isinstance(error, UserError) else f"{raw}: cannot be read ({words}); {AGAIN}."
    return None


def _of_machine(error: BaseException) -> bool:
    """Whether an error, or what it was raised for, is a disk that is full, fails, or may not be written."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, OSError) and one.errno in _MACHINE:
            return True
        one = one.__cause__ or one.__context__
    return False


def _converter(dataset: Dataset) -> str:
    """The converter, and the catalogue's words that it follows, in one name."""
    says = dataset.model_dump(mode="json", exclude=_NOT_READ)
    return f"{CONVERTER}, {fingerprint(says)[:12]}"


def _up_to_date(raw: Path, out: Path, dataset: Dataset, converter: str) -> bool:
    if not out.exists() or not raw.is_file():
        return False
    try:
        with Volume(out) as volume:
            made_by = (volume.attrs.get("converter"), volume.attrs.get("source_sha256"))
    except UserError:
        return False
    return made_by[0] == converter and made_by[1] == source_hash(raw, dataset)
