"""Files that are complete or absent: atomic writes, hashes, JSON and YAML with sorted keys."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rekon.errors import UserError


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced and takes the final name, on any error it goes.

    Raises UserError when the disk is full or the folder cannot be written.
    """
    final = Path(path)
    # host and process id keep two writers apart, also on a disk that machines share; the suffix stays so that
    # libraries which look at it still work
    temporary = final.with_name(f".{final.name}.{platform.node()}.{os.getpid()}.part{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(final)
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise UserError(f"{final}: no space left on the disk while writing; free some and run again.") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def yaml_text(value: Any) -> str:
    """YAML with sorted keys."""
    return yaml.safe_dump(value, sort_keys=True, allow_unicode=True, width=120)


def write_yaml(path: Path | str, value: Any) -> None:
    """Write YAML atomically, keys sorted."""
    write_text(path, yaml_text(value))


def read_json(path: Path | str) -> Any:
    """Read JSON; UserError when the file is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from None


def read_yaml(path: Path | str) -> Any:
    """Read YAML; UserError when the file is missing or not YAML."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" near line {where.line + 1}" if where else ""
        raise UserError(f"{path}: not valid YAML{line}; check the indentation and the colons there.") from None


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
