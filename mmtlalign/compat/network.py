"""Check quickly whether a file must be downloaded and whether its server answers."""

import os
import socket
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import torch

from mmtlalign.errors import InputError


def check_reachable(address: str, what: str, remedy: str, seconds: float = 4) -> None:
    """Check that a server, or the proxy in front of it, accepts connections.

    Libraries that download would retry for a minute before they fail.

    Args:
        address: A URL of the server.
        what: What is to be downloaded, for the message.
        remedy: What to do without a network, for the message.
        seconds: How long to wait for an answer. Defaults to 4.

    Raises:
        InputError: There is no answer in time.
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

    # In a thread, because a DNS lookup has no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answered:
        raise InputError(
            f'{what} would be downloaded, but {parts.hostname} does not answer within '
            f'{seconds:g} s. {remedy}'
        )


def check_timm_download(model: str, what: str, remedy: str) -> None:
    """Check that weights of timm are in the cache or can be downloaded.

    Args:
        model: Name of a timm model.
        what: What is to be downloaded, for the message.
        remedy: What to do without a network, for the message.

    Raises:
        InputError: They are not in the cache, and their server does not answer.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(model)
    if cfg is None or not (cfg.hf_hub_id or cfg.url) or cfg.file:
        return
    if cfg.hf_hub_id:
        if os.environ.get('HF_HUB_OFFLINE', '').lower() in ('1', 'true', 'yes', 'on'):
            return  # huggingface_hub then fails at once by itself
        files = ('model.safetensors', 'pytorch_model.bin')
        known = [try_to_load_from_cache(cfg.hf_hub_id, file) for file in files]
        cached = any(isinstance(file, str) for file in known)
        address = os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'
    else:
        folder = Path(torch.hub.get_dir()) / 'checkpoints'
        cached, address = (folder / cfg.url.rpartition('/')[2]).is_file(), cfg.url
    if not cached:
        check_reachable(address, what, remedy)
