"""Several processes, and killed ones, make the store that a single run makes."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from label_map_files import draw_pictures, run_tool, weights_in

from mmtlalign.methods.token_labeling.annotators import Annotator

FORK = multiprocessing.get_context('fork')
STOCK = Annotator.__call__


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp('pictures'))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return weights_in(tmp_path_factory.mktemp('weights'))


def contents(root):
    """Every file of a store, byte by byte, hidden ones too."""
    return {file.name: file.read_bytes() for file in root.iterdir()}


@pytest.fixture(scope='module')
def start(pictures, weights):
    """Run the tool in another process; `begin` is called there first."""
    weights('test_efficientnet')

    def run(out, *more, begin=None):
        def main():
            # Threads do not outlive a fork, and their number decides the last bits.
            torch.set_num_threads(1)
            if begin:
                begin()
            run_tool(pictures, out, weights, *more)

        process = FORK.Process(target=main)
        process.start()
        return process

    return run


@pytest.fixture(scope='module')
def whole(start, tmp_path_factory):
    """What a single process makes: three shards."""
    out = tmp_path_factory.mktemp('whole')
    process = start(out)
    process.join(100)
    assert process.exitcode == 0
    assert len(contents(out)) == 6
    return contents(out)


def test_workers_that_read(start, whole, tmp_path):
    process = start(tmp_path, '--workers', '2')
    process.join(100)
    assert process.exitcode == 0
    assert contents(tmp_path) == whole


def test_two_parts_at_the_same_time(start, whole, tmp_path):
    processes = [start(tmp_path, '--part', f'{i}/2') for i in range(2)]
    assert all(process.is_alive() for process in processes)
    for process in processes:
        process.join(100)
        assert process.exitcode == 0
    assert contents(tmp_path) == whole


def slow():
    """Leave time to be killed in, also while a shard is being written."""

    def slowly(self, images):
        time.sleep(0.3 * bool(images.any()))  # not the blank one of the plan
        return STOCK(self, images)

    def sync(number, stock=os.fsync):
        stock(number)
        time.sleep(0.5)

    Annotator.__call__, os.fsync = slowly, sync


@pytest.mark.parametrize('while_writing', [False, True])
def test_kill_9(start, whole, tmp_path, while_writing, capfd):
    process = start(tmp_path, begin=slow)
    first = tmp_path / 'shard-00000.npy'
    pattern = '.shard-00001.npy.*.part' if while_writing else first.name
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(pattern)):
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    assert first.exists() and not (tmp_path / 'shard-00001.npy').exists()
    assert bool(list(tmp_path.glob('.*.part'))) == while_writing
    written = first.stat().st_mtime_ns

    seen = FORK.Value('i', 0)

    def count():
        def counted(self, images):
            seen.value += len(images) * bool(images.any())
            return STOCK(self, images)

        Annotator.__call__ = counted

    capfd.readouterr()
    process = start(tmp_path, begin=count)
    process.join(100)
    assert process.exitcode == 0
    assert seen.value == 4  # of seven
    assert first.stat().st_mtime_ns == written
    assert contents(tmp_path) == whole
    said = capfd.readouterr()
    assert '1 of 3 files already exist and are verified' in said.out
    assert f'7 label maps in {tmp_path}, all checksums fit.' in said.out
    assert '100%' in said.err and 'images/s' in said.err and '0:00 left' in said.err
