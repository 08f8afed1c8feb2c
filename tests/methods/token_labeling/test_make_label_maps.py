"""Label maps of a folder: any annotator, resumable, verified, sized beforehand."""

import mmcv
import numpy as np
import pytest
import torch
from label_map_files import draw_pictures, metadata_of, run_tool, weights_in
from PIL import Image
from repository import tool

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling import fingerprint
from mmtlalign.methods.token_labeling.annotators import Annotator, build_annotator
from mmtlalign.methods.token_labeling.store import LabelMapStore
from tools.dataset_converters.label_maps import make
from tools.dataset_converters.label_maps.images import AnnotatorImages, list_images

MODELS = ['test_efficientnet', 'test_convnext', 'test_vit', 'test_vit2']


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp('pictures'))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return weights_in(tmp_path_factory.mktemp('weights'))


@pytest.mark.parametrize('name', MODELS)
def test_timm_cells_are_read_by_the_models_own_head(weights, name):
    annotator = build_annotator(f'timm:{name}', weights(name))
    images = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
    logits = annotator(images)
    net = annotator.model
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (annotator.mean, annotator.std))
    ready = (images / 255 - mean) / std
    assert logits.shape[:2] == (2, 1000) and logits.shape[2] == logits.shape[3] > 1
    with torch.no_grad():
        feats = net.forward_features(ready)
        if feats.ndim == 4:
            cell = feats[:, :, 1:2, 2:3]
            expected = net.forward_head(cell)
        else:
            token = feats[:, net.num_prefix_tokens + logits.shape[3] + 2]
            expected = net.head(net.fc_norm(token))
    torch.testing.assert_close(logits[..., 1, 2], expected, rtol=1e-4, atol=1e-5)
    if name == 'test_efficientnet':  # a linear head behind a mean
        whole = net(ready)
        torch.testing.assert_close(logits.mean((2, 3)), whole, rtol=1e-4, atol=1e-5)


def write_annotator(folder, kind, depth=18):
    """Write the config of a small classifier of six classes."""
    backbone, neck, head = dict(
        cnn=(
            f"dict(type='ResNet', depth={depth}, base_channels=8, stem_channels=8)",
            "dict(type='GlobalAveragePooling')",
            "dict(type='LinearClsHead', num_classes=6, in_channels=64)",
        ),
        vit=(
            "dict(type='VisionTransformer', img_size=64, patch_size=16, arch=dict("
            'embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16))',
            'None',
            "dict(type='VisionTransformerClsHead', num_classes=6, in_channels=16)",
        ),
    )[kind]
    config = folder / f'annotator{depth}.py'
    config.write_text(
        f"model = dict(type='ImageClassifier', backbone={backbone}, neck={neck},\n"
        f'    head={head})\n'
        'data_preprocessor = dict(mean=[100, 110, 120], std=[50, 60, 70], '
        'to_rgb=True)\n'
    )
    return config


@pytest.mark.parametrize('kind', ['cnn', 'vit'])
def test_mmpretrain_cells(tmp_path, kind):
    config = write_annotator(tmp_path, kind)
    from mmpretrain import get_model

    net = get_model(str(config), pretrained=False)
    torch.save(dict(state_dict=net.state_dict()), tmp_path / 'weights.pth')
    annotator = build_annotator(f'mmpretrain:{config}', str(tmp_path / 'weights.pth'))
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    logits = annotator(images)
    assert logits.shape == (2, 6, *dict(cnn=(2, 2), vit=(4, 4))[kind])
    mean, std = (net.data_preprocessor.mean, net.data_preprocessor.std)
    ready = (images - mean) / std
    if kind == 'cnn':
        net.eval()
        with torch.no_grad():
            whole = net.head(net.extract_feat(ready))
        torch.testing.assert_close(logits.mean((2, 3)), whole, rtol=1e-4, atol=1e-5)
    else:
        net.eval()
        net.backbone.out_type = 'raw'
        with torch.no_grad():
            tokens = net.backbone(ready)[-1][:, 1:]
            expected = net.head((tokens[:, 6],))
        torch.testing.assert_close(logits[..., 1, 2], expected, rtol=1e-4, atol=1e-5)


def test_names_are_those_of_the_checkpoint(pictures, tmp_path):
    from mmpretrain import get_model

    config, file = write_annotator(tmp_path, 'vit'), tmp_path / 'weights.pth'
    weights = get_model(str(config), pretrained=False).state_dict()
    names, given = list('abcdef'), tmp_path / 'classes.txt'
    meta = dict(dataset_meta=dict(classes=names))
    torch.save(dict(state_dict=weights, meta=meta), file)
    arguments = [pictures, tmp_path / 'out', '--annotator', f'mmpretrain:{config}']
    arguments += ['--checkpoint', file, '--classes', given, '--size', '64']
    arguments += ['--device', 'cpu', '--workers', '0', '--topk', '6']
    module = tool('dataset_converters/make_label_maps')
    args = module.parse_args(list(map(str, arguments)))
    given.write_text('b\na\nc\nd\ne\nf\n')
    with pytest.raises(InputError, match='--classes have the same names in another'):
        module.run(args)
    # As editors of Windows write it.
    given.write_text('\n'.join(names), encoding='utf-8-sig')
    module.run(args)
    assert LabelMapStore(tmp_path / 'out').metadata.classes == fingerprint(names)


def test_weights_of_a_deeper_network_are_refused(tmp_path):
    from mmpretrain import get_model

    config, file = write_annotator(tmp_path, 'cnn'), str(tmp_path / 'weights.pth')
    deeper = write_annotator(tmp_path, 'cnn', depth=34)
    weights = get_model(str(deeper), pretrained=False).state_dict()
    torch.save(dict(state_dict=weights), file)
    with pytest.raises(InputError, match=r'holds backbone\.layer1\.2\.conv1.* more be'):
        build_annotator(f'mmpretrain:{config}', file)
    assert build_annotator(f'mmpretrain:{deeper}', file)
    # Every window computes this for itself.
    weights = get_model(str(config), pretrained=False).state_dict()
    weights['backbone.stages.0.relative_position_index'] = torch.zeros(1)
    torch.save(dict(state_dict=weights), file)
    assert build_annotator(f'mmpretrain:{config}', file)


def test_maps_of_a_folder(pictures, tmp_path, weights, capsys):
    run_tool(pictures, tmp_path / 'out', weights, '--dry-run')
    assert not (tmp_path / 'out').exists()
    assert '7 images, 1000 classes, top 5 on 2×3 cells' in capsys.readouterr().out
    run_tool(pictures, tmp_path / 'out', weights)
    assert '7 label maps' in capsys.readouterr().out
    store = LabelMapStore(tmp_path / 'out')
    store.check_images(list_images(pictures))
    files = sorted((tmp_path / 'out').glob('shard-*.npy'))
    assert len(files) == 3
    per_map = 2 * 5 * 2 * 3 * 2 + 4
    assert make.estimate(store.metadata)[0] == 7 * per_map
    annotator = build_annotator('timm:test_efficientnet', weights('test_efficientnet'))
    images = AnnotatorImages(pictures, list(store), (64, 96))
    for image, name in zip(images, store):
        logits = annotator(image[None])[0].numpy()
        found = store[name]
        top = -np.sort(-logits, axis=0)[:5]
        np.testing.assert_allclose(found.values, top, rtol=2e-3, atol=1e-3)
        np.testing.assert_array_equal(found.indices[0], logits.argmax(axis=0))


class Killed(BaseException):
    """What a kill looks like from inside."""


def test_killed_run_goes_on_without_finished_shards(
    pictures, tmp_path, weights, monkeypatch
):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    run_tool(pictures, whole, weights)
    seen = []
    stock = Annotator.__call__

    def count(self, images):
        if images.any():  # not the blank one of the plan
            seen.append(len(images))
        if sum(seen) > 5:
            raise Killed
        return stock(self, images)

    monkeypatch.setattr(Annotator, '__call__', count)
    with pytest.raises(Killed):
        run_tool(pictures, out, weights)
    assert [f.name for f in out.glob('shard-*')] == ['shard-00000.npy']
    first = (out / 'shard-00000.npy').stat().st_mtime_ns
    seen.clear()
    run_tool(pictures, out, weights)
    assert sum(seen) == 4
    assert (out / 'shard-00000.npy').stat().st_mtime_ns == first
    for name in LabelMapStore(whole):
        for ours, expected in zip(LabelMapStore(out)[name], LabelMapStore(whole)[name]):
            np.testing.assert_array_equal(ours, expected)


def test_damaged_shard_is_made_again_alone(pictures, tmp_path, weights, capsys):
    run_tool(pictures, tmp_path, weights)
    file = tmp_path / 'shard-00001.npy'
    good = file.read_bytes()
    file.write_bytes(good[:-9] + bytes([good[-9] ^ 4]) + good[-8:])
    before = (tmp_path / 'shard-00002.npy').stat().st_mtime_ns
    run_tool(pictures, tmp_path, weights)
    assert 'shard-00001.npy is corrupt' in capsys.readouterr().out
    assert file.read_bytes() == good
    assert (tmp_path / 'shard-00002.npy').stat().st_mtime_ns == before


def test_parts_share_the_work(pictures, tmp_path, weights, capsys):
    run_tool(pictures, tmp_path, weights, '--part', '1/2')
    assert '2 of 3 files are left' in capsys.readouterr().out
    run_tool(pictures, tmp_path, weights, '--part', '0/2')
    assert '7 label maps' in capsys.readouterr().out


def test_geometry_whole_or_centre(tmp_path):
    columns = np.linspace(0, 255, 120).astype(np.uint8)
    picture = np.broadcast_to(columns[None, :, None], (40, 120, 3))
    Image.fromarray(np.ascontiguousarray(picture)).save(tmp_path / 'a.png')
    names = list_images(tmp_path)
    whole, centre = (
        AnnotatorImages(tmp_path, names, (20, 20), crop)[0][0, 10].float()
        for crop in (False, True)
    )
    assert whole[0] < 10 and whole[-1] > 245
    # The middle third.
    assert 80 < centre[0] < 95 and 160 < centre[-1] < 175


def test_images_of_16_bits_are_read_as_in_training(tmp_path):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / 'a.png')
    found = AnnotatorImages(tmp_path, ['a.png'], (64, 64))[0].permute(1, 2, 0)
    trained = mmcv.imread(str(tmp_path / 'a.png'), channel_order='rgb')
    assert np.abs(found.numpy().astype(int) - trained).max() <= 1
    Image.fromarray(values.astype(np.int32)).save(tmp_path / 'a.tif')
    with pytest.raises(InputError, match=r'a\.tif cannot be read'):
        AnnotatorImages(tmp_path, ['a.tif'], (64, 64))[0]


def test_wrong_input(pictures, tmp_path, weights):
    with pytest.raises(InputError, match='no images'):
        list_images(tmp_path)
    with pytest.raises(InputError, match='timm:NAME or mmpretrain:NAME'):
        build_annotator('resnet50')
    with pytest.raises(InputError, match="no model 'resnet5'"):
        build_annotator('timm:resnet5')
    names = tmp_path / 'classes.txt'
    names.write_text('cat\ndog\n')
    with pytest.raises(InputError, match='1000 classes, but 2 names are given'):
        run_tool(pictures, tmp_path / 'out', weights, '--classes', names)
    with pytest.raises(InputError, match='does not exist; name another'):
        run_tool(pictures, tmp_path / 'out', weights, '--classes', tmp_path / 'none')
    run_tool(pictures, tmp_path / 'out', weights)
    with pytest.raises(InputError, match='made with other settings.*topk: 5, now 3'):
        run_tool(pictures, tmp_path / 'out', weights, '--topk', '3')
    (tmp_path / 'broken.png').write_bytes(b'no picture')
    with pytest.raises(InputError, match=r'broken\.png cannot be read'):
        AnnotatorImages(tmp_path, ['broken.png'], (4, 4))[0]


def test_logits_below_zero_are_less_than_what_is_left_out():
    logits = torch.randn(2, 12, 3, 3) - 9
    with pytest.raises(InputError, match='largest logit is below 0.*--topk 12'):
        make.top_maps(logits, metadata_of(grid=(3, 3)))
    maps = make.top_maps(logits, metadata_of(grid=(3, 3), topk=12))
    np.testing.assert_allclose(maps[1].dense(12), logits[1], rtol=1e-3)


@pytest.mark.parametrize(
    ('total', 'every', 'lines'), [(8, 0, 5), (8, 1000, 1), (0, 0, 0)]
)
def test_progress_in_a_log(capsys, total, every, lines):
    """A line now and then and one at the end; none where nothing is to be done."""
    with make.progress_bar(total, every) as advance:
        for _ in range(total // 2):
            advance(2)
    log = capsys.readouterr().err.splitlines()
    assert len(log) == lines
    if log:
        assert '100%' in log[-1] and 'images/s 00:00 left' in log[-1]
        assert not any('\x1b' in line or '\r' in line for line in log)


@pytest.mark.parametrize(
    'arguments',
    [['--part', '2/2'], ['--part', 'x'], ['--size', '0'], ['--workers', '-1']],
)
def test_wrong_arguments(arguments):
    with pytest.raises(SystemExit):
        tool('dataset_converters/make_label_maps').parse_args(
            ['a', 'b', '--annotator', 'timm:x', *arguments]
        )
