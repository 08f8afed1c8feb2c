"""Whether a file has to be downloaded and its host answers, without long waits."""

import os
import socket
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import torch

from mmtlalign.errors import InputError


def check_reachable(address: str, what: str, remedy: str, seconds: float = 4) -> None:
    """Check that a host takes connections, or the proxy that stands before it.

    Libraries that download try again for a minute before they say so.

    Args:
        address: A web address of the host.
        what: What is to be downloaded, for the message.
        remedy: What to do without a network, for the message.
        seconds: How long an answer is waited for.

    Raises:
        InputError: Nobody answers in time.
    """
    parts = urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urlsplit(proxy if '://' in proxy else f'http://{proxy}')
    port = parts.port or dict(http=80).get(parts.scheme, 443)
    answered: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname, port), seconds).close()
            answered.append(True)
        except OSError:
            pass

    # Looking up a name has no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answered:
        raise InputError(
            f'{what} would be downloaded, but {parts.hostname} does not answer within '
            f'{seconds:g} s. {remedy}'
        )


def check_timm_download(model: str, what: str, remedy: str) -> None:
    """Check that weights of timm are on this machine, or can be had.

    Args:
        model: A name of timm.
        what: What is to be downloaded, for the message.
        remedy: What to do without a network, for the message.

    Raises:
        InputError: They are not here, and their host does not answer.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(model)
    if cfg is None or not (cfg.hf_hub_id or cfg.url) or cfg.file:
        return
    if cfg.hf_hub_id:
        if os.environ.get('HF_HUB_OFFLINE', '').lower() in ('1', 'true', 'yes', 'on'):
            return  # the library says at once that there is none
        files = ('model.safetensors', 'pytorch_model.bin')
        known = [try_to_load_from_cache(cfg.hf_hub_id, file) for file in files]
        cached = any(isinstance(file, str) for file in known)
        address = os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'
    else:
        folder = Path(torch.hub.get_dir()) / 'checkpoints'
        cached, address = (folder / cfg.url.rpartition('/')[2]).is_file(), cfg.url
    if not cached:
        check_reachable(address, what, remedy)
