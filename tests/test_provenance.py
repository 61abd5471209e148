import json
import subprocess

import pytest

from rekon import provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "repo"
    (folder / "package").mkdir(parents=True)
    (folder / "package/a.py").write_text("x = 1\n")

    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    return folder, git


def state(folder):
    provenance.git.cache_clear()
    return provenance.git(folder)


def test_commit_and_difference(repository):
    folder, git = repository
    package = folder / "package"
    clean = state(package)
    assert clean == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False, "diff_sha256": None}
    (package / "a.py").write_text("x = 2\n")
    changed = state(package)
    assert changed["dirty"]
    assert changed["commit"] == clean["commit"]
    (folder / "new.txt").write_text("1")
    added = state(package)
    (folder / "new.txt").write_text("2")
    rewritten = state(package)
    assert len({changed["diff_sha256"], added["diff_sha256"], rewritten["diff_sha256"]}) == 3


def test_outside_git_and_in_somebody_elses_repository(repository, tmp_path):
    folder, _ = repository
    (tmp_path / "plain").mkdir()
    assert state(tmp_path / "plain") is None
    installed = folder / ".venv/package"
    installed.mkdir(parents=True)
    (installed / "a.py").write_text("x = 1\n")
    assert state(installed) is None


def test_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert state(tmp_path) is None


def test_code_fingerprint_sees_names_and_contents(tmp_path):
    seen = set()
    (tmp_path / "a.py").write_text("x = 1\n")
    for change in (
        lambda: None,
        lambda: (tmp_path / "a.py").write_text("x = 2\n"),
        lambda: (tmp_path / "a.py").rename(tmp_path / "b.py"),
        lambda: (tmp_path / "c.py").write_text(""),
    ):
        change()
        provenance.code_fingerprint.cache_clear()
        seen.add(provenance.code_fingerprint(tmp_path))
        (tmp_path / "notes.txt").write_text(str(len(seen)))
    assert len(seen) == 4
    provenance.code_fingerprint.cache_clear()
    assert provenance.code_fingerprint(tmp_path) in seen, "other files do not count"


def test_describe(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret-of-this-test")
    (tmp_path / "in.txt").write_text("abc")
    known = "0" * 64
    made = provenance.describe("rule", {"b": known, "a": tmp_path / "in.txt"}, seeds={"s": 1}, started=0.0, note="x")
    text = json.dumps(made)
    assert made["inputs"] == {"a": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "b": known}
    assert made["started"] == "1970-01-01T00:00:00Z"
    assert made["seconds"] > 1e9
    assert made["note"] == "x"
    assert made["versions"]["torch"]
    assert 10 < made["peak_memory_mb"] < 1e6
    assert made["device"].startswith("cpu (")
    assert "secret-of-this-test" not in text
    with pytest.raises(OSError, match="absent"):
        provenance.describe("rule", {"a": tmp_path / "absent"})
