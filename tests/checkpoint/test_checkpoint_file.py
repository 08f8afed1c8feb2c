"""A file that is no checkpoint gets an error that says what it is."""

import pickle

import pytest
import torch
from small_backbones import SWIN, save, swin

from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.errors import InputError


def write(path, content):
    path.write_bytes(content)
    return str(path)


def cut_short(path):
    save(swin(), path)
    return write(path, path.read_bytes()[:-2000])


def damaged_inside(path):
    save(swin(), path)
    content = bytearray(path.read_bytes())
    start = content.index(b'data.pkl') + 40
    content[start : start + 400] = bytes(400)
    return write(path, bytes(content))


def overwritten_numbers(path):
    backbone = swin()
    torch.nn.init.constant_(backbone.norm1.weight, 0.625)
    save(backbone, path)
    number = torch.full((2,), 0.625).numpy().tobytes()
    content = path.read_bytes()
    assert content.count(number) >= 1
    return write(path, content.replace(number, b'\x00' * len(number)))


def old_pickle_of_rubbish(path):
    return write(path, b'\x80\x02}q\x00(X\x01')


def folder(path):
    path.mkdir()
    (path / 'epoch_9.pth').touch()
    return str(path)


def saved(content):
    def make(path):
        torch.save(content, path)
        return str(path)

    return make


class Runs:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return (exec, ('raise SystemExit("the pickle ran")',))


def saved_as_before_torch_1_6(content):
    def make(path):
        torch.save(content, path, _use_new_zipfile_serialization=False)
        return str(path)

    return make


FILES = dict(
    missing=(str, ['does not exist', '--cfg-options pretrained=None']),
    folder=(folder, ['is a folder', 'epoch_9.pth']),
    address=(lambda path: 'https://host/x.pth', ['is an address', 'Download']),
    empty=(lambda p: write(p, b''), ['is not a checkpoint', 'empty']),
    garbage=(lambda p: write(p, b'\x00\x01\x02' * 99), ['not a checkpoint', 'x01']),
    html=(lambda p: write(p, b'<!DOCTYPE html><p>404'), ['web page', 'torch.save']),
    pointer=(
        lambda p: write(p, b'version https://git-lfs.github.com/spec/v1\n'),
        ['Git LFS', 'git lfs pull'],
    ),
    truncated=(cut_short, ['is cut short', 'bytes']),
    damaged=(damaged_inside, ['damaged', 'again']),
    overwritten=(overwritten_numbers, ['checksum', 'again']),
    old_damaged=(old_pickle_of_rubbish, ['damaged', 'again']),
    tensor=(saved(torch.zeros(3)), ['holds a Tensor', 'state_dict']),
    no_state_dict=(saved(dict(model={}, epoch=3)), ['model, epoch', 'state_dict']),
    list_inside=(saved(dict(state_dict=[1, 2])), ["no 'state_dict' of tensors"]),
    code_zip=(saved(dict(state_dict={}, x=Runs())), ['exec', 'run code', 'rewrite']),
    code_pickle=(
        saved_as_before_torch_1_6(dict(state_dict={}, x=Runs())),
        ['exec', 'run code', 'rewrite'],
    ),
    other_pickle=(lambda p: write(p, pickle.dumps([SWIN])), ['torch.save did not']),
)


@pytest.mark.parametrize('kind', FILES)
def test_wrong_file(kind, tmp_path):
    make, words = FILES[kind]
    path = make(tmp_path / 'epoch_300.pth')
    with pytest.raises(InputError) as error:
        load_backbone(swin(), path)
    assert str(path) in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_missing_file_names_the_command_that_makes_it(tmp_path):
    name = 'swin-tiny-p4-w7_tlalign-in1k-pre_upernet_8xb2-160k_ade20k-512x512'
    with pytest.raises(InputError, match=rf'tools/train.py .*{name}\.py'):
        load_backbone(swin(), f'work_dirs/{name}/epoch_300.pth')
    (tmp_path / 'epoch_299.pth').touch()
    with pytest.raises(InputError, match='epoch_299.pth'):
        load_backbone(swin(), tmp_path / 'epoch_300.pth')
