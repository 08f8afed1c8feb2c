"""Logging of how far TL-Align's labels are from the area, layer by layer.

Shapes: ``B`` batch, ``L`` attentions.
"""

from typing import Any

import torch
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.registry import HOOKS
from mmtlalign.tracing.trace import MixTracer
from mmtlalign.tracing.tracer import at_output


@HOOKS.register_module()
class LabelShareHook(Hook):
    """Log the RMSE of TL-Align's shares to the area, and the mean share, by layer.

    The hook reads the shares that the head traces, does not change the training, and
    waits for the GPU only when it logs. It writes these records to
    ``vis_data/scalars.json`` and to other backends, over the batches since the last
    record: ``label_rmse/layer_01``, ... (root of the mean squared difference),
    ``label_share/layer_01``, ... (mean share of the partner at the class token, or in
    the mean over the image tokens) and ``label_share/area``. Batches that are not mixed
    enter with difference 0; of several processes those of the first are logged. As
    these are training batches in training mode, use
    :func:`mmtlalign.evaluation.mix_analysis.analyse_mix` on validation images for
    results to publish.

    Args:
        interval (int, optional): Iterations between two records. Defaults to None: the
            interval of the console log.

    Raises:
        InputError: The model has no TL-Align head that traces shares.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int | None = None):
        if interval is not None and interval < 1:
            raise InputError(f'interval={interval}: log every 1 iteration or more.')
        self.given = interval
        self.interval = interval or 1
        self.sums: Tensor | None = None
        self.handle: torch.utils.hooks.RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Register the hook that reads the backbone's forward passes."""
        model = unwrap_model(runner.model)
        head: Any = getattr(model, 'head', None)
        options = getattr(head, 'trace_options', None)
        if options is None or getattr(head, 'traced', 'share') != 'share':
            raise InputError(
                f'LabelShareHook: {type(head).__name__} traces no shares. Take a head '
                'of TL-Align, such as mmtlalign.TLAlignVisionTransformerClsHead (with '
                "traced='share'), or leave the hook out."
            )
        if self.given is None:
            loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
            self.interval = min([hook.interval for hook in loggers] or [10])
        self.output = head.output
        self.sums, self.batches = None, 0
        self._stop()
        self.handle = model.backbone.register_forward_hook(self._read)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Write a record if the interval is over."""
        if self.sums is None or not self.every_n_train_iters(runner, self.interval):
            return
        squares, shares = (self.sums / self.batches).tolist()
        self.sums, self.batches = None, 0
        # The first entry is the area itself, whose difference is 0.
        record = {'label_share/area': shares.pop(0)}
        for layer, (square, share) in enumerate(zip(squares[1:], shares), 1):
            record[f'label_rmse/layer_{layer:02d}'] = square**0.5
            record[f'label_share/layer_{layer:02d}'] = share
        runner.visualizer.add_scalars(record, step=runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Remove the hook from the backbone."""
        self._stop()

    def _stop(self) -> None:
        if self.handle is not None:
            self.handle.remove()
            self.handle = None

    @torch.no_grad()
    def _read(self, module: nn.Module, args: tuple, output: object) -> None:
        """Add the shares of a batch, on its device."""
        tracer = module.trace_context.reader
        if not isinstance(tracer, MixTracer):
            return  # a validation batch
        area = tracer.mix.area().float()
        rows = [area]
        for share, prefix in zip(tracer.history, tracer.prefixes):
            rows.append(at_output(share[..., 0], prefix, self.output))
        shares = torch.stack(rows)  # (1 + L, B)
        squares = (shares - area).square().mean(dim=1)
        found = torch.stack([squares, shares.mean(dim=1)])
        self.sums = found if self.sums is None else self.sums + found
        self.batches += 1
