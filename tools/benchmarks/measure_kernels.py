"""Measure which attention is faster, fused or explicit, for every case of the rule.

    python tools/benchmarks/measure_kernels.py                  # this CPU, one thread
    python tools/benchmarks/measure_kernels.py --device cuda    # adds a GPU
    python tools/benchmarks/measure_kernels.py --out FILE       # elsewhere

Each case is a device, a dtype, a number of tokens, with or without a learnt bias, as in
windows. The two kernels take turns at forward and backward. The result replaces the
cases of that device in mmtlalign/fast/kernel_times.json, by which attention is chosen.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from mmtlalign.compat.files import atomic_write
from mmtlalign.fast.attention import TIMES, explicit_attention, fused_attention
from tools.benchmarks import timing
from tools.machine import processor

# Windows with sides of 4, 7, 8 and 14 tokens; classifiers at 32 to 512 pixels.
TOKENS = {True: [16, 49, 64, 196], False: [17, 50, 65, 197, 577, 1025]}
HEADS, WIDTH = 6, {True: 32, False: 64}


def make_steps(
    tokens: int, biased: bool, dtype: torch.dtype, device: str, elements: int
) -> dict[str, Callable[[], None]]:
    """Return forward and backward of an attention, by kernel."""
    batch = max(1, elements // (HEADS * tokens**2))
    draw = torch.Generator(device).manual_seed(0)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=draw, device=device).to(dtype)

    packed, bias = random(batch, tokens, 3, HEADS, WIDTH[biased]), None
    gradient = random(batch, HEADS, tokens, WIDTH[biased])
    if biased:
        bias = random(HEADS, tokens, tokens).requires_grad_()

    def step(attend):
        def run():
            leaf = packed.detach().requires_grad_()
            parts = leaf.permute(2, 0, 3, 1, 4).unbind(0)
            attend(*parts, bias).backward(gradient)

        return run

    return dict(fused=step(fused_attention), explicit=step(explicit_attention))


def measure(options: argparse.Namespace) -> list[dict]:
    """Measure every case, and return a row for each."""
    rows = []
    for dtype in options.dtypes:
        for biased, lengths in TOKENS.items():
            for tokens in lengths:
                kind, device = getattr(torch, dtype), options.device
                steps = make_steps(tokens, biased, kind, device, options.elements)
                # A GPU is busy while Python launches the next steps.
                runs = 10 if device == 'cuda' else 1
                work, _ = timing.take_turns(
                    steps, options.repeats, device, steps_per_sample=runs
                )
                ratio = timing.ratios(work['explicit'], work['fused'])
                rows.append(
                    dict(
                        device=options.device,
                        dtype=dtype,
                        bias=biased,
                        tokens=tokens,
                        explicit_over_fused=round(ratio['median'], 3),
                        middle_half=[round(ratio[k], 3) for k in ('low', 'high')],
                    )
                )
                with_bias = '' if biased else 'no '
                print(
                    f'{dtype}, {with_bias}bias, {tokens} tokens: explicit over fused '
                    f'{timing.cell(ratio, digits=2)}',
                    flush=True,
                )
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure, and replace the cases of the device in the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--device', default='cpu', choices=['cpu', 'cuda'])
    add('--dtypes', nargs='+', choices=['float32', 'bfloat16', 'float16'])
    add('--repeats', type=int, default=15, help='rounds (default: 15)')
    add('--threads', type=int, default=1, help='CPU threads (default: 1)')
    add(
        '--elements',
        type=int,
        default=2**21,
        help='elements of an attention map, which determine the batch size',
    )
    add(
        '--out',
        type=Path,
        default=TIMES,
        help='file to update (default: the one of the package)',
    )
    options = parser.parse_args(arguments)
    if min(options.repeats, options.threads, options.elements) < 1:
        parser.error('--repeats, --threads and --elements take 1 or more')
    more = ['float16'] if options.device == 'cuda' else []
    options.dtypes = options.dtypes or ['float32', 'bfloat16', *more]
    torch.set_num_threads(options.threads)
    rows = measure(options)
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    others = [r for r in known.get('cases', []) if r['device'] != options.device]
    machines = known.get('machines', {})
    on_gpu = options.device == 'cuda'
    name = torch.cuda.get_device_name() if on_gpu else processor()
    machines[options.device] = (
        f'{name}, {options.threads} thread(s), torch {torch.__version__}'
    )
    found = dict(machines=machines, cases=others + rows)
    with atomic_write(options.out) as part:
        part.write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
