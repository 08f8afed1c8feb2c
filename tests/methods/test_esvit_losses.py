"""View and region loss against a transcription, and what they keep in memory."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmtlalign.methods.esvit import loss
from mmtlalign.methods.esvit.head import EsViTHead
from mmtlalign.methods.esvit.loss import (
    Views,
    match_regions,
    region_loss,
    teacher_probabilities,
    view_loss,
)

# Two global views of 9 tokens, three local ones of 4, one of 1.
VIEWS = Views(batch=3, counts=(2, 3, 1), tokens=(9, 4, 1))
WIDTH, KINDS = 5, 7


def rows_of(views):
    """Rows of all regions of the student and of the teacher."""
    every = sum(n * t for n, t in zip(views.counts, views.tokens)) * views.batch
    return every, views.global_views * views.batch * views.tokens[0]


def draw(views):
    student, teacher = rows_of(views)
    count = sum(views.counts)
    return dict(
        view=torch.randn(count * views.batch, KINDS, requires_grad=True),
        region=torch.randn(student, KINDS, requires_grad=True),
        view_targets=torch.randn(views.global_views * views.batch, KINDS).softmax(-1),
        region_targets=torch.randn(teacher, KINDS).softmax(-1),
        features=torch.randn(student, WIDTH),
        teacher_features=torch.randn(teacher, WIDTH),
    )


def by_pairs(views, data, temperature):
    """Both losses as the paper writes them: a loop over pairs, images and regions."""
    view = data['view'].unflatten(0, (-1, views.batch))
    regions = [v for part in views.split(data['region']) for v in part]
    features = [v for part in views.split(data['features']) for v in part]
    shape = (views.global_views, views.batch)
    wanted = data['view_targets'].unflatten(0, shape)
    wanted_regions = data['region_targets'].unflatten(0, (*shape, -1))
    keys = data['teacher_features'].unflatten(0, (*shape, -1))
    sums = torch.zeros(2)
    for t in range(views.global_views):
        for s in range(len(view)):
            if s == t:
                continue
            for b in range(views.batch):
                log_p = (view[s, b] / temperature).log_softmax(-1)
                of_view = -(wanted[t, b] * log_p).sum()
                alike = F.cosine_similarity(
                    features[s][b][:, None], keys[t, b][None], dim=-1
                )
                log_p = (regions[s][b] / temperature).log_softmax(-1)
                q = wanted_regions[t, b][alike.argmax(dim=1)]
                of_regions = -(q * log_p).sum(-1).mean()
                sums = sums + torch.stack([of_view, of_regions]) / views.batch
    return sums / views.pairs


def losses(views, data, temperature=0.1):
    view = view_loss(data['view'], data['view_targets'], views, temperature)
    region = region_loss(
        data['region'],
        data['region_targets'],
        data['features'],
        data['teacher_features'],
        views,
        temperature,
    )
    return torch.stack([view, region])


@pytest.mark.parametrize('chunk', [None, 20])
@pytest.mark.parametrize(
    'views',
    [VIEWS, Views(2, (2,), (4,)), Views(2, (4,), (4,)), Views(1, (3, 2), (4, 9), 3)],
)
def test_losses_equal_loops_over_pairs(views, chunk, monkeypatch):
    if chunk:
        monkeypatch.setattr(loss, 'LOSS_CHUNK', chunk)
        monkeypatch.setattr(loss, 'MATCH_CHUNK', chunk)
    data = draw(views)
    leaves = [data['view'], data['region']]
    plain, ours = by_pairs(views, data, 0.1), losses(views, data)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    scale = torch.tensor([0.3, 1.7])
    theirs = torch.autograd.grad((plain * scale).sum(), leaves)
    for a, b in zip(torch.autograd.grad((ours * scale).sum(), leaves), theirs):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_gradient_stops_at_what_is_not_to_learn():
    data = draw(VIEWS)
    for key in ('view_targets', 'region_targets', 'features', 'teacher_features'):
        data[key].requires_grad_()
    losses(VIEWS, data).sum().backward()
    assert data['region'].grad.abs().sum() > 0
    assert data['features'].grad is data['region_targets'].grad is None


def test_half_precision_student_keeps_its_type():
    data = draw(VIEWS)
    half = data['view'].detach().bfloat16().requires_grad_()
    loss = view_loss(half, data['view_targets'], VIEWS)
    exact = view_loss(half.float(), data['view_targets'], VIEWS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact)
    loss.backward()
    assert half.grad.dtype == torch.bfloat16


def test_probabilities_are_centred_then_sharpened():
    logits, center = torch.randn(4, KINDS), torch.randn(1, KINDS)
    ours = teacher_probabilities(logits.requires_grad_(), center, 0.04)
    assert not ours.requires_grad
    torch.testing.assert_close(ours, F.softmax((logits.detach() - center) / 0.04, -1))
    assert not torch.allclose(ours, teacher_probabilities(logits, center * 0, 0.04))


class Made(TorchDispatchMode):
    """Remembers how many numbers every operation returned."""

    def __init__(self):
        super().__init__()
        self.numbers = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        # The same memory under another name.
        if function is torch.ops.aten.detach.default:
            return out
        for each in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(each, torch.Tensor):
                self.numbers.append(each.numel())
        return out


@pytest.mark.parametrize('tokens', [100, 400])
def test_matching_never_holds_tokens_times_tokens(tokens, monkeypatch):
    views = Views(batch=2, counts=(2,), tokens=(tokens,))
    student, teacher = torch.randn(2, rows_of(views)[0], WIDTH)
    plain = match_regions(student, teacher, views)
    monkeypatch.setattr(loss, 'MATCH_CHUNK', 1000)
    with Made() as made:
        assert torch.equal(match_regions(student, teacher, views), plain)
    # The features, or a chunk; at least one query of each image.
    assert max(made.numbers) <= max(student.numel(), 1000, views.batch * tokens)


def test_loss_holds_its_gradient_and_a_chunk(monkeypatch):
    monkeypatch.setattr(loss, 'LOSS_CHUNK', 10 * KINDS)
    student = torch.randn(300, KINDS, requires_grad=True)
    rows, weights = torch.randint(0, 40, (300, 2)), torch.rand(300, 2)
    wanted = torch.randn(40, KINDS).softmax(-1)
    with Made() as made:
        found = loss.cross_entropy_to_rows(student, wanted, rows, weights, 0.1)
        found.backward()
    large = [n for n in made.numbers if n >= student.numel()]
    # The gradient, scaled, and as the leaf keeps it.
    assert 1 <= len(large) <= 3
    assert max(n for n in made.numbers if n < student.numel()) <= 10 * KINDS


def test_matches_do_not_depend_on_autocast():
    student, teacher = (torch.randn(n, WIDTH) for n in rows_of(VIEWS))
    plain = match_regions(student, teacher, VIEWS)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(match_regions(student, teacher, VIEWS), plain)


def test_head_wants_the_width_of_the_backbone():
    head = EsViTHead(8, 6, hidden_channels=4, bottleneck_channels=3)
    with pytest.raises(ValueError, match='features of 12 channels.*in_channels=8'):
        head(torch.zeros(2, 12))


def test_head_needs_a_layer():
    with pytest.raises(ValueError, match='num_layers=0'):
        EsViTHead(8, num_layers=0)


def test_prototypes_have_unit_length_and_learn_directions_alone():
    head = EsViTHead(8, 6, 16, 4, norm_last_layer=True)
    out = head(torch.randn(5, 8))
    assert out.abs().max() <= 1
    out.sum().backward()
    assert head.last_layer.weight_g.grad is None
    assert head.last_layer.weight_v.grad.abs().sum() > 0
