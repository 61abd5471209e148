"""What logs and Snakemake's markers tell of a job."""

from __future__ import annotations

import base64

import pytest

from rekon.files import write_text
from rekon.reporting import status_files
from rekon.reporting.status_jobs import ago

TRACEBACK = """Traceback (most recent call last):
  File "/x/loop.py", line 3, in step
    loss.backward()
    ^^^^^^^^^^^^^^^
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.
"""


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        (TRACEBACK, "failed", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."),
        (TRACEBACK + "\nDuring handling of the above exception, another exception occurred:\n\n"
         "Traceback (most recent call last):\n  File \"x\", line 1\nOSError: disk\n", "failed", "OSError: disk"),
        ("".join(f"[rank1]: {line}\n" for line in TRACEBACK.splitlines()), "failed", "torch.OutOfMemoryError"),
        ("[rank0]: x\nrekon: data.h5: damaged.\n" + TRACEBACK, "failed", "data.h5: damaged."),
        ("/usr/bin/bash: line 1: rekon: command not found\n", "failed", "command not found"),
        ("slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\n", "failed", "TIME LIMIT"),
        ("nas/base: done, 1 min 00 s of training; kept the weights of step 160\n", "finished", ""),
        ("nas/base: goes on after step 3 of 9\n", "unknown", ""),
        ("", "unknown", ""),
    ],
)  # fmt: skip
def test_the_useful_line_of_a_log(text, kind, told):
    end = status_files.ending(text)
    assert end.kind == kind and told in end.text


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    write_text(tmp_path / "a.log", "x" * 70_000 + "\n" + "nas/base: out of time after step 5 of 9.\n")
    assert status_files.ending(status_files.tail(tmp_path / "a.log")).step == 5


def test_long_names_in_snakemakes_markers(tmp_path):
    name = "results/" + "a" * 300 + ".csv"
    encoded = base64.urlsafe_b64encode(name.encode()).decode()
    write_text(tmp_path / ".snakemake/incomplete" / f"@{encoded[:200]}" / encoded[200:], "{}")
    assert list(status_files.read_markers(tmp_path).begun) == [name]


def test_ages_in_words():
    assert [ago(s) for s in (9, 300, 3 * 3600, 72 * 3600)] == ["9 s ago", "5 min ago", "3 h ago", "3 days ago"]
