"""Compile the share kernels for GPUs that are not here, and read what they take."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmtlalign.tracing.kernels import launch
from mmtlalign.tracing.kernels import triton_kernels as kernels
from mmtlalign.tracing.kernels.launch import WINDOW_TILE, room

CUOBJDUMP = Path(triton.__file__).parent / 'backends/nvidia/bin/cuobjdump'
TENSORS = dict(bf16=torch.bfloat16, fp16=torch.float16, fp32=torch.float32)
TYPES = dict(bf16='*bf16', fp16='*fp16', fp32='*fp32')
HALF_POINTERS = ('Q', 'K', 'WEIGHTS')
POINTERS = dict(MASK='*fp32', PLACES='*i32')
# Strides that Triton finds to be divisible by 16, as it does with whole heads.
DIVISIBLE = ('sqb', 'sqh', 'sqn', 'skb', 'skh', 'skn', 'swb', 'swh')


def constants(kernel, dtype, block, width, columns, masking, tail=16):
    """What a launch gives as constants, by kernel function."""
    if kernel == 'weigh_windows':
        tokens = 1 << (width - 1).bit_length()
        rows = min(tokens, max(1, WINDOW_TILE // tokens))
        return {'weigh_windows': dict(S=columns, BM=rows, BT=tokens)}
    query = torch.empty(0, width, dtype=TENSORS[dtype])
    common = launch.constants(query, block, 1.0)
    common = {n: v for n, v in common.items() if n.isupper() and n != 'SCALE2'}
    if kernel == 'propagate':
        if columns == 1 and masking == 'none':
            return {'propagate_column': dict(common, TN=tail)}
        more = dict(S=columns, SP=room(columns), MASKING=masking, TN=tail)
        return {'propagate': common | more}
    common |= dict(MASKING=masking)
    return {'log_sums': common, kernel: common}


def compile_for(capability, name, dtype, block, fixed):
    """A kernel compiled ahead of time, as Triton's launcher would specialise it."""
    function = getattr(kernels, f'{name}_kernel')
    signature, attributes, fixed = {}, {}, dict(fixed)
    masking = fixed.get('MASKING')
    if masking == 'none':
        fixed |= dict(MASK=None)
    for unit in ('sqd', 'skd', 'swn'):
        fixed[unit] = 1
    if fixed.get('S') == 1:
        fixed |= dict(sss=1, ses=1, ssn=1, sen=1)
    names = [p.name for p in function.params]
    fixed = {n: v for n, v in fixed.items() if n in names}
    for index, argument in enumerate(names):
        if argument in fixed:
            kind = 'constexpr'
        elif argument in HALF_POINTERS:
            kind = TYPES[dtype]
        elif argument == 'MASK' and masking == 'kept':
            kind = '*u8'
        elif argument in ('SCALE2', 'RESIDUAL'):
            kind = 'fp32'
        elif argument.isupper() and len(argument) > 1 and argument not in ('Nq', 'Nk'):
            kind = POINTERS.get(argument, '*fp32')
        else:
            kind = 'i32'
        signature[argument] = kind
        if kind.startswith('*') or (argument in DIVISIBLE and argument not in fixed):
            attributes[(index,)] = [['tt.divisibility', 16]]
    source = ASTSource(
        fn=function, signature=signature, constexprs=fixed, attrs=attributes
    )
    options = dict(num_warps=block.warps, num_stages=block.stages)
    target = GPUTarget('cuda', capability, 32)
    return triton.compile(source, target=target, options=options)


def measure(found) -> dict:
    """Registers, bytes that are spilled, and shared memory of a compiled kernel."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, 'kernel.cubin')
        Path(file).write_bytes(found.asm['cubin'])
        usage, code = (
            subprocess.run(
                [CUOBJDUMP, option, file], capture_output=True, text=True, check=True
            ).stdout
            for option in ('-res-usage', '-sass')
        )
    values = {k: int(v) for k, v in re.findall(r'(REG|STACK|LOCAL):(\d+)', usage)}
    spills = len(re.findall(r'\s(?:STL|LDL)[.\s]', code))
    return dict(registers=values['REG'], spills=spills, shared=found.metadata.shared)
