"""Weighted k-NN, alone and as a hook of a training."""

import pytest
import torch
from esvit_parts import settings
from knn_parts import by_hand, hook
from mmengine.runner import Runner

from mmtlalign.errors import InputError
from mmtlalign.methods import knn
from mmtlalign.methods.knn import gather, top_classes


@pytest.mark.parametrize('chunk', [2**25, 100])
def test_votes_equal_a_loop(chunk, monkeypatch):
    monkeypatch.setattr(knn, 'CHUNK', chunk)
    bank, queries = torch.randn(40, 6) * 3, torch.randn(25, 6) / 5
    labels = torch.randint(0, 7, (40,))
    found = top_classes(queries, bank, labels, (1, 5, 20), 7, temperature=0.1)
    for k, ranked in found.items():
        assert ranked.shape == (25, 5)
        assert torch.equal(ranked[:, 0], by_hand(queries, bank, labels, k, 7, 0.1))


def test_fewer_than_five_classes():
    bank = torch.eye(4)
    ranked = top_classes(bank, bank, torch.tensor([0, 1, 2, 0]), (2,), 3)[2]
    assert ranked.shape == (4, 3)
    assert ranked[:, 0].tolist() == [0, 1, 2, 0]


def test_equal_votes_follow_the_number_of_the_class():
    bank, labels = torch.eye(4), torch.tensor([5, 3, 1, 6])
    ranked = top_classes(bank, bank, labels, (1, 1), 7)
    # Its own class, and then those that nobody votes for.
    assert ranked[1].tolist() == [
        [5, 0, 1, 2, 3],
        [3, 0, 1, 2, 4],
        [1, 0, 2, 3, 4],
        [6, 0, 1, 2, 3],
    ]


def test_more_neighbours_than_images():
    with pytest.raises(InputError, match='k=9 needs a bank.*it has 4'):
        top_classes(torch.eye(4), torch.eye(4), torch.arange(4), (2, 9), 4)


def test_rows_of_processes_return_to_their_order(monkeypatch):
    parts = [torch.tensor([0, 2, 4]), torch.tensor([1, 3, 0])]
    monkeypatch.setattr('mmtlalign.methods.knn.all_gather', lambda part: parts)
    assert gather(parts[0], 5).tolist() == [0, 1, 2, 3, 4]


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Train with the hook; return (iteration, accuracies) of every evaluation."""

    def run(**changes):
        config = settings(tmp_path)
        config.train_cfg = changes.pop('train_cfg', config.train_cfg)
        config.custom_hooks += [hook(**changes)]
        runner = Runner.from_cfg(config)
        seen = []

        def keep(scalars, step=0, **kwargs):
            if 'knn/top1_k3' in scalars:
                seen.append((step, scalars))

        monkeypatch.setattr(runner.visualizer, 'add_scalars', keep)
        runner.train()
        assert runner.model.training
        return seen

    return run


def test_hook_counts_epochs(evaluated):
    seen = evaluated(interval=2, at_start=True)
    assert [step for step, _ in seen] == [0, 4]
    for _, scalars in seen:
        assert set(scalars) == {f'knn/top{n}_k{k}' for n in (1, 5) for k in (3, 9)}
        # Colours are told apart by any features.
        assert scalars['knn/top1_k9'] == scalars['knn/top5_k9'] == 100


def test_hook_counts_iterations(evaluated):
    loop = dict(by_epoch=False, max_iters=5, val_interval=5)
    seen = evaluated(interval=2, train_cfg=loop)
    assert [step for step, _ in seen] == [2, 4, 5]


def test_hook_needs_classes(evaluated):
    with pytest.raises(InputError, match='has no class'):
        evaluated(at_start=True, labels=False)


def test_network_is_chosen(evaluated, monkeypatch):
    from mmtlalign.methods.esvit.model import EsViT

    asked, plain = set(), EsViT.extract_feat

    def extract_feat(self, inputs, network='teacher'):
        asked.add(network)
        return plain(self, inputs, network)

    monkeypatch.setattr(EsViT, 'extract_feat', extract_feat)
    evaluated(network='student')
    assert asked == {'student'}
