from __future__ import annotations

import pytest
from conftest_phantom import FASTMRI_SETS, SETS


@pytest.fixture(params=SETS)
def every_set(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FASTMRI_SETS)
def fastmri_set(request: pytest.FixtureRequest) -> str:
    return str(request.param)
