"""DVC pointers: the hash of a folder, what differs from it, and the way to a remote and back."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from rekon.errors import UserError
from rekon.reporting.versions import SETTINGS, compare, dir_hash, file_hashes, version

FILES = {
    "data/kspace/b.h5": b"b" * 2000,
    "data/kspace/a.h5": b"a",
    "data/kspace-more/c.h5": b"c",  # '-' sorts before '/'
    "data/maps/ünïcode name.h5": b"",
    "weights/demo/ueps/full.safetensors": bytes(range(256)),
}


def run(*command, cwd, **more):
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, **more).stdout


def dvc(*arguments, cwd):
    return run(sys.executable, "-m", "dvc", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository whose data/ and weights/ git ignores, versioned, committed and pushed to a remote folder."""
    base = tmp_path_factory.mktemp("versions")
    identity = {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**identity, "DVC_SITE_CACHE_DIR": str(base / "site"), "HOME": str(base)}.items():
            patch.setenv(name, value)
        root = base / "project"
        run("git", "init", "-q", str(root), cwd=base)
        (root / ".gitignore").write_text("/data/\n/weights/\n")
        for name, content in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        (root / "data/kspace/.d.h5.77.part.h5").write_bytes(b"half")  # another process is writing
        hashes = version(remote=str(base / "remote"), root=root)
        run("git", "add", "-A", cwd=root)
        run("git", "commit", "-q", "-m", "demo", cwd=root)
        yield base, root, hashes


def below(folder, names=FILES):
    return [name.removeprefix(f"{folder}/") for name in names if name.startswith(f"{folder}/")]


def test_settings_and_pointers_are_committed_and_nothing_else(project):
    _, root, _ = project
    committed = run("git", "ls-files", cwd=root).split()
    assert sorted(committed) == sorted([".gitignore", *SETTINGS, "data.dvc", "weights.dvc"])
    assert (root / ".gitignore").read_text() == "/data/\n/weights/\n"  # `dvc add` found nothing to add
    assert run("git", "status", "--porcelain", cwd=root) == ""
    listed = dict(line.split("=", 1) for line in dvc("config", "--list", cwd=root).splitlines())
    assert listed["cache.type"] == "copy"
    assert {listed[f"core.{key}"] for key in ("analytics", "check_update", "autostage")} == {"false"}
    assert not any(path.is_symlink() or path.stat().st_nlink > 1 for path in (root / "data").rglob("*.h5"))


def test_hash_is_the_one_that_dvc_writes(project):
    _, root, hashes = project
    for folder in ("data", "weights"):
        assert dir_hash(file_hashes(root / folder, below(folder))) == hashes[folder]
        assert hashes[folder] in (root / f"{folder}.dvc").read_text()
    assert file_hashes(root / "data", ["kspace/a.h5", "absent"]) == {"kspace/a.h5": hashlib.md5(b"a").hexdigest()}


def test_equal_whatever_else_lies_in_the_folder(project):
    _, root, _ = project
    (root / "data/open.h5").write_bytes(b"of another scale")
    try:
        for revision in ("HEAD", None):
            result = compare(root / "data.dvc", root / "data", below("data"), revision)
            assert result.equal
            assert str(result) == "data: equals data.dvc (4 files, byte for byte)"
    finally:
        (root / "data/open.h5").unlink()


def test_differences_are_named(project, tmp_path):
    _, root, _ = project
    for name in below("data"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((root / "data" / name).read_bytes())
    (tmp_path / "data/kspace/a.h5").write_bytes(b"A")
    (tmp_path / "data/kspace/b.h5").unlink()
    (tmp_path / "data/new.h5").write_bytes(b"n")
    result = compare(root / "data.dvc", tmp_path / "data", [*below("data"), "new.h5"])
    assert not result.equal
    assert (result.different, result.missing, result.extra) == (("kspace/a.h5",), ("kspace/b.h5",), ("new.h5",))
    assert "1 different (kspace/a.h5); 1 missing (kspace/b.h5); 1 extra (new.h5)" in str(result)


def test_the_committed_pointer_counts_not_the_one_just_written(project):
    _, root, _ = project
    pointer = root / "data.dvc"
    before = pointer.read_text()
    pointer.write_text(before.replace("md5: ", "md5: 00"))
    try:
        assert compare(pointer, root / "data", below("data")).equal
        assert not compare(pointer, root / "data", below("data"), revision=None).equal
    finally:
        pointer.write_text(before)


def test_push_and_pull_restore_both_in_a_clone(project):
    base, root, _ = project
    clone = base / "clone"
    run("git", "clone", "-q", str(root), str(clone), cwd=base)
    assert not (clone / "data").exists()
    # before the pull, the clone has the pointers but not their lists of files
    (clone / "data/kspace").mkdir(parents=True)
    (clone / "data/kspace/a.h5").write_bytes(b"a")
    result = compare(clone / "data.dvc", clone / "data", ["kspace/a.h5", "kspace/b.h5"])
    assert not (result.equal or result.listed)
    assert result.missing == ("kspace/b.h5",) and "which files differ is not known" in str(result)

    dvc("remote", "add", "--local", "--default", "store", str(base / "remote"), cwd=clone)
    dvc("pull", cwd=clone)
    restored = [path for folder in ("data", "weights") for path in (clone / folder).rglob("*") if path.is_file()]
    assert {path.relative_to(clone).as_posix(): path.read_bytes() for path in restored} == FILES
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    assert all(compare(clone / f"{name}.dvc", clone / name, below(name)).equal for name in ("data", "weights"))


def test_errors_are_sentences(project, tmp_path):
    _, root, _ = project
    with pytest.raises(UserError, match=r"^absent/: holds no file to version; run the workflow first"):
        version(["absent"], root=root)
    with pytest.raises(UserError, match=r"none\.dvc: no such DVC pointer; make it with `rekon version none`"):
        compare(root / "none.dvc", root / "data", [])
    (tmp_path / "data.dvc").write_text("outs: []")
    with pytest.raises(UserError, match=r"data\.dvc: not a DVC pointer"):
        compare(tmp_path / "data.dvc", root / "data", [])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_text("x")
    with pytest.raises(UserError, match=r"^dvc add failed in .* is not a git repository\.$"):  # no repository around it
        version(["data"], root=tmp_path)


def test_this_repository_has_these_settings():
    root = Path(__file__).parents[2]
    assert {name: (root / name).read_text() for name in SETTINGS} == SETTINGS
