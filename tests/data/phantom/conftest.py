from __future__ import annotations

import pytest
from conftest_phantom import SETS


@pytest.fixture(params=SETS)
def every_set(request: pytest.FixtureRequest) -> str:
    return str(request.param)
