"""What the tests share: real data and equal random numbers."""

import os
import random
import shutil
import signal
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

# Tests never download and never open a window.
os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')
# Some tests stop a command with Ctrl-C; what a shell started in the background
# ignores it, and so would the command.
signal.signal(signal.SIGINT, signal.default_int_handler)

CACHE = '~/.cache/mmtlalign/data'


needs_corruptions = pytest.mark.skipif(
    find_spec('imagecorruptions') is None,
    reason='imagecorruptions-imaug is not installed',
)
needs_value_channels = pytest.mark.skipif(
    not hasattr(torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu'),
    reason='the fused kernel of this PyTorch for a CPU takes no columns and no mask',
)


def pytest_collection_modifyitems(config, items):
    """With several processes, files with slow tests come first.

    Else one might begin the longest when the other has nothing left to do.
    """
    if hasattr(config, 'workerinput'):  # pytest-xdist's, in a process of several
        slow = {item.path for item in items if item.get_closest_marker('slow')}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope='module')
def without_scope():
    """Each file begins without the default scope that another one has left."""
    registry = sys.modules.get('mmengine.registry')
    if registry is not None:
        registry.DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same random numbers, alone or among others."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def without_collections(monkeypatch):
    """Spare the collection of garbage that mmengine begins for every data set.

    In a process with all hosts it takes most of the time of a tiny run.
    """
    module = sys.modules.get('mmengine.dataset.base_dataset')
    if module is not None:
        monkeypatch.setattr(module, 'gc', SimpleNamespace(collect=lambda: 0))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Do not wait five seconds for every data worker of a loader that is collected.

    PyTorch asks the workers to end, but the queue that would tell them is collected
    first. In a run by ``tools/train.py`` they end with the process.
    """
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.2)


@pytest.fixture(scope='session')
def data_root():
    """Folder with the archives of real images; skips where none is named."""
    folder = os.environ.get('MMTLALIGN_DATA')
    if not folder:
        pytest.skip('MMTLALIGN_DATA names no folder with archives of real images')
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f'MMTLALIGN_DATA={folder} is not a folder: correct or unset it'
        )
    return Path(folder)


@pytest.fixture(scope='session')
def unpack(data_root):
    """Function that unpacks an archive once: `unpack('cifar10')` -> its folder.

    The copies lie in the folder named by MMTLALIGN_CACHE, by default in the
    user's cache, and stay there for the next run.
    """
    cache = Path(os.environ.get('MMTLALIGN_CACHE') or CACHE).expanduser()

    def unpacked(name):
        archive = data_root / f'{name}.tar.xz'
        if not archive.exists():
            pytest.skip(f'{archive.name} is not in {data_root} (MMTLALIGN_DATA)')
        return unpack_once(archive, cache)

    return unpacked


def unpack_once(archive, cache):
    """Unpack an archive into a cache; a part is never seen under the final name.

    Args:
        archive (Path): a `.tar.xz` file with one folder at its top.
        cache (Path): made if need be.

    Returns:
        Path: the folder that was at the archive's top.
    """
    name = archive.name.split('.')[0]
    # The size tells a new version of the archive from the old one.
    target = cache / f'{name}-{archive.stat().st_size}'
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = tempfile.mkdtemp(prefix=f'.{name}-', dir=cache)
        # Python 3.11.4 brought the filter, and Debian 12 has 3.11.2.
        safe = dict(filter='data') if hasattr(tarfile, 'data_filter') else {}
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(part, **safe)
            os.rename(part, target)
        except OSError:
            # Another run was faster, or the disk is full.
            if not target.exists():
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    (top,) = target.iterdir()
    return top


@pytest.fixture
def ours(monkeypatch):
    """All of mmcv.ops calls our operators, compiled ones or not."""
    from mmcv_stand_in import stand_in, use

    module = stand_in()
    use(module, monkeypatch)
    return module
