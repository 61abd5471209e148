"""Two trainings never share a state folder."""

import os
import subprocess
import sys
import time

import pytest
import toy

from rekon.errors import UserError
from rekon.training.sole import sole


def test_a_second_training_in_the_same_folder_is_refused_until_the_first_has_ended(tmp_path):
    first = subprocess.Popen([sys.executable, toy.__file__, str(tmp_path), "slow=0.05", "steps=4000"])
    try:
        limit = time.monotonic() + 60
        while not (tmp_path / "work/metrics.jsonl").exists():
            assert first.poll() is None and time.monotonic() < limit
            time.sleep(0.1)
        with pytest.raises(UserError, match=rf"work: process {first.pid} on \S+ is training here; end it"):
            toy.run(tmp_path)
    finally:
        first.kill()
        first.wait()
    toy.run(tmp_path)
    assert (tmp_path / "toy.safetensors").exists()
    assert list((tmp_path / "work").iterdir()) == []


def test_the_other_processes_of_a_training_come_under_its_lock(tmp_path):
    with sole(tmp_path), sole(tmp_path, first=False):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()
    assert not (tmp_path / "lock").exists()
