"""Weights that cannot be downloaded are said in a line, within seconds."""

import socket
import time

import huggingface_hub
import pytest
import timm
import torch

from mmtlalign.compat.network import check_reachable
from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.annotators import build_annotator


@pytest.fixture(params=['refused', 'silent'])
def no_network(request, monkeypatch, tmp_path):
    """No host takes a connection, or none answers; nothing is cached."""
    monkeypatch.setenv('HF_HUB_OFFLINE', '0')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    for name in ('http_proxy', 'https_proxy', 'HTTPS_PROXY', 'HTTP_PROXY'):
        monkeypatch.delenv(name, raising=False)

    def connect(*given):
        if request.param == 'silent':
            time.sleep(60)
        raise OSError('Network is unreachable')

    monkeypatch.setattr(socket, 'create_connection', connect)


@pytest.mark.parametrize(
    ('name', 'host'),
    [('timm:resnet18', 'huggingface.co'), ('mmpretrain:resnet18_8xb32_in1k', 'open')],
)
def test_without_network(name, host, no_network, monkeypatch):
    start = time.monotonic()
    monkeypatch.setattr(huggingface_hub, 'try_to_load_from_cache', lambda *file: None)
    with pytest.raises(InputError, match=f'weights of {name}.*--checkpoint') as error:
        build_annotator(name)
    assert time.monotonic() - start < 30  # 4 s, and what the machine is busy with
    assert '\n' not in str(error.value)


def test_with_a_file_nothing_is_asked(no_network, tmp_path):
    net = timm.create_model('test_efficientnet')
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    build_annotator('timm:test_efficientnet', str(tmp_path / 'net.pth'))


def test_a_host_that_answers_passes():
    with socket.create_server(('127.0.0.1', 0)) as server:
        address = f'http://127.0.0.1:{server.getsockname()[1]}/file'
        check_reachable(address, 'A file', 'Find one.')
