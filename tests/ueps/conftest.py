import sys
from pathlib import Path

import pytest
import torch

for room in ("nas", "dpm", "more", "ueps"):  # for `rungs`, and in the test offline for the others' tiny networks
    sys.path.insert(0, str(Path(__file__).parents[1] / room))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
