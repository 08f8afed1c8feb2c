"""Counts equal the formulas and the specification's table; nothing is left out."""

import cost_formulas as formulas
import pytest
import torch
import torch.nn.functional as F
from contract_rows import ROWS
from contract_steps import stock
from mmengine.config import Config
from repository import ROOT
from small_backbones import swin, vit
from small_runs import without_memory
from torch import nn
from torch.overrides import TorchFunctionMode

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation import cost
from mmtlalign.evaluation.cost import count, image_size
from mmtlalign.evaluation.throughput import (
    describe_setting,
    inference_step,
    measure_throughput,
    training_step,
)
from mmtlalign.modes import eval_mode

SWIN = (2, 2, 6, 2), (2, 2, 18, 2)
# Recipe: formula, and parameters in M and GMAC as the specification measured them.
TABLE = {
    'tlalign/tlalign_deit-tiny-p16_8xb128-coslr-300e_in1k': (
        formulas.vit(192, 12),
        (5.717, 1.2537),
    ),
    'tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k': (
        formulas.vit(384, 12),
        (22.051, 4.5989),
    ),
    'tlalign/tlalign_deit-base-p16_8xb128-coslr-300e_in1k': (
        formulas.vit(768, 12),
        (86.568, 17.5638),
    ),
    'tlalign/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k': (
        formulas.swin(96, SWIN[0]),
        (28.288, 4.4906),
    ),
    'tlalign/tlalign_swin-small-p4-w7_16xb64-coslr-300e_in1k': (
        formulas.swin(96, SWIN[1]),
        (49.606, 8.7409),
    ),
    'tlalign/tlalign_swin-base-p4-w7_16xb64-coslr-300e_in1k': (
        formulas.swin(128, SWIN[1]),
        (87.768, 15.4309),
    ),
    'caswin/caswin-tiny-p4-w7_16xb64-coslr-300e_in1k': (
        formulas.swin(96, SWIN[0], class_attention=True),
        (28.285, 4.2050),
    ),
    'pvt/pvt-tiny_8xb128-coslr-300e_in1k': (
        formulas.pvt((2, 2, 2, 2)),
        (13.229, 1.933),
    ),
    'pvt/pvt-small_8xb128-coslr-300e_in1k': (
        formulas.pvt((3, 4, 6, 3)),
        (24.486, 3.816),
    ),
    'pvt/pvt-medium_8xb128-coslr-300e_in1k': (
        formulas.pvt((3, 4, 18, 3)),
        (44.208, 6.659),
    ),
    'transmix/transmix_xcit-small-12-p16_8xb128-coslr-400e_in1k': (
        formulas.xcit(384, 12, 8),
        (26.253, 4.7958),
    ),
    'tlalign/tlalign_twins-pcpvt-small_8xb128-coslr-300e_in1k': (
        formulas.pcpvt((3, 4, 6, 3)),
        (24.106, 3.8095),
    ),
    'tlalign/tlalign_twins-svt-small_8xb128-coslr-300e_in1k': (
        formulas.svt((64, 128, 256, 512), (2, 2, 10, 4)),
        (24.061, 2.9274),
    ),
    'token_labeling/token-label_lvvit-tiny-p16_8xb128-coslr-310e_in1k': (
        formulas.lvvit(240, 12),
        (8.535, 2.868),
    ),
    'token_labeling/token-label_lvvit-small-p16_8xb128-coslr-310e_in1k': (
        formulas.lvvit(384, 16),
        (26.152, 6.552),
    ),
    'token_labeling/token-label_lvvit-medium-p16_8xb128-coslr-310e_in1k': (
        formulas.lvvit(512, 20),
        (55.831, 12.678),
    ),
    'token_labeling/token-label_lvvit-large-p16_8xb128-coslr-310e_in1k': (
        formulas.lvvit(768, 24, stem=128),
        (150.022, 34.637),
    ),
    'dhvt/dhvt-tiny-p16_2xb128-coslr-300e_in1k': (
        formulas.dhvt(192, 3, 16, 224, 1000),
        (6.267, 1.355),
    ),
    'dhvt/dhvt-small-p16_2xb128-coslr-300e_in1k': (
        formulas.dhvt(384, 6, 16, 224, 1000),
        (24.041, 5.033),
    ),
    'dhvt/dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px': (
        formulas.dhvt(192, 4, 4, 32, 100),
        (6.009, 0.388),
    ),
    'dhvt/dhvt-small-p4_2xb128-coslr-300e_cifar100-32px': (
        formulas.dhvt(384, 8, 4, 32, 100),
        (23.425, 1.529),
    ),
    'dhvt/dhvt-tiny-p2_2xb256-coslr-300e_cifar100-32px': (
        formulas.dhvt(192, 4, 2, 32, 100),
        (5.845, 1.705),
    ),
    'dhvt/dhvt-small-p2_2xb128-coslr-300e_cifar100-32px': (
        formulas.dhvt(384, 8, 2, 32, 100),
        (22.767, 6.195),
    ),
}


def config(name):
    return Config.fromfile(ROOT / 'configs' / f'{name}.py')


def build(cfg):
    return without_memory(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.mark.parametrize('name', TABLE)
def test_count_is_the_formula_and_the_table(name):
    formula, (parameters, macs) = TABLE[name]
    cfg = config(name)
    found = count(build(cfg), image_size(cfg))
    assert found.macs == pytest.approx(formula, rel=1e-4)
    # To the last digit that is given.
    assert found.macs / 1e9 == pytest.approx(macs, abs=6e-4)
    assert found.parameters / 1e6 == pytest.approx(parameters, abs=6e-4)
    assert found.unused == ()


def test_class_attention_saves_what_the_paper_says():
    # "7 % fewer" of 4.5.
    ratio = TABLE['caswin/caswin-tiny-p4-w7_16xb64-coslr-300e_in1k'][0]
    ratio /= TABLE['tlalign/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k'][0]
    assert ratio == pytest.approx(1 - 0.064, abs=5e-4)


@pytest.mark.parametrize(('network', 'size'), [(vit, 32), (swin, 56)])
def test_meta_device_and_values_agree(network, size):
    model = network()
    model.train()
    on_meta = count(model, size)
    device = None

    def needs_values(model, images):
        nonlocal device
        assert float(images.sum()) == 0  # fails on the meta device
        device = images.device.type
        return model(images)

    found = count(model, size, needs_values)
    assert device == 'cpu' and found == on_meta
    assert all(module.training for module in model.modules())
    assert not any(p.is_meta or p.grad is not None for p in model.parameters())


class Attention(nn.Module):
    """One call, which PyTorch's counter does not see on a CPU."""

    def forward(self, images):
        tokens = images.flatten(2).mT[:, None]
        return F.scaled_dot_product_attention(tokens, tokens, tokens)


def test_fused_attention_counts_its_two_products():
    n, width = 4 * 5, 3
    assert count(Attention(), (4, 5)).macs == 2 * n**2 * width
    # Here as well, where the model runs on the CPU.
    forward = lambda model, images: model(images + float(images.sum()))  # noqa: E731
    assert count(Attention(), (4, 5), forward).macs == 2 * n**2 * width


@pytest.mark.parametrize('frozen', [False, True])
def test_fused_layers_of_pytorch_are_counted_or_refused(frozen):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), Transposed(), layer)
    if frozen:  # without gradients the layer may call its fused form
        model.requires_grad_(False)
    expected = 4 * 3 * 16 * 8 + 4 * (4 * 64 + 2 * 8 * 16) + 2 * 16 * 8
    try:
        assert count(model, 8).macs == expected
    except UnsupportedError as error:
        assert frozen and 'too small' in str(error)


class Transposed(nn.Module):
    def forward(self, maps):
        return maps.mT


class Network(nn.Module):
    """A layer that runs and what else is given."""

    def __init__(self, call=lambda model, x: x):
        super().__init__()
        self.used = nn.Linear(3, 4)
        self.other = nn.Linear(4, 5)
        self.call = call

    def forward(self, images):
        return self.call(self, self.used(images.mean(dim=(2, 3))))


def test_parameters_that_are_not_read_are_named():
    found = count(Network(), 8)
    assert found.unused == ('other.weight', 'other.bias')
    assert (found.parameters, found.macs) == (12 + 4 + 20 + 5, 12)
    # Read by a function, not by a call of the module.
    linear = count(Network(lambda m, x: F.linear(x, m.other.weight)), 8)
    assert linear.unused == ('other.bias',) and linear.macs == 32


def test_shared_parameters_count_once_and_work_each_time():
    model = Network(lambda m, x: m.other(x))
    model.used, model.again = nn.Linear(3, 3), None
    model.again = model.used
    model.call = lambda m, x: m.again(x)
    assert count(model, 8).macs == 18
    assert count(model, 8).parameters == 12 + 25


def test_unknown_operators_are_refused():
    with pytest.raises(UnsupportedError, match=r'aten\.mv.*too small'):
        count(Network(lambda m, x: m.used.weight @ x.new_ones(3)), 8)
    library = torch.library.Library('mmtlalign_cost_test', 'DEF')
    library.define('twice(Tensor x) -> Tensor')
    library.impl('twice', lambda x: x * 2, 'CompositeExplicitAutograd')
    with pytest.raises(UnsupportedError, match='mmtlalign_cost_test'):
        count(Network(lambda m, x: torch.ops.mmtlalign_cost_test.twice(x.detach())), 8)


def test_size_that_the_network_refuses():
    with pytest.raises(InputError, match=r'4 x 6\b.*for'):
        count(nn.Sequential(nn.Flatten(), nn.Linear(75, 2)), (4, 6))
    with torch.device('meta'):
        model = nn.Sequential(nn.Flatten(), nn.Linear(75, 2))
    with pytest.raises(InputError, match=r'4 x 4\b'):
        count(model, 4)
    assert count(model, 5).macs == 150


@pytest.mark.parametrize(
    ('cfg', 'size'),
    [
        (dict(model=dict(backbone=dict(img_size=48))), 48),
        (dict(model=dict(backbone=dict(img_size=(32, 48)))), 48),
        (dict(model=dict(backbone=dict())), None),
        (
            dict(
                model=dict(backbone=dict(img_size=48)),
                train_dataloader=dict(pipeline=[dict(type='RandomCrop', crop_size=32)]),
            ),
            48,
        ),
        (
            dict(
                model=dict(backbone=dict()),
                train_dataloader=[dict(type='RandomResizedCrop', scale=(40, 30))],
            ),
            40,
        ),
        (
            dict(
                model=dict(backbone=dict(img_size=48)),
                test_dataloader=[dict(type='CenterCrop', crop_size=64)],
            ),
            64,
        ),
    ],
)
def test_size_of_a_config(cfg, size):
    assert image_size(cfg) == size


# ------------------------------------------------------------------------ throughput


def test_steps_take_turns_and_warm_up():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in 'abc'}
    found = measure_throughput(steps, 4, warm_up=2, repeats=3)
    assert ''.join(calls) == 'abcbcacababcbca'
    assert [len(one.seconds) for one in found.values()] == [3, 3, 3]


def test_images_per_second_and_ratio(monkeypatch):
    from mmtlalign.evaluation import throughput

    clock = [0.0]
    monkeypatch.setattr(throughput.time, 'perf_counter', lambda: clock[0])

    def taking(seconds):
        seconds = iter(seconds)

        def step():
            clock[0] += next(seconds)

        return step

    steps = dict(slow=taking([9, 2, 4, 8]), fast=taking([9, 1, 2, 2]))
    found = measure_throughput(steps, 8, warm_up=1, repeats=3)
    assert found['slow'].images_per_second == 2
    assert found['fast'].images_per_second == 4
    assert found['fast'].ratio(found['slow']) == 2  # of 2, 2 and 4
    assert found['slow'].ratio(found['slow']) == 1


@pytest.mark.parametrize(
    'wrong', [dict(batch=0), dict(repeats=0), dict(warm_up=-1), dict(clock='sun')]
)
def test_wrong_rounds(wrong):
    with pytest.raises(InputError, match="give batch and repeats|choose 'wall'"):
        measure_throughput({}, **dict(dict(batch=1), **wrong))


def test_inference_is_in_eval_mode_without_gradients():
    model = Network().train()
    seen = []

    def forward(model, images):
        seen.append((model.training, torch.is_grad_enabled(), model(images).dtype))

    images = torch.zeros(2, 3, 4, 4)
    inference_step(model, images, forward)()
    inference_step(model, images, forward, torch.bfloat16)()
    assert seen == [(False, False, torch.float32), (False, False, torch.bfloat16)]


def test_training_changes_the_weights_and_keeps_the_batch():
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import MODELS
    from mmpretrain.structures import DataSample

    cfg = config('tlalign/tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px')
    cfg.model.backbone.arch = dict(
        embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32
    )
    cfg.model.head.in_channels = 16
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    optimizer = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=1.0)))
    samples = [DataSample().set_gt_label(label) for label in range(4)]
    data = dict(inputs=torch.randint(0, 255, (4, 3, 32, 32)), data_samples=samples)
    data['inputs'] = data['inputs'].to(torch.uint8)
    before = data['inputs'].clone()
    weight = model.backbone.layers[0].attn.qkv.weight
    old = weight.detach().clone()
    for dtype in (None, torch.bfloat16):
        training_step(model, optimizer, data, dtype)()
    assert not weight.equal(old) and weight.isfinite().all()
    assert data['inputs'].equal(before)
    assert [set(sample.keys()) for sample in samples] == [{'gt_label'}] * 4


def test_setting_says_what_a_throughput_depends_on():
    found = describe_setting(16, 'cpu', torch.bfloat16)
    assert (found['batch'], found['precision'], found['device']) == (
        16,
        'bfloat16',
        'cpu',
    )
    assert found['threads'] == torch.get_num_threads()
    assert found['torch'] == torch.__version__ and not found['compiled']
    assert describe_setting(1, 'cpu', None)['precision'] == 'fp32'


def test_free_operators_exist_in_pytorch():
    known = {name.removesuffix('_') for name in dir(torch.ops.aten)}
    operators = {name.partition('::')[2].rstrip('_') for name in _names()}
    newer = {'_fused_rms_norm', '_batch_norm_no_update', '_batch_norm_with_update'}
    assert cost.FREE - newer <= known | operators | {'_index_put_impl'}


def _names():
    return torch._C._dispatch_get_all_op_names()


# ----------------------------------------------------- every backbone of the contract


class FunctionCounter(TorchFunctionMode):
    """Counts where the network calls PyTorch, from shapes: another way to the same."""

    def __init__(self):
        super().__init__()
        self.macs = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = getattr(func, '__name__', '')
        args = [*args, *(kwargs or {}).values()]
        if name in ('linear', 'matmul', '__matmul__', 'bmm'):
            self.macs += out.numel() * args[0].shape[-1]
        elif name == '__rmatmul__':
            self.macs += out.numel() * args[1].shape[-1]
        elif name == 'conv2d':
            self.macs += out.numel() * args[1][0].numel()
        elif name == 'scaled_dot_product_attention':
            query, key, value = args[:3]
            weights = query[..., 0].numel() * key.shape[-2]
            self.macs += weights * (query.shape[-1] + value.shape[-1])
        elif name == 'multi_head_attention_forward':  # calls no more that is seen
            (queries, batch, width), keys = args[0].shape, len(args[1])
            products = 2 * width * (queries + keys) + 2 * queries * keys
            self.macs += batch * width * products
        elif name == 'einsum':
            raise NotImplementedError(args[0])
        return out


@pytest.mark.parametrize('name', ROWS)
def test_every_backbone_that_is_traced_is_counted_in_full(name):
    model = stock(name)
    size = ROWS[name].size
    found = count(model, size)
    # Which is left as it was, and still runs.
    with eval_mode(model), torch.no_grad(), FunctionCounter() as counter:
        model(torch.zeros(1, 3, *size))
    assert found.macs == counter.macs > 0
