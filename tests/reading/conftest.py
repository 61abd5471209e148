import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `readers`


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Folder of a kit with its key: 8 made-up subjects, 2 slices each, a quarter of the pairs twice."""
    import readers

    folder = tmp_path_factory.mktemp("study")
    readers.make(folder, repeats=0.25)
    return folder


@pytest.fixture
def key(study):
    from rekon.reading.key import read_key

    return read_key(study / "key.json")
