r"""Measure the CPU time of loading images, step by step.

    python tools/benchmarks/benchmark_loader.py data/imagenet/train
    python tools/benchmarks/benchmark_loader.py data/coco/val2017 --long-side 500 \
        --quality 95

It compares the pipeline of a config with the same one with the hosts' own steps in
place of this package's faster ones (mmtlalign/datasets/transforms.py), and with
mmengine's collating. Steps of both take turns; so do both loaders, with one worker
each. Every figure is CPU time, of worker and receiving process together: the median of
the rounds and, in brackets, their quartiles; ratios are taken within a round.

Each step gets the samples of its own pipeline; random values are drawn anew every
round, the same for both. 'collate and send' is a loader of finished samples. After the
first round, files are in the cache of the operating system.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import worker_init_fn
from mmengine.registry import FUNCTIONS, TRANSFORMS
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from mmtlalign.datasets import RandAugment, RandomFlip, RandomResizedCrop
from tools.benchmarks import timing
from tools.machine import describe_machine, processor, versions
from tools.output import write_json

RECIPE = 'configs/tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'
CONFIG = str(Path(__file__).resolve().parents[2] / RECIPE)
# Each replaces the hosts' step of the same name.
FASTER = {step.__name__ for step in (RandAugment, RandomFlip, RandomResizedCrop)}
SUFFIXES = ('.jpg', '.jpeg', '.png')
HOSTS, OURS = "hosts' steps", 'this config'


# ------------------------------------------------------------------ the pipelines


def with_host_steps(node: Any) -> Any:
    """Return a pipeline with the hosts' steps in place of the faster ones of ours."""
    if isinstance(node, dict):
        node = {key: with_host_steps(value) for key, value in node.items()}
        scope, _, kind = str(node.get('type')).rpartition('.')
        if scope == 'mmtlalign' and kind in FASTER:
            node['type'] = kind
            if node.get('backend') == 'torch':
                node['backend'] = 'pillow'
        return node
    if isinstance(node, (list, tuple)):
        return [with_host_steps(one) for one in node]
    return node


def pipelines_of(config: Config) -> dict[str, tuple]:
    """Return steps and collate function, with the hosts' steps and of the config."""
    loader = config.train_dataloader
    steps = [dict(step) for step in loader.dataset.pipeline]
    collate = loader.get('collate_fn', dict(type='pseudo_collate'))['type']
    # Several views of an image have to be stacked.
    views = any(step['type'] == 'MultiView' for step in steps)
    host = collate if views else 'pseudo_collate'
    given = {HOSTS: (with_host_steps(steps), host), OURS: (steps, collate)}
    return {
        name: ([TRANSFORMS.build(step) for step in steps], FUNCTIONS.get(collate))
        for name, (steps, collate) in given.items()
    }


def seed(number: int) -> None:
    """Seed the generators that steps draw from."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def step_inputs(steps: list, files: list[str]) -> list[list[dict]]:
    """Return the input of each step, and at the end the output of the last one."""
    seed(0)
    stages = [[dict(img_path=file, gt_label=0) for file in files]]
    for step in steps:
        stages.append([step(dict(sample)) for sample in stages[-1]])
    return stages


# -------------------------------------------------------------------- the loaders


class Images(torch.utils.data.Dataset):
    """Data set of samples as the steps make them.

    Args:
        samples: Inputs of the first step.
        steps: Steps of the pipeline.
    """

    def __init__(self, samples: list[dict], steps: list):
        self.samples, self.steps = samples, steps

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        sample = dict(self.samples[index])
        for step in self.steps:
            sample = step(sample)
        return sample


class TimedCollate:
    """Collate function that adds the worker's CPU seconds and number of threads.

    Args:
        collate: Function that collates.
    """

    def __init__(self, collate: Callable):
        self.collate = collate

    def __call__(self, batch: list[dict]) -> tuple[Any, float, tuple[int, int]]:
        """Return the batch, CPU seconds so far, and numbers of threads."""
        threads = cv2.getNumThreads(), torch.get_num_threads()
        return self.collate(batch), time.process_time(), threads


def load(
    dataset: Images, collate: Callable, batch: int, round_: int
) -> tuple[float, tuple]:
    """Measure CPU seconds per image, from the first batch to the last.

    They include those of the worker and of this process, which stacks images that are
    not stacked yet, as the data preprocessor does.
    """

    def init(worker):
        worker_init_fn(worker, num_workers=1, rank=0, seed=round_)

    loader = DataLoader(
        dataset,
        batch,
        num_workers=1,
        collate_fn=TimedCollate(collate),
        worker_init_fn=init,
    )
    batches = iter(loader)
    _, began, threads = next(batches)
    here = time.process_time()
    for data, stamp, _ in batches:
        ended = stamp
        if data['inputs'][0].dim() == 3 and not torch.is_tensor(data['inputs']):
            torch.stack(data['inputs'])
    work = time.process_time() - here + ended - began
    return work / (len(dataset) - batch), threads


# -------------------------------------------------------------------- the rounds


def on_all(step: Callable, samples: list[dict]) -> Callable[[], None]:
    """Return a call of a step on all samples, which keeps no result, like a loader."""

    def run():
        for sample in samples:
            step(dict(sample))

    return run


def compare(
    pipelines: dict, files: list[str], batch: int, repeats: int
) -> tuple[dict[str, dict[str, list[float]]], set[tuple]]:
    """Measure CPU seconds per image by part and pipeline, and threads of a worker."""
    turns, seconds, threads, now = {}, {}, set(), [0]

    def before(round_):
        now[0] = round_
        seed(round_)

    def loads(name, dataset, collate):
        def step():
            work, used = load(dataset, collate, batch, now[0])
            seconds[name].append(work)
            threads.add(used)

        seconds[name] = []
        return step

    for which, (steps, collate) in pipelines.items():
        *inputs, packed = step_inputs(steps, files)
        for place, (step, samples) in enumerate(zip(steps, inputs, strict=True)):
            part = f'{place + 1} {type(step).__name__.removesuffix("FromFile")}'
            turns[part, which] = on_all(step, samples)
        for part, given in (
            ('collate and send', Images(packed, [])),
            ('whole', Images(inputs[0], steps)),
        ):
            turns[part, which] = loads((part, which), given, collate)
    work, _ = timing.take_turns(turns, repeats, before=before)
    for name, times in work.items():
        # A loader's own figures include the worker; their first round warms up.
        times[:] = seconds.get(name, [0, *(t / len(files) for t in times)])[1:]
    parts = dict.fromkeys(part for part, _ in turns)
    return {part: {w: work[part, w] for w in pipelines} for part in parts}, threads


def report(work: dict) -> None:
    """Print milliseconds per image, and images per second."""
    timing.print_table(
        'Milliseconds of one core an image',
        ('', HOSTS, OURS, 'ratio'),
        [
            [
                part,
                *(timing.cell(timing.quartiles(row[w]), 1e3, 2) for w in (HOSTS, OURS)),
                timing.cell(timing.ratios(row[HOSTS], row[OURS]), digits=2),
            ]
            for part, row in work.items()
        ],
    )
    speeds = {
        w: timing.quartiles([1 / t for t in work['whole'][w]]) for w in (HOSTS, OURS)
    }
    print(
        f'\nImages a second and core: {timing.cell(speeds[HOSTS])} with the '
        f"hosts' steps, {timing.cell(speeds[OURS])} with this config"
    )


# --------------------------------------------------------------------- the images


def list_images(folder: str, count: int) -> list[str]:
    """List ``count`` images of a folder and its subfolders, evenly spread."""
    found = sorted(
        str(file) for file in Path(folder).rglob('*') if file.suffix.lower() in SUFFIXES
    )
    return [found[i * len(found) // count] for i in range(min(count, len(found)))]


def rewrite(files: list[str], folder: str, side: int, quality: int) -> list[str]:
    """Write images as JPEG files, with a long side of ``side`` pixels."""
    written = []
    for number, file in enumerate(files):
        image = cv2.imread(file)
        scale = side / max(image.shape[:2])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
        written.append(str(Path(folder) / f'{number}.jpg'))
        cv2.imwrite(written[-1], image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return written


def describe(files: list[str]) -> dict:
    """Return the number of images, and their mean size."""
    sizes = np.mean([cv2.imread(file).shape[:2] for file in files], axis=0)
    height, width = (round(float(size)) for size in sizes)
    size = sum(Path(file).stat().st_size for file in files) / len(files)
    return dict(count=len(files), height=height, width=width, bytes=round(size))


# ------------------------------------------------------------------- the command


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('images', metavar='FOLDER', help='folder of JPEG or PNG files, at any depth')
    add('--config', default=CONFIG, help=f'default: {RECIPE}')
    add('--count', type=int, default=128, help='images per round (default: 128)')
    add('--batch', type=int, default=32, help='batch size (default: 32)')
    add('--repeats', type=int, default=9, help='rounds (default: 9)')
    add(
        '--long-side',
        type=int,
        metavar='PIXELS',
        help='first resize the images to this longer side; default: use the files '
        'unchanged',
    )
    add(
        '--quality',
        type=int,
        default=95,
        help='JPEG quality of the resized images (default: 95)',
    )
    add('--json', metavar='FILE', help='write all samples to FILE, in seconds')
    options = parser.parse_args(arguments)
    for problem in problems(options):
        parser.error(problem)
    return options


def problems(options: argparse.Namespace) -> Iterator[str]:
    """Yield messages about wrong arguments: the value, the rule, the remedy."""
    for name in ('count', 'batch', 'repeats', 'long_side'):
        value = getattr(options, name)
        if value is not None and value < 1:
            yield f'--{name.replace("_", "-")} {value}: takes 1 or more'
            return
    if not 1 <= options.quality <= 100:
        yield f'--quality {options.quality}: takes 1 to 100'
    if options.count <= options.batch:
        yield (
            f'--count {options.count}, --batch {options.batch}: timing starts after '
            'the first batch, so at least two are needed; take more images, or smaller '
            'batches'
        )
        return
    if not Path(options.config).is_file():
        yield f'--config {options.config} does not exist; name another file'
        return
    loader = Config.fromfile(options.config).get('train_dataloader')
    kinds = [step.type for step in loader.dataset.pipeline] if loader else []
    if kinds[:1] != ['LoadImageFromFile'] or 'mmtlalign.LoadLabelMap' in kinds:
        yield (
            f'--config {options.config}: trains with {", ".join(kinds) or "nothing"}; '
            'the pipeline must begin with LoadImageFromFile and must not load label '
            'maps, because there are only images here. Take another config, or the '
            'control of this one'
        )
    found = len(list_images(options.images, options.count))
    if found < options.count:
        yield (
            f'{options.images} has {found} {", ".join(SUFFIXES)} files, but --count is '
            f'{options.count}; name another folder, or set a smaller --count'
        )


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    options = parse_args(arguments)
    timing.silence_hosts()
    config = Config.fromfile(options.config)
    # As the runner of a training does.
    set_multi_processing(**config.get('env_cfg', {}).get('mp_cfg', {}))
    torch.set_num_threads(1)
    files = list_images(options.images, options.count)
    with tempfile.TemporaryDirectory() as folder:
        if options.long_side:
            files = rewrite(files, folder, options.long_side, options.quality)
        images = describe(files)
        print(
            f'{processor()}, torch {torch.__version__}, OpenCV '
            f'{cv2.__version__}, {options.repeats} rounds of {options.count} images, '
            f'batches of {options.batch}\nmean image {images["width"]}x'
            f'{images["height"]}, {images["bytes"] / 1e3:.0f} kB'
        )
        pipelines = pipelines_of(config)
        work, threads = compare(pipelines, files, options.batch, options.repeats)
    for opencv, pytorch in threads:
        print(f'threads in a worker: OpenCV {opencv}, PyTorch {pytorch}')
    report(work)
    if options.json:
        found = dict(
            options=vars(options),
            machine=describe_machine(),
            versions=versions(),
            images=images,
            threads=sorted(threads),
            seconds=work,
        )
        write_json(options.json, found)


if __name__ == '__main__':
    main()
