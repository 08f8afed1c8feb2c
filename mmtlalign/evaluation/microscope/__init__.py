"""The label microscope: one HTML file that shows how labels move."""

from mmtlalign.evaluation.microscope.collect import collect_pairs
from mmtlalign.evaluation.microscope.hook import MicroscopeHook
from mmtlalign.evaluation.microscope.records import Geometry, Pair, Rule
from mmtlalign.evaluation.microscope.source import (
    describe_config,
    make_pairs,
)
from mmtlalign.evaluation.microscope.write import Page, render, write_page

__all__ = [
    'Geometry',
    'MicroscopeHook',
    'Page',
    'Pair',
    'Rule',
    'collect_pairs',
    'describe_config',
    'make_pairs',
    'render',
    'write_page',
]
