"""A test loop that evaluates the model on adversarial images."""

import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner, TestLoop
from torch.utils.data import DataLoader

from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.evaluation.attacks import PROTOCOLS, Protocol, run_protocol
from mmtlalign.evaluation.draws import generators
from mmtlalign.evaluation.pixel_model import PixelModel
from mmtlalign.registry import LOOPS


@LOOPS.register_module()
class AttackLoop(TestLoop):
    """Test loop on adversarial images of FGSM or PGD, within a maximum-norm ball.

    In a config: ``test_cfg = dict(type='mmtlalign.AttackLoop', epsilon=1 / 255)``.
    Start and result do not depend on the batch size. Never report FGSM alone.

    Args:
        runner (Runner): Runner of mmengine.
        dataloader (DataLoader | dict): Loader of images with one label each, uint8
            after the pipeline.
        evaluator (Evaluator | dict | list): Evaluator of the predictions.
        protocol (str, optional): A published attack, such as 'rvt-pgd', in place of
            all of the following arguments. Defaults to None.
        epsilon (float, optional): Largest change of a pixel in [0, 1], such as
            ``1 / 255``. Defaults to None.
        step (float, optional): Change in a step of PGD. Defaults to None: half of
            epsilon.
        steps (int): Steps of PGD; 0 is FGSM. Defaults to 0.
        random_start (bool): Whether PGD starts at random. Defaults to True.
        seed (int): Seed of the random starts. Defaults to 0.

    Raises:
        InputError: The protocol is unknown, or not exactly one of protocol and epsilon
            is given.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        protocol: str | None = None,
        epsilon: float | None = None,
        step: float | None = None,
        steps: int = 0,
        random_start: bool = True,
        seed: int = 0,
    ):
        super().__init__(runner, dataloader, evaluator)
        self.seed = seed
        if protocol in PROTOCOLS and epsilon is None:
            self.protocol = PROTOCOLS[str(protocol)]
        elif protocol is None and epsilon is not None:
            size = epsilon / 2 if step is None else step
            self.protocol = Protocol(epsilon, size, steps, random_start and steps > 0)
        else:
            raise InputError(
                f'AttackLoop: protocol={protocol!r}, epsilon={epsilon}; give epsilon, '
                f'such as 1 / 255, or one of the protocols {", ".join(PROTOCOLS)}'
            )

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Attack a batch, and pass the model's predictions to the evaluator."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        if isinstance(self.runner.model, BaseTTAModel):
            raise InputError('AttackLoop attacks a single view; leave out --tta')
        model, samples = unwrap_model(self.runner.model), data_batch['data_samples']
        own = [sample.get('gt_label', ()) for sample in samples]
        for number, (sample, label) in enumerate(zip(samples, own)):
            if len(label) != 1:
                name = sample.get('img_path', f'number {number} of the batch')
                raise InputError(
                    f'Image {name} has {len(label)} labels, and AttackLoop needs one '
                    'of each image: use a single-label data set.'
                )
        images = model.data_preprocessor.cast_data(data_batch['inputs'])
        images = torch.stack(tuple(images)).flip(1).float() / 255
        random = []
        if self.protocol.random_start:
            if any('sample_idx' not in sample for sample in samples):
                raise InputError(
                    'AttackLoop draws random starts by sample_idx, which the samples '
                    "lack; add it to PackInputs(meta_keys=('sample_idx', …))"
                )
            indices = [sample.sample_idx for sample in samples]
            random = generators(self.seed, 'attack start', indices)
        pixels = PixelModel.of(model)
        labels = torch.cat(own).to(images.device)
        attacked = run_protocol(pixels, images, labels, self.protocol, random)
        with torch.no_grad():
            outputs = model(pixels.normalise(attacked), samples, mode='predict')
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
