"""Fixtures of the tests of the operators without a compiled mmcv."""

import pytest
from mmcv_stand_in import stand_in, use


@pytest.fixture
def ours(monkeypatch):
    """All of mmcv.ops calls our operators, compiled ones or not."""
    module = stand_in()
    use(module, monkeypatch)
    return module
