"""safetensors files with equal bytes for equal content, and a check against damage.

The library's own writer orders the header's metadata by a hash that changes with every process, which would make two
equal runs differ. The format is simple enough to write: 8 bytes of header length, a JSON header, the tensors' bytes
(https://github.com/huggingface/safetensors, "Format"). Any safetensors reader opens the files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rekon.errors import UserError
from rekon.files import atomic_path

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.complex64: "C64",
}  # fmt: skip
_TYPES = {name: dtype for dtype, name in _NAMES.items()}
_LARGEST_HEADER = 100_000_000  # as in the library: a larger one is no safetensors file


def write(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write atomically; `metadata` gets a key 'crc32', over the tensors' bytes, that `read` checks."""
    # widest type first keeps every tensor aligned, as the format asks
    ordered = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries: dict[str, dict[str, object]] = {}
    checksum = offset = 0
    for name in ordered:
        end = offset + tensors[name].nbytes
        entries[name] = {
            "dtype": _NAMES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [offset, end],
        }  # fmt: skip
        checksum, offset = zlib.crc32(_bytes(tensors[name]), checksum), end
    document = {"__metadata__": {**dict(sorted(metadata.items())), "crc32": f"{checksum:08x}"}, **entries}
    header = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(len(header).to_bytes(8, "little") + header)
        for name in ordered:
            handle.write(_bytes(tensors[name]))


def read(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (CPU) and metadata of a file; runs no code from it.

    Raises UserError when the file is missing, a pickle, truncated, damaged, or no safetensors file.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            start = handle.read(8)
            if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                raise UserError(
                    f"{path}: a PyTorch pickle, which can run code when opened; convert it to safetensors first."
                )
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(_LARGEST_HEADER, size - 8):
                raise UserError(f"{path}: truncated, or not a safetensors file; make or fetch it again.")
            document = json.loads(handle.read(length).decode())
            metadata = document.pop("__metadata__", {})
            spans = {name: _span(entry) for name, entry in document.items()}
            wanted = 8 + length + max((end for *_, end in spans.values()), default=0)
            if size != wanted:
                raise UserError(f"{path}: has {size} of {wanted} bytes, so it is truncated; make or fetch it again.")
            data = torch.empty(size - 8 - length, dtype=torch.uint8)
            content = memoryview(data.numpy())  # type: ignore[arg-type]
            handle.readinto(content)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a safetensors file.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not a safetensors file, or its header is damaged; make or fetch it again.") from None
    if "crc32" in metadata and f"{zlib.crc32(content):08x}" != metadata["crc32"]:
        raise UserError(f"{path}: damaged (its checksum does not match); make or fetch it again.")
    return {name: _cut(data, *span) for name, span in spans.items()}, metadata


def _span(entry: dict) -> tuple[torch.dtype, list[int], int, int]:
    begin, end = entry["data_offsets"]
    dtype, shape = _TYPES[entry["dtype"]], [int(n) for n in entry["shape"]]
    if not 0 <= begin <= end or end - begin != torch.Size(shape).numel() * dtype.itemsize:
        raise ValueError("offsets do not fit the shape")
    return dtype, shape, begin, end


def _cut(data: Tensor, dtype: torch.dtype, shape: list[int], begin: int, end: int) -> Tensor:
    # a copy: one tensor kept alive must not keep the whole file's bytes in memory
    return data[begin:end].clone().view(dtype).reshape(shape)


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
