"""Every tile of the table, compiled for GPUs that are not here: no spills."""

import itertools
from importlib.util import find_spec

import pytest

from mmtlalign.tracing.kernels.blocks import (
    Block,
    Case,
    fewer_rows,
    find_block,
    read_table,
)

pytest.importorskip('triton', minversion='3.2')
if find_spec('triton.backends.nvidia') is None:
    pytest.skip('this Triton is not for GPUs of NVIDIA', allow_module_level=True)

from ahead_of_time import CUOBJDUMP, compile_for, constants, measure

pytestmark = pytest.mark.skipif(
    not CUOBJDUMP.exists(), reason='Triton came without cuobjdump'
)
# What a program may take on every GPU that the table is for.
MOST_SHARED = 99 * 1024


def list_variants():
    """Yield the largest case of every row, in every type and with every mask."""
    for capability, table in read_table().items():
        for row in table:
            types = {16: ['bf16', 'fp16'], 32: ['fp32'], None: ['bf16', 'fp32']}
            masks = {True: ['added', 'kept'], False: ['none']}
            masked = row.get('masked')
            block = Block(*row['block'])
            # Small batches take fewer rows.
            usual = row['kernel'] == 'propagate' and row['columns'] == 1
            tiles = [block, fewer_rows(block, 1, 1, 132)] if usual else [block]
            for dtype in types[row.get('bits')]:
                for mask in masks.get(masked, ['none', 'added', 'kept']):
                    width, columns = row.get('width', 128), row.get('columns', 1)
                    for tile in dict.fromkeys(tiles):
                        yield (
                            capability,
                            row['kernel'],
                            dtype,
                            width,
                            columns,
                            mask,
                            tile,
                        )


VARIANTS = {'-'.join(map(str, v[:-1])) + f'-{tuple(v[-1])}': v for v in list_variants()}


def check(capability, kernel, dtype, width, columns, mask, block):
    for name, fixed in constants(kernel, dtype, block, width, columns, mask).items():
        # One product of float32 in three of TF32, exact to float32.
        assert fixed.get('PRECISION', 'tf32x3') == 'tf32x3'
        found = measure(compile_for(capability, name, dtype, block, fixed))
        assert found['spills'] == 0, (name, found)
        assert found['shared'] <= MOST_SHARED, (name, found)


@pytest.mark.parametrize('capability', [80, 90, 100])
def test_usual_tile_compiles_without_spills(capability):
    (*_, block) = next(
        v for v in VARIANTS.values() if v[:3] == (capability, 'propagate', 'bf16')
    )
    check(capability, 'propagate', 'bf16', 64, 1, 'none', block)


@pytest.mark.parametrize('capability', read_table())
def test_every_call_in_scope_has_a_tile(capability):
    for bits, width, columns, masked in itertools.product(
        (16, 32), (16, 64, 65, 96, 97, 128), (1, 2, 16, 17, 32), (False, True)
    ):
        for kernel in ('propagate', 'class_rows', 'received', 'weigh_windows'):
            case = Case(kernel, bits, width, columns, masked, 4097)
            assert find_block(case, capability), case


@pytest.mark.slow
@pytest.mark.parametrize('variant', VARIANTS.values(), ids=VARIANTS)
def test_every_tile_compiles_without_spills(variant):
    check(*variant)
