"""The kit of a reader study: what a reader gets, and the key, which they do not.

<kit>/pairs/0001_A.png, 0001_B.png ...  8-bit grey, as many bytes for every image of one size
<kit>/read.html                         shows the pairs, takes the scores, saves the sheet; works without network
<kit>/sheet.csv                         the empty sheet, for those who rather fill in a table
<kit>/README.txt                        what to do

Nothing in the kit depends on which arm made an image but its pixels: both images of a pair are shown with one window,
[0, 99.5th percentile of both together], PNGs are stored uncompressed (a smooth image would give a smaller file) and
carry no metadata. Equal arms, seed and repeats give equal bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rekon.errors import UserError
from rekon.files import atomic_path, read_json, sha256, write_json, write_text
from rekon.reading.design import MOST_REPEATS, Presentation, design
from rekon.reading.images import Images, read_images
from rekon.reading.key import Key, Pair, sheet_hash
from rekon.reading.sheet import CRITERIA, SIDES, empty_sheet

PERCENTILE = 99.5
TEMPLATES = Path(__file__).parent / "templates"


def make_kit(
    arms: Sequence[Path],
    kit: Path,
    key_path: Path,
    *,
    reference: str | None = None,
    seed: int = 0,
    repeats: float = 0.1,
) -> Key:
    """Write the folder `kit`, complete or not at all, and its key; returns the key.

    arms: files of `write_images`, at least two, with the same cases. reference: name of the arm that each of the
    others is shown against; by default that of the first file. repeats: see `design`.
    Raises UserError for arms that do not compare, a key inside the kit, and outputs that exist: a key that was
    overwritten would make the sheets of its readers worthless.
    """
    if key_path.resolve().is_relative_to(kit.resolve()):
        raise UserError(f"--key {key_path}: lies inside the kit, where readers would find it; put it elsewhere.")
    if kit.exists():
        raise UserError(f"--output {kit}: exists already; remove it, or choose another folder.")
    if not 0 <= repeats <= MOST_REPEATS:
        raise UserError(f"--repeats {repeats}: must lie between 0 and {MOST_REPEATS}.")
    by_name = _comparable([read_images(path) for path in arms])
    reference = next(iter(by_name)) if reference is None else reference
    if reference not in by_name:
        raise UserError(f"--reference {reference}: no such arm; there are {', '.join(by_name)}.")
    base = by_name.pop(reference)
    shown = design(base.images, reference, list(by_name), seed, repeats)
    every = {reference: base, **by_name}
    digits = max(4, len(str(len(shown))))
    names = [f"{index + 1:0{digits}d}" for index in range(len(shown))]
    windows = [_window(one, every) for one in shown]
    with _folder(kit) as folder:
        number = _write_pairs(folder / "pairs", names, shown, windows, every)
        key = Key(
            kit=number, dataset=base.dataset, unit=base.unit, seed=seed, repeats=repeats, reference=reference,
            tests=tuple(sorted(by_name)), criteria=tuple(CRITERIA), brightness=_brightness(base, by_name),
            images={arm: sha256(one.path) for arm, one in every.items()},
            sheet_sha256=sheet_hash(number, names, tuple(CRITERIA)),
            pairs={
                name: Pair(
                    case=one.case, subject=base.subjects[one.case], A=one.a, B=one.b, window=window,
                    repeat_of=None if one.repeat_of is None else names[one.repeat_of],
                )
                for name, one, window in zip(names, shown, windows, strict=True)
            },
        )  # fmt: skip
        _write_texts(folder, key)
        _write_key(key_path, key)
    return key


def _comparable(arms: list[Images]) -> dict[str, Images]:
    """The arms by name, in the order given, if they show the same slices in the same way."""
    if len(arms) < 2:
        raise UserError("--arm: give at least two files, the reference and an arm to compare with it.")
    first, by_name = arms[0], {arms[0].arm: arms[0]}
    for other in arms[1:]:
        if other.arm in by_name:
            raise UserError(
                f"{other.path}: attribute 'arm' is {other.arm!r}, as in {by_name[other.arm].path}; give each arm once."
            )
        by_name[other.arm] = other
        for field in ("dataset", "unit"):
            ours, theirs = getattr(first, field), getattr(other, field)
            if ours != theirs:
                raise UserError(
                    f"{other.path}: attribute {field!r} is {theirs!r}, that of {first.path} is {ours!r}; compare arms "
                    "that agree on it."
                )
        for here, there in ((first, other), (other, first)):
            if lacking := sorted(set(here.images) - set(there.images)):
                raise UserError(
                    f"{there.path}: lacks the case {lacking[0]!r}, which {here.path} has; write the same cases for "
                    "every arm."
                )
        for case, image in first.images.items():
            if other.images[case].shape != image.shape or other.subjects[case] != first.subjects[case]:
                raise UserError(
                    f"{other.path}: '{case}' has another size or subject than in {first.path}; write both arms from "
                    "the same volumes."
                )
    return by_name


def _window(shown: Presentation, arms: dict[str, Images]) -> float:
    """The magnitude shown white."""
    both = np.stack([arms[arm].images[shown.case] for arm in (shown.a, shown.b)])
    white = float(np.percentile(both, PERCENTILE))
    if white <= 0:
        raise UserError(f"{arms[shown.a].path}: case {shown.case!r} is black; leave it out of all arms.")
    return white


def _brightness(reference: Images, tests: dict[str, Images]) -> dict[str, float]:
    """Median over cases of each arm's 99.5th percentile over the reference's: far from 1, brightness tells the arm."""
    base = {case: np.percentile(image, PERCENTILE) for case, image in reference.images.items()}
    return {
        arm: float(np.median([np.percentile(one.images[case], PERCENTILE) / (base[case] or np.inf) for case in base]))
        for arm, one in sorted(tests.items())
    }


def _write_pairs(
    folder: Path, names: list[str], shown: list[Presentation], windows: list[float], arms: dict[str, Images]
) -> str:
    """Write the pictures; returns the kit's id, which depends on their bytes and order."""
    content = hashlib.sha256()
    for name, one, window in zip(names, shown, windows, strict=True):
        for side, arm in zip(SIDES, (one.a, one.b), strict=True):
            data = _png(arms[arm].images[one.case], window)
            content.update(data)
            with atomic_path(folder / f"{name}_{side}.png") as temporary:
                temporary.write_bytes(data)
    return f"kit-{content.hexdigest()[:12]}"  # with letters, or a spreadsheet might take it for a number


def _png(image: np.ndarray, white: float) -> bytes:
    """Grey PNG of [0, white], without compression and without metadata."""
    from PIL import Image

    grey = np.rint(np.clip(image / np.float32(white), 0, 1) * 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(grey).save(data, format="PNG", compress_level=0)
    return data.getvalue()


def _write_texts(folder: Path, key: Key) -> None:
    """Sheet, page and instructions: of the key they get what readers may know."""
    import jinja2

    pairs = list(key.pairs)
    criteria = {name: CRITERIA[name] for name in key.criteria}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    study = {"kit": key.kit, "pairs": pairs, "criteria": list(criteria)}
    known = {"kit": key.kit, "dataset": key.dataset, "pairs": pairs, "criteria": criteria, "repeats": key.repeats > 0}
    script = (TEMPLATES / "sheet.js").read_text(encoding="utf-8")
    page = environment.get_template("read.html.j2").render(**known, study=study, sheet_script=script)
    write_text(folder / "read.html", page)
    write_text(folder / "README.txt", environment.get_template("README.txt.j2").render(**known))
    write_text(folder / "sheet.csv", empty_sheet(key.kit, pairs, key.criteria))


def _write_key(path: Path, key: Key) -> None:
    """Write the key, unless another one is there."""
    document = json.loads(key.model_dump_json())
    if path.exists() and read_json(path) != document:
        raise UserError(f"--key {path}: holds the key of another kit; without it that kit's sheets are lost; move it.")
    write_json(path, document)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name on success, and goes on any error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
