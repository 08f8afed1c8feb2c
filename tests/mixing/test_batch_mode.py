"""One mask for all images: draws and losses are those of before ``mode`` existed."""

import json

import batch_mode
import pytest

BEFORE = json.loads(batch_mode.FILE.read_text())


@pytest.mark.parametrize('name', batch_mode.AUGMENTS)
def test_batch_mode_is_what_it_was(name):
    now = batch_mode.draw(name)
    for key, stored in BEFORE[name].items():
        if key.startswith('loss'):
            # To the bit on one machine; libraries of others round matrices otherwise.
            stored = pytest.approx(stored, rel=1e-6)
        assert now[key] == stored, key
