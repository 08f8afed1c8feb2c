"""Check that the adapters fit the installed version of timm.

timm changes often. Each class is therefore tested once, when tracing is attached to the
first model with it: a tiny module of the class is run with each token changed in turn,
and the dependencies between tokens are compared with those of the tracer.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.tracer import Tracer

KNOWN_TO_WORK = '1.0.31'
_WIDTH = 8
_tried: set[type] = set()


def import_classes(module: str, *names: str) -> tuple[type, ...]:
    """Import classes of timm by name.

    Raises:
        ImportError: One does not exist; the message has the version and the remedy.
    """
    try:
        found = importlib.import_module(module)
        return tuple(getattr(found, name) for name in names)
    except (ImportError, AttributeError) as error:
        raise ImportError(_changed(f'{module} ({error})')) from error


def require_attributes(read: Callable) -> Callable:
    """Wrap a function of a timm model, to explain an error of a missing attribute."""

    @functools.wraps(read)
    def call(model: nn.Module, *args: Any) -> Any:
        try:
            return read(model, *args)
        except AttributeError as error:
            what = f'{type(model).__name__} ({error})'
            raise UnsupportedError(_changed(what)) from error

    return call


def try_once(
    cls: type,
    make: Callable[[], nn.Module],
    install: Callable[[nn.Module, TraceContext], None],
    run: Callable[[nn.Module, Tensor], Tensor],
    grid: tuple[int, int],
    attentions: int = 1,
) -> None:
    """Check that shares move through a class of timm as its tokens do.

    Args:
        cls: The class, tested once per process.
        make: Creates a tiny module of it, for tokens of 8 channels.
        install: Attaches tracing to the module.
        run: Runs the module on tokens (B, N, 8), and returns tokens (B, N', C).
        grid: Rows and columns of the N tokens.
        attentions: Number of attentions that it computes. Defaults to 1.

    Raises:
        UnsupportedError: The module cannot be run as expected, or mixes other tokens
            than the tracer.
    """
    if cls in _tried:
        return
    name = f'{cls.__module__}.{cls.__qualname__}'
    try:
        seen, same = _moves_as_traced(make, install, run, grid)
    except Exception as error:
        what = f'{name} ({type(error).__name__}: {error})'
        raise UnsupportedError(_changed(what)) from error
    if seen != attentions:
        what = f'{name}, which calls attention {seen} times instead of {attentions}'
        raise UnsupportedError(_changed(what))
    if not same:
        raise UnsupportedError(
            _changed(f'{name}, which mixes other tokens than in that version')
        )
    _tried.add(cls)


@torch.no_grad()
def _moves_as_traced(
    make: Callable, install: Callable, run: Callable, grid: tuple[int, int]
) -> tuple[int, bool]:
    """Return the number of attentions, and whether shares move as tokens."""
    tokens = grid[0] * grid[1]
    with torch.random.fork_rng(devices=[]), torch.device('cpu'):
        torch.manual_seed(0)
        module = make().double().eval()
        context = TraceContext()
        install(module, context)
        tracer = context.reader = Tracer(torch.eye(tokens)[None], grid, 0, 1)
        still = torch.randn(1, tokens, _WIDTH, dtype=torch.float64)
        before = run(module, still)
        context.reader = None
        nudge = torch.randn(_WIDTH, dtype=torch.float64)
        after = run(module, still + torch.eye(tokens)[..., None] * nudge)
        # ``depends`` is (source, token), shares are (token, source).
        depends = (after - before).abs().amax(dim=-1) > 1e-12
        return tracer.seen, torch.equal(depends.mT, tracer.share[0] > 1e-12)


def _changed(what: str) -> str:
    return (
        f'timm {timm.__version__} is installed, and its internals differ from those '
        f'that tracing supports: {what}. timm {KNOWN_TO_WORK} is known to work: pip '
        f'install timm=={KNOWN_TO_WORK}, or train with a stock head (plain CutMix).'
    )
