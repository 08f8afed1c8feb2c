"""Parameters, multiply-accumulates and throughput."""

import torch

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.classifier import quiet_log
from mmtlalign.evaluation.cost import count
from mmtlalign.evaluation.throughput import (
    Throughput,
    describe_setting,
    inference_step,
    measure_throughput,
    training_step,
)
from tools.analysis_tools.cost import make_optimizer, random_batch
from tools.analysis_tools.published_costs import NOTES, notes, published
from tools.evaluation.context import Context
from tools.evaluation.items import MeasuredItem
from tools.evaluation.rows import MODEL, Row
from tools.machine import processor

SUITE = 'cost'
BATCH = 8
REPEATS = 20


class Size(MeasuredItem):
    """Parameters and multiply-accumulates of one image."""

    suite, name, alone, options = SUITE, 'flops', True, ()
    about = 'parameters, and multiply-accumulates of one image'

    def images(self, context: Context) -> int:
        """Return one image."""
        return 1

    def measure(self, context: Context) -> list[Row]:
        """Return both, for one network, because the control has the same config."""
        backbone = context.cfg.model.backbone
        model = context.classifiers[MODEL]
        cost = count(model, context.image_size)
        height, width = context.image_size
        known = published(backbone, height)
        reference = None
        if known:
            reference = dict(value=known, source='published, G')
        metrics = {
            'parameters M': cost.parameters / 1e6,
            'GMAC': cost.macs / 1e9,
        }
        row = Row(self.name, '', MODEL, metrics, 1, reference=reference)
        row.protocol = dict(
            pixels=f'{height}x{width}',
            tool='torch.utils.flop_counter / 2, attention as two products',
        )
        if known:
            row.notes = [NOTES[key] for key in notes(backbone)]
        return [row]


class Speed(MeasuredItem):
    """Images per second, of the model and the same network with random weights."""

    suite, alone, options = SUITE, True, ()

    def __init__(self, name: str):
        self.name = name
        what = 'inference' if name == 'inference' else 'a training step'
        self.about = f'images a second of {what}, on this machine'

    def images(self, context: Context) -> int:
        """Return the number of images in all timed steps."""
        return BATCH * REPEATS

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate."""
        passes = 1.5 if self.name == 'inference' else 5
        return self.images(context) * forward * passes

    def missing(self, context: Context) -> str | None:
        """Return a message if there is no optimizer to train with."""
        if self.name == 'training' and context.cfg.get('optim_wrapper') is None:
            return 'the config has no optim_wrapper'
        return None

    def stamps(self, context: Context) -> list:
        """Return the machine and its settings."""
        setting = describe_setting(BATCH, str(context.device), None)
        return [setting, processor()]

    def measure(self, context: Context) -> list[Row]:
        """Return the median over the steps."""
        # A new network, because training changes weights.
        model = context.new_classifier()
        height, _ = context.image_size
        batch = random_batch(model, height, BATCH)
        batch['inputs'] = batch['inputs'].to(context.device)
        if self.name == 'inference':
            images = model.data_preprocessor(dict(inputs=batch['inputs']))['inputs']
            step = inference_step(model, images)
        else:
            with quiet_log():
                optimizer = make_optimizer(model, context.cfg)
            step = training_step(model, optimizer, batch)
        device = str(context.device)
        try:
            found = measure_throughput(
                {self.name: step}, BATCH, device, warm_up=5, repeats=REPEATS
            )[self.name]
        except (InputError, UnsupportedError) as error:
            raise InputError(f'{self.name}: {error}') from error
        row = Row(self.name, '', MODEL, self._metrics(found), BATCH * REPEATS)
        row.protocol = {
            key: str(value)
            for key, value in describe_setting(BATCH, device, None).items()
        }
        row.notes = [
            'Of this machine alone. Ratios to a control in one run: python '
            'tools/analysis_tools/cost.py CONFIG --throughput --control CONFIG'
        ]
        return [row]

    def _metrics(self, found: Throughput) -> dict[str, float]:
        seconds = torch.tensor(found.seconds)
        low, high = torch.quantile(seconds, torch.tensor([0.1, 0.9])).tolist()
        return {
            'images/s': found.images_per_second,
            'images/s, slowest tenth': BATCH / high,
            'images/s, fastest tenth': BATCH / low,
        }


ITEMS = (Size(), Speed('inference'), Speed('training'))
