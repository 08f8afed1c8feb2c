"""The tool that shows the next mixed batches of a recipe."""

import cv2
import numpy as np
import pytest
import torch
from repository import tool
from tiny_run import write_config, write_images

from mmtlalign.evaluation.classifier import load_classifier
from mmtlalign.evaluation.mixed_batches import describe_images, mixed_batches
from mmtlalign.tracing.trace import MixTracer, trace_forward
from mmtlalign.validation.config import load_config

STOCK = """
augment = dict(type='{}', alpha=1.0)
data_preprocessor.update(batch_augments=dict(augments=[augment]))
"""
OURS = """
model.update(
    type='mmtlalign.MixClassifier',
    head=dict(model['head'], type='{head}'),
    train_cfg=dict(augments=[{augment}]{more}),
)
"""
OWN = ", guide=dict(type='mmtlalign.OwnAttention')"
AVERAGE = ", guide=dict(type='mmtlalign.EMAAttention')"
LINES = {
    'stock classifier': STOCK.format('mmtlalign.CutMix'),
    'CutMix': OURS.format(
        head='mmtlalign.TLAlignVisionTransformerClsHead',
        augment="dict(type='mmtlalign.CutMix')",
        more='',
    ),
    'elem': OURS.format(
        head='mmtlalign.TransMixVisionTransformerClsHead',
        augment="dict(type='mmtlalign.CutMix'), dict(type='mmtlalign.Mixup', alpha=1)",
        more=", mode='elem'",
    ),
    'MixToken': OURS.format(
        head='VisionTransformerClsHead',
        augment="dict(type='mmtlalign.MixToken', patch_size=8)",
        more='',
    ),
    'SMMix': OURS.format(
        head='mmtlalign.SMMixVisionTransformerClsHead',
        augment="dict(type='mmtlalign.SMMix')",
        more=OWN,
    )
    + "model['backbone'].update(out_type='raw')",
    'token labels': OURS.format(
        head='mmtlalign.TLAlignTokenLabelClsHead',
        augment="dict(type='mmtlalign.ResizeMix')",
        more='',
    )
    + """
model['head'].update(
    class_target='label', loss=dict(type='mmtlalign.TokenLabelLoss', dense_weight=0)
)
model['backbone'].update(out_type='raw')
""",
    'teacher': OURS.format(
        head='mmtlalign.TransMixVisionTransformerClsHead',
        augment="dict(type='mmtlalign.CutMix')",
        more='',
    )
    + """
model['head'].update(teacher=dict(type='mmtlalign.EMAAttention', attention='cls'))
""",
    'AttentiveCutMix': OURS.format(
        head='mmtlalign.TransMixVisionTransformerClsHead',
        augment="dict(type='mmtlalign.AttentiveCutMix', top_k=3)",
        more=AVERAGE,
    ),
}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('images'))


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, images):
    def call(text, *args):
        config = write_config(tmp_path, images, text)
        argv = ['browse_batch.py', config, *args, '--out', tmp_path / 'out']
        monkeypatch.setattr('sys.argv', list(map(str, argv)))
        capsys.readouterr()
        tool('analysis_tools/browse_batch').main()
        return capsys.readouterr().out

    return call


def batches(tmp_path, images, text, count=2, seed=0):
    """The model of a recipe, and its next batches."""
    cfg = load_config(str(write_config(tmp_path, images, text)))
    model, _ = load_classifier(cfg)
    return model, list(mixed_batches(cfg, model, count, seed))


@pytest.mark.parametrize('name', LINES)
def test_pictures_are_what_the_numbers_say(tmp_path, images, name):
    model, found = batches(tmp_path, images, LINES[name])
    assert len(found) == 2
    for batch in found:
        assert batch.known
        rows = describe_images(model, batch, 3, traced=True)
        assert len(rows) == 3
        for index, row in enumerate(rows):
            partner = int(batch.mix.partner[index])
            np.testing.assert_allclose(row.area, row.mask.mean(), atol=1e-6)
            assert row.classes[1] == int(batch.mix.labels[partner].argmax())
            np.testing.assert_allclose(sum(row.target), 1, atol=1e-6)
            assert row.files[0].endswith('.png') and 0 <= row.traced <= 1
            if name in ('SMMix', 'token labels'):
                assert (row.mixed[row.mask == 0] == row.own[row.mask == 0]).all()
                continue  # what is pasted comes from another place
            blend = row.own + row.mask[..., None] * (
                row.partner.astype(np.float32) - row.own
            )
            assert np.abs(blend - row.mixed).max() <= 1


def test_the_seed_chooses_images_and_masks(tmp_path, images):
    one, same, other = (
        batches(tmp_path, images, LINES['CutMix'], 1, seed)[1][0] for seed in (0, 0, 1)
    )
    assert torch.equal(one.mix.images, same.mix.images)
    assert not torch.equal(one.mix.images, other.mix.images)


def test_shares_are_those_of_the_head(tmp_path, images):
    model, (batch,) = batches(tmp_path, images, LINES['CutMix'], 1)
    rows = describe_images(model, batch, 8, traced=True)
    model.eval()
    with trace_forward(model.backbone, MixTracer(model.backbone, batch.mix)) as seen:
        model.backbone(batch.mix.images)
    shares = seen.output_shares('class')[0][:, 0]
    found = torch.tensor([(row.traced, row.target[1]) for row in rows])
    torch.testing.assert_close(found, torch.stack([shares, shares], 1))
    assert (shares - batch.mix.area()).abs().max() > 1e-4


def test_the_tool_writes_and_prints(run, tmp_path, images):
    config = write_config(tmp_path, images, LINES['elem'])
    model, _ = load_classifier(load_config(str(config)))
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    said = run(LINES['elem'], '--batches', 2, '--images', 3)
    assert 'batch 2: 8 images of 32x32 pixels' in said and 'learnt' not in said
    for number in (1, 2):
        picture = cv2.imread(str(tmp_path / 'out' / f'batch_{number}.png'))
        assert picture is not None and picture.std() > 10
    said = run(LINES['elem'], '--images', 3, '--checkpoint', path)
    assert 'traced' in said and 'learnt' in said


def test_augments_of_the_host_keep_no_record(run):
    said = run(STOCK.format('Mixup'), '--images', 2)
    assert 'the augment does not record its mask' in said
    assert '.png   ?' in said  # whose pixels they are is not known


def test_weak_batches_are_left_out(tmp_path, images):
    text = LINES['CutMix'].replace("Mix')", "Mix', prob=0.3)")
    _, found = batches(tmp_path, images, text, 4)
    assert sum(batch.skipped for batch in found) > 0


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'mixes no batches'),
        (
            LINES['CutMix'].replace("Mix')", "Mix', prob=0.0)"),
            'in a row were not mixed',
        ),
        (LINES['CutMix'] + 'train_dataloader = None', 'has no train_dataloader'),
    ],
)
def test_it_says_so_in_one_line(run, text, message):
    with pytest.raises(SystemExit) as stop:
        run(text)
    assert message in str(stop.value)
    assert len(str(stop.value).strip().splitlines()) == 1
