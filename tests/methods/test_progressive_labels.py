"""TransMix whose weight is the network's confidence (MixPro's attention labels)."""

import numpy as np
import pytest
import torch
from batch_mode import images, model, samples

from mmtlalign.errors import InputError
from mmtlalign.mixing.token_mix import MaskMix


def build(distilled=False, **options):
    net = model('TransMix', dict(type='MaskMix', cell=8), None)
    for key, value in dict(dict(ratio='confidence'), **options).items():
        setattr(net.head, key, value)
    return net


@pytest.fixture
def mix():
    np.random.seed(2)
    torch.manual_seed(2)
    return MaskMix(cell=8).mix(images(), torch.eye(7)[:5])


def traced(net, mix):
    with net.head.trace(net.backbone, mix) as trace:
        feats = net.extract_feat(mix.images)
    return feats, trace


def test_without_confidence_the_area_and_with_it_the_attention(mix):
    net = build()
    _, trace = traced(net, mix)
    area, (attention,) = mix.area(), trace.output_shares()
    # Sure of a class that neither image has; sure of exactly the target.
    wrong = torch.full((5, 7), -30.0)
    wrong[:, 6] = 30
    ((own, share),) = net.head.label_weights(mix, trace, (wrong,))
    assert own is None
    torch.testing.assert_close(share, area, rtol=0, atol=1e-5)
    right = mix.target(area).clamp(min=1e-12).log()
    ((_, share),) = net.head.label_weights(mix, trace, (right,))
    torch.testing.assert_close(share, attention, rtol=0, atol=1e-5)
    assert (area - attention).abs().max() > 0.01


def test_gradient_flows_through_the_confidence_only_if_asked(mix):
    for detach in (True, False):
        net = build(detach=detach)
        _, trace = traced(net, mix)
        scores = torch.randn(5, 7, requires_grad=True)
        ((_, share),) = net.head.label_weights(mix, trace, (scores,))
        assert share.requires_grad != detach


def test_the_loss_is_that_of_the_blended_share(mix):
    net = build()
    feats, trace = traced(net, mix)
    loss = net.head.loss(feats, None, mix, trace)['loss']
    scores = net.head(feats)
    area, (attention,) = mix.area(), trace.output_shares()
    sure = torch.cosine_similarity(scores.softmax(1), mix.target(area)).detach()
    target = mix.target(sure * attention + (1 - sure) * area)
    expected = torch.nn.functional.cross_entropy(scores, target)
    torch.testing.assert_close(loss, expected)
    step = net(images(), samples(), mode='loss')['loss']
    step.backward()
    assert step.isfinite()


def test_a_fixed_ratio_is_what_it_was(mix):
    net = build(ratio=0.5)
    feats, trace = traced(net, mix)
    (share,) = net.head.partner_shares(mix, trace)
    torch.testing.assert_close(share, (mix.area() + trace.output_shares()[0]) / 2)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(ratio='certainty'), "ratio='certainty'.*'confidence'"),
        (dict(ratio=1.5), 'ratio=1.5'),
        (dict(detach=False), "detach=False with ratio=0.5.*'confidence'"),
    ],
)
def test_bad_arguments(options, message):
    kind = type(build().head)
    with pytest.raises(InputError, match=message):
        kind(num_classes=7, in_channels=16, cal_acc=False, **options)
