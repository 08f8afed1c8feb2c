"""A headless Chromium by the DevTools protocol over two pipes; standard library only.

``--remote-debugging-pipe``: Chromium reads from descriptor 3 and writes to 4, messages
of JSON that end with a NUL.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
SWITCHES = (
    *('--headless=new', '--no-sandbox', '--remote-debugging-pipe', '--no-first-run'),
    *('--disable-gpu', '--hide-scrollbars', '--disable-dev-shm-usage'),
    *('--disable-background-networking', '--force-color-profile=srgb'),
)


def find_chromium() -> str | None:
    """Return the program; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """A browser process with one page.

    Attributes:
        events: What the page has reported since :meth:`open`, (method, parameters).
    """

    def __init__(self, program: str, profile: Path, timeout: float = 30.0):
        self.timeout, self.count, self.rest = timeout, 0, b''
        self.events: list[tuple[str, dict]] = []
        pipes = [*os.pipe(), *os.pipe()]
        # Above 4, so that one redirection does not close the other's end.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in pipes]
        command = f'exec "$@" 3<&{ends[0]} 4>&{ends[3]}'
        self.process = subprocess.Popen(
            ['bash', '-c', command, 'bash', program, *SWITCHES]
            + [f'--user-data-dir={profile}', 'about:blank'],
            pass_fds=(ends[0], ends[3]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (*pipes, ends[0], ends[3]):
            os.close(end)
        self.reads, self.writes, self.session = ends[2], ends[1], None
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call(
            'Target.attachToTarget', targetId=target, flatten=True
        )['sessionId']
        for domain in ('Page', 'Runtime', 'Network', 'Log', 'Accessibility'):
            self.call(f'{domain}.enable')

    def call(self, method: str, **params: object) -> dict:
        """Call a method of the protocol, and return its result."""
        self.count += 1
        message = dict(id=self.count, method=method, params=params)
        if self.session:
            message['sessionId'] = self.session
        os.write(self.writes, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self.count:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']

    def _receive(self) -> dict:
        end = time.monotonic() + self.timeout
        while b'\0' not in self.rest:
            if not select.select([self.reads], [], [], end - time.monotonic())[0]:
                raise TimeoutError('Chromium does not answer')
            chunk = os.read(self.reads, 2**16)
            if not chunk:
                raise RuntimeError('Chromium has ended')
            self.rest += chunk
        text, _, self.rest = self.rest.partition(b'\0')
        message = json.loads(text)
        if 'method' in message:
            self.events.append((message['method'], message.get('params', {})))
        return message

    def open(self, address: str, ready: str = 'true') -> None:
        """Open an address anew, and wait until an expression is true."""
        self.call('Page.navigate', url='about:blank')
        self.events.clear()
        self.call('Page.navigate', url=address)
        self.wait(f'document.readyState === "complete" && {ready}')

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + self.timeout
        while not self.evaluate(f'Boolean({expression})'):
            if time.monotonic() > end:
                raise TimeoutError(f'never true: {expression}')
            time.sleep(0.02)

    def evaluate(self, expression: str) -> object:
        """Return the value of an expression of the page."""
        answer = self.call(
            'Runtime.evaluate',
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        if 'exceptionDetails' in answer:
            raise RuntimeError(f'{expression}: {answer["exceptionDetails"]}')
        return answer['result'].get('value')

    def press(self, key: str, **extra: object) -> None:
        """Press a key and let it go."""
        code = KEYS.get(key, ord(key[0].upper()))
        text = dict(text=key) if len(key) == 1 else {}
        both = dict(key=key, windowsVirtualKeyCode=code, **extra)
        self.call('Input.dispatchKeyEvent', type='keyDown', **both, **text)
        self.call('Input.dispatchKeyEvent', type='keyUp', **both)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        at = dict(x=x, y=y, button='left', clickCount=1)
        for kind in ('mouseMoved', 'mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, **at)

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait()
        os.close(self.reads)
        os.close(self.writes)


KEYS = dict(
    ArrowLeft=37, ArrowUp=38, ArrowRight=39, ArrowDown=40,
    End=35, Home=36, Escape=27, Tab=9, Enter=13,
)  # fmt: skip
