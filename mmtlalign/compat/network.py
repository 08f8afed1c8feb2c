"""Whether a file has to be downloaded and its host answers, without long waits."""

import os
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

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


def hub_address() -> str:
    """Return the address of Hugging Face's hub, or of the mirror that is set."""
    return os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'
