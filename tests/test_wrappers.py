"""Wrappers of models and data sets are opened the same way everywhere."""

from types import SimpleNamespace

import pytest
from mmengine.config import ConfigDict
from mmengine.model import BaseTTAModel
from torch import nn

from mmtlalign.compat.wrappers import unwrap_dataset, unwrap_model, walk_datasets


class Views(BaseTTAModel):
    """Test only: test-time augmentation without a merge."""

    def merge_preds(self, data_samples_list):
        return data_samples_list


def test_models_are_unwrapped_however_often_they_are_wrapped():
    plain = nn.Linear(1, 1)
    plain.test_step = None
    assert unwrap_model(plain) is plain
    assert unwrap_model(nn.DataParallel(nn.DataParallel(plain))) is plain
    assert unwrap_model(nn.DataParallel(Views(plain))) is plain


def as_config(**settings):
    return ConfigDict(settings)


@pytest.mark.parametrize('kind', [SimpleNamespace, as_config])
def test_data_sets_are_found_inside_wrappers(kind):
    one, two = kind(pipeline=[1]), kind(pipeline=[2])
    several = kind(datasets=[one, kind(dataset=two)])
    whole = kind(dataset=several)
    assert unwrap_dataset(one) is one
    assert unwrap_dataset(kind(dataset=kind(dataset=one))) == one
    # Which of several is nobody's guess.
    assert unwrap_dataset(whole) == several
    assert [one, two] == [d for d in walk_datasets(whole) if 'pipeline' in dir_of(d)]
    assert len(list(walk_datasets(whole))) == 5


def dir_of(dataset):
    return dataset if isinstance(dataset, dict) else vars(dataset)
