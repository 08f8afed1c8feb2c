"""Imports of the server process whose forks run the tools, see :mod:`.forks`."""

import signal

from mmtlalign.engine.console import filter_known_warnings, import_host
from tools.experiments import report, run_pictures  # noqa: F401

# Ctrl-C is for the process that started this one.
before = signal.signal(signal.SIGINT, signal.SIG_IGN)
filter_known_warnings()
for host in ('mmpretrain', 'mmseg', 'mmdet'):
    import_host(host)
signal.signal(signal.SIGINT, before)
