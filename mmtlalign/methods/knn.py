"""Weighted k-NN evaluation of features: the classifier, its data and the hook.

Wu et al., "Unsupervised feature learning via non-parametric instance discrimination"
(CVPR 2018), §3.4, as used by DINO and EsViT.

Shapes: ``N`` images, ``n`` of one process, ``Q`` queries, ``M`` features of the bank,
``D`` channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.config.config import ConfigDict
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmtlalign.compat.wrappers import unwrap_dataset, unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.modes import eval_mode
from mmtlalign.registry import HOOKS

# Number of similarities in memory at once: 128 MiB in float32.
CHUNK = 2**25


@torch.no_grad()
def top_classes(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    ks: Sequence[int],
    num_classes: int,
    temperature: float = 0.07,
    best: int = 5,
) -> dict[int, Tensor]:
    """Return the classes that the nearest neighbours vote for.

    A neighbour votes with weight ``exp(cosine / temperature)``. Classes of equal votes,
    such as those of no neighbour, are sorted by index. Apart from the result, memory
    does not grow with the number of queries.

    Args:
        queries: Features to classify (Q, D), of any norm.
        bank: Features of known classes (M, D), of any norm.
        labels: Classes of the bank (M,), int64.
        ks: Numbers of neighbours.
        num_classes: Number of classes C.
        temperature: Temperature of the votes.
        best: Number of classes to return, at most C.

    Returns:
        For each k the classes with most votes, best first (Q, best).

    Raises:
        InputError: The bank has fewer than k features.
    """
    check_neighbours(ks, len(bank))
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    ranked: dict[int, list[Tensor]] = {k: [] for k in ks}
    for chunk in queries.split(max(1, CHUNK // len(bank))):
        nearest = (chunk @ bank.T).topk(max(ks), dim=1)
        weights, classes = (nearest.values / temperature).exp(), labels[nearest.indices]
        for k in ranked:
            votes = chunk.new_zeros(len(chunk), num_classes)
            votes.scatter_add_(1, classes[:, :k], weights[:, :k])
            order = votes.argsort(dim=1, descending=True, stable=True)
            ranked[k].append(order[:, :best])
    return {k: torch.cat(parts) for k, parts in ranked.items()}


def check_neighbours(ks: Sequence[int], size: int) -> None:
    """Check that a bank of ``size`` images has at least the requested neighbours.

    Raises:
        InputError: It has fewer than the largest of ``ks``.
    """
    if max(ks) > size:
        raise InputError(
            f'k-NN with k={max(ks)} needs a bank of as many images, but it has '
            f'{size}: set smaller ks, or a larger bank.'
        )


def check_same_classes(bank: Dataset, queries: Dataset) -> None:
    """Check that two data sets have the same classes in the same order.

    Data sets without class names are not checked.

    Raises:
        InputError: Their class names or the order of these differ.
    """
    known, asked = (
        list(getattr(data, 'metainfo', {}).get('classes') or ())
        for data in (bank, queries)
    )
    if not known or not asked or known == asked:
        return
    difference = 'their order differs'
    for ours, others, name in ((asked, known, 'queries'), (known, asked, 'bank')):
        only = [str(c) for c in ours if c not in others]
        if only:
            difference = f'only the {name} have {", ".join(only[:5])}'
    raise InputError(
        f'The bank has {len(known)} classes and the queries {len(asked)}, and they are '
        f'not the same: {difference}. Give both the same folders of classes.'
    )


def find_knn_hook(cfg: Config) -> dict:
    """Return the settings of the config's KNNHook, or an empty dict."""
    for hook in cfg.get('custom_hooks') or []:
        if str(hook.get('type')).endswith('KNNHook'):
            return hook
    return {}


def knn_loaders(
    cfg: Config, bank: str | None = None, queries: str | None = None
) -> dict[str, ConfigDict]:
    """Return the data loaders of the bank and the queries.

    They are those of the config's KNNHook. In a config without it the bank has the
    training images and the queries are the validation images, both with the validation
    pipeline.

    Args:
        cfg: A config of mmpretrain.
        bank: Folder to use for the bank instead, with a folder of images for each
            class.
        queries: Folder to use for the queries instead, of the same form.

    Returns:
        Settings of the loaders by name, ``bank`` and ``queries``.

    Raises:
        InputError: The config has neither a KNNHook nor both loaders.
    """
    loaders = find_knn_hook(cfg)
    if not loaders:
        train, val = cfg.get('train_dataloader'), cfg.get('val_dataloader')
        if not train or not val:
            raise InputError(
                f'{cfg.filename} has neither a KNNHook nor both train_dataloader and '
                'val_dataloader: k-NN needs labelled images for the bank and for the '
                'queries. Name a config that has them.'
            )
        pipeline = unwrap_dataset(val['dataset'])['pipeline']
        known = dict(unwrap_dataset(train['dataset']), pipeline=pipeline)
        loaders = dict(bank=dict(val, dataset=known), queries=val)
    chosen = {}
    for name, folder in (('bank', bank), ('queries', queries)):
        # Each image once, in order.
        sampler = dict(type='DefaultSampler', shuffle=False)
        settings = dict(loaders[name], sampler=sampler, drop_last=False)
        if folder is not None:
            pipeline = unwrap_dataset(settings['dataset'])['pipeline']
            settings['dataset'] = dict(
                type='CustomDataset', data_root=folder, pipeline=pipeline
            )
        chosen[name] = ConfigDict(settings)
    return chosen


@HOOKS.register_module()
class KNNHook(Hook):
    """Weighted k-NN evaluation of frozen features during training.

    The evaluation that DINO and EsViT report, with cosine similarity, on features of
    whole images from ``model.extract_feat(inputs, network=...)``. Every process
    extracts the features of its part of the images; they are gathered, and each process
    classifies its part of the queries. The accuracies are written to the log and to the
    visualizer as ``knn/top1_k20`` and so on, in percent. If the neighbours have fewer
    than five classes, top-5 is filled with the lowest class indices.

    Args:
        bank (dict): Data loader of images whose classes are known, without
            augmentation.
        queries (dict): Data loader of the images to classify. Both need
            ``collate_fn=dict(type='default_collate')`` and a pipeline that ends with
            ``PackInputs``.
        ks (Sequence[int]): Numbers of neighbours. Defaults to (10, 20, 100, 200).
        temperature (float): Temperature of the votes. Defaults to 0.07.
        network (str): 'teacher' or 'student'. Defaults to 'teacher'.
        interval (int): Epochs between two evaluations, or iterations in an
            iteration-based loop; the last one is always evaluated. Defaults to 1.
        at_start (bool): Whether to evaluate also before the first step. Defaults to
            False.

    Raises:
        InputError: There are fewer images than neighbours, or images without class.
    """

    # Runs after EsViTHook has updated the teacher and before checkpoints are written.
    priority = 'LOW'

    def __init__(
        self,
        bank: dict,
        queries: dict,
        ks: Sequence[int] = (10, 20, 100, 200),
        temperature: float = 0.07,
        network: str = 'teacher',
        interval: int = 1,
        at_start: bool = False,
    ):
        self.settings = dict(bank=bank, queries=queries)
        self.ks = sorted(ks)
        self.temperature = temperature
        self.network = network
        self.interval = interval
        self.at_start = at_start
        self.loaders: dict[str, DataLoader] = {}

    def before_train(self, runner: Runner) -> None:
        """Build the loaders, so that wrong settings raise errors before training."""
        for name, settings in self.settings.items():
            # A copy, as building a loader removes keys.
            self.loaders[name] = runner.build_dataloader(dict(settings))
        check_neighbours(self.ks, len(self.loaders['bank'].dataset))
        if self.at_start:
            self.evaluate(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate in an epoch-based loop."""
        last = self.is_last_train_epoch(runner)
        due = last or self.every_n_epochs(runner, self.interval)
        if _counts_epochs(runner) and due:
            self.evaluate(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Evaluate in an iteration-based loop."""
        last = self.is_last_train_iter(runner)
        due = last or self.every_n_train_iters(runner, self.interval)
        if not _counts_epochs(runner) and due:
            self.evaluate(runner)

    def evaluate(self, runner: Runner) -> dict[str, float]:
        """Log and return the accuracies of the run's model, in percent, by name."""
        accuracies = self.accuracies(unwrap_model(runner.model))
        text = ', '.join(
            f'k={k}: {accuracies[f"knn/top1_k{k}"]:.2f} '
            f'({accuracies[f"knn/top5_k{k}"]:.2f})'
            for k in self.ks
        )
        sizes = [len(self.loaders[name].dataset) for name in ('queries', 'bank')]
        # During an iteration runner.iter does not count it yet.
        steps = runner.iter + (not _counts_epochs(runner) and runner.iter > 0)
        runner.logger.info(
            f'k-NN of the {self.network} after {steps} iterations, top-1 (top-5) in '
            f'percent of {sizes[0]} images with a bank of {sizes[1]}: {text}'
        )
        runner.visualizer.add_scalars(accuracies, step=steps)
        return accuracies

    def accuracies(self, model: nn.Module) -> dict[str, float]:
        """Return the accuracies of a model's features, in percent, by name."""
        with eval_mode(model):
            bank, labels = self.features(model, self.loaders['bank'])
            queries, truth = self.features(model, self.loaders['queries'])
        part = slice(get_rank(), None, get_world_size())
        classes = int(max(labels.max(), truth.max())) + 1
        ranked = top_classes(
            queries[part], bank, labels, self.ks, classes, self.temperature
        )
        accuracies: dict[str, float] = {}
        for k, best in ranked.items():
            right = (best == truth[part, None]).double()
            hits = torch.stack([right[:, 0].sum(), right.sum()])
            all_reduce(hits)
            top1, top5 = (100 * hits / len(queries)).tolist()
            accuracies |= {f'knn/top1_k{k}': top1, f'knn/top5_k{k}': top5}
        return accuracies

    @torch.no_grad()
    def features(self, model: nn.Module, loader: DataLoader) -> tuple[Tensor, Tensor]:
        """Return features (N, D) and classes (N,) of all images, on every process."""
        features, labels = [], []
        for batch in loader:
            samples = batch['data_samples']
            if any('gt_label' not in sample for sample in samples):
                raise InputError(
                    'KNNHook: an image of its data has no class (gt_label): give a '
                    'data set with annotations.'
                )
            inputs = model.data_preprocessor(batch, training=False)['inputs']
            features.append(model.extract_feat(inputs, network=self.network).float())
            labels += [sample.gt_label for sample in samples]
        labels = torch.cat(labels).to(features[0].device)
        size = len(loader.dataset)
        return gather(torch.cat(features), size), gather(labels, size)


def gather(part: Tensor, size: int) -> Tensor:
    """Gather the rows of all processes in the order of the data set.

    mmengine's sampler assigns images to processes in turn, and repeats the first ones
    until all processes have the same number.

    Args:
        part: Rows of this process (n, ...).
        size: Number of rows N of the data set.

    Returns:
        All rows (N, ...), on every process.
    """
    return torch.stack(all_gather(part), dim=1).flatten(0, 1)[:size]


def _counts_epochs(runner: Runner) -> bool:
    """Return whether the training loop counts epochs."""
    return not isinstance(runner.train_loop, IterBasedTrainLoop)
