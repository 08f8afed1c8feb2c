"""The end of a process that trained together with others on a CPU."""

import subprocess
import sys

PROGRAM = """
import atexit, gc, os, sys, threading, time
import torch
from torch import distributed as dist, nn
from mmtlalign.engine.precision import leave_processes

class Late:
    def __del__(self):
        os.write(2, b'the interpreter was shut down')

os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='0', RANK='0', WORLD_SIZE='1')
dist.init_process_group('gloo')
net = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
net(torch.ones(1, 2)).sum().backward()
late = Late()
atexit.register(print, 'exit handler')
threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()
print('trained')
leave_processes(3)
"""


def test_exit_handlers_run_and_the_interpreter_is_not_shut_down():
    # A thread of gloo that takes the interpreter's lock during the shutdown of the
    # interpreter aborts the process, once in some thousand runs.
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split('\n') == ['trained', 'thread', 'exit handler', '']
    assert done.stderr == ''
    assert done.returncode == 3


def test_nothing_happens_in_a_process_alone():
    program = 'from mmtlalign.engine.precision import leave_processes\n'
    program += "leave_processes(3)\nprint('goes on')"
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.returncode) == ('goes on\n', 0)
