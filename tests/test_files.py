"""Atomic writes, and randomness as a pure function."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekon.errors import UserError
from rekon.files import atomic_path, fingerprint, read_json, read_yaml, sha256, write_json
from rekon.randomness import generator, key


def test_interrupted_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "folder" / "value.json"
    write_json(path, {"b": 1, "a": [1.5, "ü"]})
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_writers_of_two_machines_with_one_process_id_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = []
    for machine in ("node1", "node2"):
        monkeypatch.setattr("platform.node", lambda machine=machine: machine)
        with atomic_path(tmp_path / "value.h5") as temporary:
            temporary.write_text(machine)
            names.append(temporary.name)
    assert len(set(names)) == 2 and all(name.endswith(".h5") and name.startswith(".") for name in names)


def test_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left on the disk"):
        write_json(tmp_path / "value.json", 1)
    assert list(tmp_path.iterdir()) == []


def test_unreadable_files_are_sentences(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "absent.json")
    broken = tmp_path / "broken.json"
    broken.write_bytes(b'{"a": ')
    with pytest.raises(UserError, match=r"broken\.json: not valid JSON"):
        read_json(broken)
    with pytest.raises(UserError, match="not valid YAML near line 1"):
        read_yaml(broken)


def test_hashes_are_of_content(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


streams = st.tuples(st.integers(0, 9), st.sampled_from(["order", "coils"]), st.integers(0, 99), st.integers(0, 99))


@given(streams, streams)
def test_streams_are_named_by_their_arguments_alone(one, other):
    assert (key(*one) == key(*other)) == (one == other)
    first, second = generator(*one).random(4), generator(*one).random(4)
    assert (first == second).all()
