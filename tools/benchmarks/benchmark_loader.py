"""What a core that loads pictures spends its time on, step by step.

    python tools/benchmarks/benchmark_loader.py data/imagenet/train
    python tools/benchmarks/benchmark_loader.py data/coco/val2017 --long-side 500 --quality 95

The pipeline of a config, as it is and with the hosts' own steps in place of this
package's faster ones (datasets/transforms.py) and mmengine's own collating. Steps of
both take turns; so do both loaders, with one worker each. Every figure is work of the
processor, worker and receiving process together, median of the rounds and, in
brackets, their middle half; a ratio is taken within a round.

Steps are timed on what their own pipeline hands them, random values drawn anew every
round, the same for both. 'collate and send' is a loader of pictures that are ready.
Files are in the memory of the operating system after the first round.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

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

from mmtlalign import datasets
from tools.benchmarks import timing
from tools.experiments.summary import machine, versions

RECIPE = 'configs/tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'
CONFIG = str(Path(__file__).resolve().parents[2] / RECIPE)
PICTURES = ('.jpg', '.jpeg', '.png')
HOSTS, OURS = "hosts' steps", 'this config'


# ------------------------------------------------------------------ the pipelines


def with_host_steps(node):
    """A pipeline with the hosts' steps in place of this package's faster ones."""
    if isinstance(node, dict):
        node = {key: with_host_steps(value) for key, value in node.items()}
        scope, _, kind = str(node.get('type')).rpartition('.')
        if scope == 'mmtlalign' and kind in datasets.__all__:
            node['type'] = kind
            if node.get('backend') == 'torch':
                node['backend'] = 'pillow'
        return node
    if isinstance(node, (list, tuple)):
        return [with_host_steps(one) for one in node]
    return node


def pipelines_of(config: Config) -> dict[str, tuple]:
    """Steps and the function that collates, of the hosts and of the config."""
    loader = config.train_dataloader
    steps = [dict(step) for step in loader.dataset.pipeline]
    collate = loader.get('collate_fn', dict(type='pseudo_collate'))['type']
    # Several views of an image are of no use but stacked.
    views = any(step['type'] == 'MultiView' for step in steps)
    host = collate if views else 'pseudo_collate'
    given = {HOSTS: (with_host_steps(steps), host), OURS: (steps, collate)}
    return {
        name: ([TRANSFORMS.build(step) for step in steps], FUNCTIONS.get(collate))
        for name, (steps, collate) in given.items()
    }


def seed(number: int) -> None:
    """What steps draw from."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def stages_of(steps: list, files: list[str]) -> list[list[dict]]:
    """What each step is handed, and at the end what the last one makes."""
    seed(0)
    stages = [[dict(img_path=file, gt_label=0) for file in files]]
    for step in steps:
        stages.append([step(dict(sample)) for sample in stages[-1]])
    return stages


# -------------------------------------------------------------------- the loaders


class Pictures(torch.utils.data.Dataset):
    """Samples as the steps make them."""

    def __init__(self, samples: list[dict], steps: list):
        self.samples, self.steps = samples, steps

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        sample = dict(self.samples[index])
        for step in self.steps:
            sample = step(sample)
        return sample


class Stamped:
    """Collates, and says how long the worker has worked and with how many threads."""

    def __init__(self, collate):
        self.collate = collate

    def __call__(self, batch):
        threads = cv2.getNumThreads(), torch.get_num_threads()
        return self.collate(batch), time.process_time(), threads


def load(dataset: Pictures, collate, batch: int, round_: int) -> tuple[float, tuple]:
    """Seconds of work an image, from the first batch to the last; threads.

    The worker's and this process's, which stacks images that come one by one, as the
    data preprocessor does.
    """

    def init(worker):
        worker_init_fn(worker, num_workers=1, rank=0, seed=round_)

    loader = DataLoader(
        dataset, batch, num_workers=1, collate_fn=Stamped(collate), worker_init_fn=init
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


def every(step, samples: list[dict]):
    """Do a step on all samples; as in a loader, results are not kept."""

    def run():
        for sample in samples:
            step(dict(sample))

    return run


def compare(pipelines: dict, files: list[str], batch: int, repeats: int):
    """Seconds of work an image by part and pipeline, and threads of a worker."""
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
        *stages, packed = stages_of(steps, files)
        for place, (step, samples) in enumerate(zip(steps, stages, strict=True)):
            part = f'{place + 1} {type(step).__name__.removesuffix("FromFile")}'
            turns[part, which] = every(step, samples)
        for part, given in (
            ('collate and send', Pictures(packed, [])),
            ('whole', Pictures(stages[0], steps)),
        ):
            turns[part, which] = loads((part, which), given, collate)
    work, _ = timing.take_turns(turns, repeats, before=before)
    for name, times in work.items():
        # A loader's own figures include the worker; their first round warms up.
        times[:] = seconds.get(name, [0, *(t / len(files) for t in times)])[1:]
    parts = dict.fromkeys(part for part, _ in turns)
    return {part: {w: work[part, w] for w in pipelines} for part in parts}, threads


def report(work: dict) -> None:
    """Print milliseconds an image, and images a second."""
    timing.table(
        'Milliseconds of one core an image',
        ('', HOSTS, OURS, 'ratio'),
        [
            [
                part,
                *(timing.cell(timing.spread(row[w]), 1e3, 2) for w in (HOSTS, OURS)),
                timing.cell(timing.ratios(row[HOSTS], row[OURS]), digits=2),
            ]
            for part, row in work.items()
        ],
    )
    speeds = {
        w: timing.spread([1 / t for t in work['whole'][w]]) for w in (HOSTS, OURS)
    }
    print(
        f'\nImages a second and core: {timing.cell(speeds[HOSTS])} with the '
        f"hosts' steps, {timing.cell(speeds[OURS])} with this config"
    )


# ------------------------------------------------------------------- the pictures


def pictures_below(folder: str, count: int) -> list[str]:
    """Pictures of a folder and those in it, ``count`` of them, evenly spread."""
    found = sorted(
        str(file) for file in Path(folder).rglob('*') if file.suffix.lower() in PICTURES
    )
    return [found[i * len(found) // count] for i in range(min(count, len(found)))]


def rewrite(files: list[str], folder: str, side: int, quality: int) -> list[str]:
    """Pictures with a long side of so many pixels, as JPEG files."""
    written = []
    for number, file in enumerate(files):
        picture = cv2.imread(file)
        scale = side / max(picture.shape[:2])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)
        written.append(str(Path(folder) / f'{number}.jpg'))
        cv2.imwrite(written[-1], picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return written


def describe(files: list[str]) -> dict:
    """How many, and their mean size."""
    sizes = np.mean([cv2.imread(file).shape[:2] for file in files], axis=0)
    height, width = (round(float(size)) for size in sizes)
    size = sum(Path(file).stat().st_size for file in files) / len(files)
    return dict(count=len(files), height=height, width=width, bytes=round(size))


# ------------------------------------------------------------------- the command


def parse_args(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('images', metavar='FOLDER', help='of JPEG or PNG files, at any depth')
    add('--config', default=CONFIG, help=f'default: {RECIPE}')
    add('--count', type=int, default=128, help='images of a round (default: 128)')
    add('--batch', type=int, default=32, help='images of a batch (default: 32)')
    add('--repeats', type=int, default=9, help='rounds (default: 9)')
    add(
        '--long-side',
        type=int,
        metavar='PIXELS',
        help='rewrite the images in this size first; default: files as they are',
    )
    add('--quality', type=int, default=95, help='of such JPEG files (default: 95)')
    add('--json', metavar='FILE', help='all samples, in seconds')
    options = parser.parse_args(arguments)
    for problem in problems(options):
        parser.error(problem)
    return options


def problems(options):
    """What is wrong with the arguments: the value, the rule, the remedy."""
    for name in ('count', 'batch', 'repeats', 'long_side'):
        value = getattr(options, name)
        if value is not None and value < 1:
            yield f'--{name.replace("_", "-")} {value}: takes 1 or more'
            return
    if not 1 <= options.quality <= 100:
        yield f'--quality {options.quality}: takes 1 to 100'
    if options.count <= options.batch:
        yield (
            f'--count {options.count}, --batch {options.batch}: a loader is timed from '
            'its first batch on; take more images, or smaller batches'
        )
        return
    if not Path(options.config).is_file():
        yield f'--config {options.config}: there is no such file; name another'
        return
    loader = Config.fromfile(options.config).get('train_dataloader')
    kinds = [step.type for step in loader.dataset.pipeline] if loader else []
    if kinds[:1] != ['LoadImageFromFile'] or 'mmtlalign.LoadLabelMap' in kinds:
        yield (
            f'--config {options.config}: trains with {", ".join(kinds) or "nothing"}; '
            'the pipeline has to begin with LoadImageFromFile and read no label maps, '
            'as here are pictures alone. Take another config, or the control of this'
        )
    found = len(pictures_below(options.images, options.count))
    if found < options.count:
        yield (
            f'{options.images} has {found} {", ".join(PICTURES)} files, --count takes '
            f'{options.count}; name another folder, or take fewer'
        )


def main(arguments=None):
    """Print the tables."""
    options = parse_args(arguments)
    timing.hush()
    config = Config.fromfile(options.config)
    # As the runner does.
    set_multi_processing(**config.get('env_cfg', {}).get('mp_cfg', {}))
    torch.set_num_threads(1)
    files = pictures_below(options.images, options.count)
    with tempfile.TemporaryDirectory() as folder:
        if options.long_side:
            files = rewrite(files, folder, options.long_side, options.quality)
        pictures = describe(files)
        print(
            f'{machine()["processor"]}, torch {torch.__version__}, OpenCV '
            f'{cv2.__version__}, {options.repeats} rounds of {options.count} images, '
            f'batches of {options.batch}\nmean image {pictures["width"]}x'
            f'{pictures["height"]}, {pictures["bytes"] / 1e3:.0f} kB'
        )
        pipelines = pipelines_of(config)
        work, threads = compare(pipelines, files, options.batch, options.repeats)
    for opencv, pytorch in threads:
        print(f'threads in a worker: OpenCV {opencv}, PyTorch {pytorch}')
    report(work)
    if options.json:
        found = dict(
            options=vars(options),
            machine=machine(),
            versions=versions(),
            images=pictures,
            threads=sorted(threads),
            seconds=work,
        )
        Path(options.json).write_text(json.dumps(found, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main()
