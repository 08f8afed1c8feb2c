r"""Measure what mixing and tracing cost: a training step beside that of plain CutMix.

    python tools/benchmarks/benchmark.py                  # DeiT-S and Swin-T, fp32
    python tools/benchmarks/benchmark.py papers --measure train \
        --json out.json --plot out.png
    python tools/benchmarks/benchmark.py deit-small --lengths 197 577 1025 4097
    python tools/benchmarks/benchmark.py papers --device cuda --precision bf16 \
        --batch 128 --measure train --sync-check

The variants are plain CutMix in mmpretrain, in timm, and with this package's classifier
(the control), TransMix, TL-Align, and TL-Align's reference implementation with dense
attention and K label columns (dense); on request also TL-Align with mmengine's moving
average of the weights (ema). They take turns, round by round; ratios are taken within
a round, to the faster one of mmpretrain and timm. The table has the median of the
rounds and, in brackets, their quartiles. A dash stands for a variant that a network
does not have.

A step is mixing, forward and backward; `--measure train` adds AdamW, in each library's
own way. Longer sequences get fewer images, with the same number of tokens in all, but
at least two images. On a CPU the time is the CPU time of the process (all threads),
which other processes hardly change; `--clock wall` takes the wall clock, which is
better with several threads on a quiet machine. --json writes both, with all samples.
"""

import argparse
import itertools
import math
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from mmtlalign.tracing.kernels.gpu import describe_way
from tools.benchmarks import timing
from tools.benchmarks.step.measuring import Case, measure
from tools.benchmarks.step.models import GROUPS, MODELS
from tools.benchmarks.step.report import (
    print_operations,
    print_peaks,
    print_times,
    print_waits,
)
from tools.benchmarks.step.steps import ATTENTIONS, MEASURES, PRECISIONS
from tools.benchmarks.step.variants import VARIANTS, variants_of
from tools.machine import describe_machine, versions
from tools.output import write_json


def list_cases(
    options: argparse.Namespace,
) -> tuple[list[tuple[Case, list[str]]], list[str]]:
    """Return all cases with their variants, and notes about what is left out."""
    cases, notes = [], []
    for model in options.models:
        network = MODELS[model]
        lengths, skipped = lengths_of(model, options.lengths)
        notes += skipped
        for tokens, precision, attention, threads, kind in itertools.product(
            lengths,
            options.precision,
            options.attention,
            options.threads,
            options.measure,
        ):
            case = Case(
                model=model,
                size=network.pixels(tokens),
                tokens=tokens,
                batch=batch_of(options.batch, network.tokens, tokens),
                measure=kind,
                precision=precision,
                attention=attention,
                threads=threads,
                device=options.device,
            )
            variants = [v for v in variants_of(network) if v in options.variants]
            if 'dense' in variants and (tokens or 0) > options.dense_up_to:
                variants.remove('dense')
                notes.append(
                    f'{model}: at {tokens} tokens the dense form is left out, because '
                    f'it stores attention maps; --dense-up-to {tokens} includes it.'
                )
            cases.append((case, variants))
    return cases, list(dict.fromkeys(notes))


def lengths_of(
    model: str, asked: list[int] | None
) -> tuple[list[int | None], list[str]]:
    """Return the numbers of tokens that a model is measured at, and notes."""
    network = MODELS[model]
    if asked is None:
        return [network.tokens], []
    if network.patch is not None:
        return asked, []
    note = (
        f'{model}: measured not at {", ".join(map(str, asked))} tokens, but with its '
        f'own {network.size} pixels; --lengths applies to plain transformers only.'
    )
    return [network.tokens], [note]


def batch_of(batch: int, own: int | None, tokens: int | None) -> int:
    """Return the even number of images that has the tokens of ``batch`` usual ones."""
    if tokens == own:
        return batch
    return max(2, 2 * round(batch * own / tokens / 2))


def run(
    cases: list[tuple[Case, list[str]]], options: argparse.Namespace, found: dict
) -> Iterator[dict]:
    """Measure case by case; keep and write each row as soon as it is measured."""
    for case, variants in cases:
        row = measure(
            MODELS[case.model],
            case,
            variants,
            options.repeats,
            options.clock,
            options.compile,
            options.sync_check,
            options.profile,
            options.steps_per_sample,
        )
        found['rows'].append(row)
        if options.json:
            write_json(options.json, found)
        yield row


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    numbers = dict(type=int, nargs='+', metavar='N')
    names = ', '.join([*GROUPS, *MODELS])
    add(
        'models',
        nargs='*',
        metavar='MODEL',
        help=f'models to measure (default: deit-small swin-tiny); known: {names}',
    )
    several = dict(nargs='+', metavar='NAME')
    add(
        '--measure',
        **several,
        choices=MEASURES,
        default=['step'],
        help=f'{", ".join(MEASURES)} (default: step)',
    )
    add(
        '--precision',
        **several,
        choices=PRECISIONS,
        default=['fp32'],
        help=f'{", ".join(PRECISIONS)} (default: fp32)',
    )
    add(
        '--attention',
        **several,
        choices=ATTENTIONS,
        default=['stock'],
        help=f'attention of the variants of this package: {", ".join(ATTENTIONS)}, as '
        'in FastAttentionHook (default: stock, the unchanged backbone)',
    )
    add(
        '--variants',
        **several,
        type=variant_name,
        choices=VARIANTS,
        default=[name for name in VARIANTS if name != 'ema'],
        help=f'{", ".join(VARIANTS)} (default: all but ema)',
    )
    add('--threads', **numbers, default=[1], help='CPU threads (default: 1)')
    add('--device', default='cpu', choices=['cpu', 'cuda'])
    add('--compile', action='store_true', help='use torch.compile; default: eager')
    add(
        '--lengths',
        **numbers,
        help='numbers of tokens of plain transformers, such as 197 577 1025 4097',
    )
    add(
        '--dense-up-to',
        type=int,
        default=1025,
        metavar='N',
        help='largest number of tokens for the dense form (default: 1025)',
    )
    add(
        '--batch',
        type=int,
        default=8,
        help='batch size at the usual image size (default: 8)',
    )
    add('--repeats', type=int, default=9, help='rounds (default: 9)')
    add(
        '--steps-per-sample',
        type=int,
        default=1,
        metavar='N',
        help='steps per sample, between two synchronisations with the GPU; the sample '
        'is their mean. With 10, the host may run ahead as in training (default: 1)',
    )
    add('--clock', default='work', choices=['work', 'wall'], help='default: work')
    add('--sync-check', action='store_true', help='report which steps wait for the GPU')
    add('--profile', action='store_true', help='report which operations take the time')
    add(
        '--json', metavar='FILE', help='write all samples to FILE, in seconds and bytes'
    )
    add(
        '--plot',
        metavar='FILE.png',
        help='draw the ratios, and the cost over the number of tokens',
    )
    options = parser.parse_args(arguments)
    asked = options.models or ['deit-small', 'swin-tiny']
    options.models = [name for group in asked for name in GROUPS.get(group, [group])]
    for problem in problems(options):
        parser.error(problem)
    return options


def variant_name(name: str) -> str:
    """Return the name of a variant; an old name is accepted, too."""
    if name == 'textbook':
        warnings.warn('--variants: textbook is called dense now.', FutureWarning, 2)
        return 'dense'
    return name


def problems(options: argparse.Namespace) -> Iterator[str]:
    """Yield messages about wrong arguments: the value, the rule, the remedy."""
    unknown = sorted(set(options.models) - set(MODELS))
    if unknown:
        yield f'unknown models {unknown}; choose from {", ".join([*GROUPS, *MODELS])}'
        return
    counts = 'batch repeats threads lengths dense_up_to steps_per_sample'
    for name in counts.split():
        given = getattr(options, name)
        values = given if isinstance(given, list) else [1 if given is None else given]
        if min(values) < 1:
            yield f'--{name.replace("_", "-")} {min(values)}: takes 1 or more'
    for model in options.models:
        network = MODELS[model]
        if network.host and find_spec(network.host) is None:
            yield f'{model} needs {network.host}: install it, or leave the model out'
        for length in options.lengths or [] if network.patch else []:
            if math.isqrt(length - 1) ** 2 != length - 1 or length < 2:
                yield (
                    f'--lengths {length}: give a square number of patches plus one '
                    'class token, such as 197, 577, 1025 or 4097'
                )
    if 'mmpretrain' not in options.variants:
        yield '--variants must include mmpretrain: ratios refer to its plain CutMix'
    if options.batch % 2 and 'timm' in options.variants:
        yield (
            f"--batch {options.batch}: timm's CutMix needs an even number; change it, "
            'or leave timm out of --variants'
        )
    if options.device == 'cuda' and not torch.cuda.is_available():
        yield '--device cuda: PyTorch finds no GPU here; use --device cpu'
    if options.device == 'cpu' and 'fp16' in options.precision:
        yield '--precision fp16 needs --device cuda; use bf16 on a CPU'
    if options.sync_check and options.device != 'cuda':
        yield '--sync-check finds waits for a GPU; add --device cuda'
    if options.plot and not options.plot.endswith('.png'):
        yield f'--plot {options.plot}: takes a file that ends with .png'
    if options.plot and find_spec('matplotlib') is None:
        yield '--plot needs matplotlib: install it, or leave --plot out'


def main(arguments: list[str] | None = None) -> None:
    """Print the tables of the models that are asked for."""
    options = parse_args(arguments)
    timing.silence_hosts()
    where = describe_machine()
    if options.device == 'cuda':
        where['gpu'] = torch.cuda.get_device_name()
    found = dict(options=vars(options), machine=where, versions=versions(), rows=[])
    print(
        f'{where.get("gpu", where["processor"])}, {where["cores"]} cores, load '
        f'{where["load_average"][0]}, torch {torch.__version__}, {options.repeats} '
        f'rounds of {options.steps_per_sample} step(s), {options.clock} time, '
        f'{"compiled" if options.compile else "eager"}'
    )
    found['shares'] = describe_way(torch.device(options.device))
    print(f'label shares are computed by {found["shares"]}')
    for kind in options.measure:
        print(f'{kind}: {MEASURES[kind]}')
    cases, notes = list_cases(options)
    print(*notes, sep='\n', end='\n' if notes else '')
    used = {variant for _, variants in cases for variant in variants}
    variants = [variant for variant in VARIANTS if variant in used]
    print_times(run(cases, options, found), variants, options.clock)
    print_peaks(found['rows'], variants)
    if options.sync_check:
        print_waits(found['rows'])
    if options.profile:
        print_operations(found['rows'])
    if options.plot:
        # Imported only here: a machine for benchmarks may not have matplotlib.
        from tools.benchmarks.step.plot import draw

        draw(found['rows'], options.plot, options.clock)


if __name__ == '__main__':
    main()
