"""What follows from the recipes is up to date: recipes, metafiles, index, tables."""

import re
import shutil

import pytest
import yaml
from repository import ROOT

from tools.configs import generate as tool
from tools.configs.derived import derived_recipes
from tools.configs.headers import MARK, Header, read_header
from tools.configs.metafiles import COLLECTIONS, metafiles, recipes_of

FOLDER = ROOT / 'configs'
FOLDERS = sorted(p.parent for p in FOLDER.glob('*/README.md'))
RECIPES = {str(p.relative_to(FOLDER)): p for f in FOLDERS for p in recipes_of(f)}


@pytest.fixture(scope='module')
def files():
    return dict(tool.generate(ROOT, count=False))


def stale(files):
    old = [p for p, text in files.items() if not p.is_file() or p.read_text() != text]
    return sorted(str(p.relative_to(ROOT)) for p in old)


def test_all_is_up_to_date_but_for_counts(files):
    assert stale(files) == [], 'run: python tools/configs/generate.py'


@pytest.mark.slow
def test_parameters_are_those_of_the_networks():
    assert stale(dict(metafiles(ROOT, count=True))) == []


def test_every_marked_recipe_is_in_a_table(files):
    marked = {p for p in RECIPES.values() if p.read_text().startswith(MARK)}
    assert marked == {p for p in files if p.suffix == '.py'}
    assert tool.leftovers(ROOT, set(files)) == []


def test_a_new_recipe_gets_its_methods_and_their_controls(tmp_path):
    shutil.copytree(FOLDER / '_base_', tmp_path / '_base_')
    own = tmp_path / 'dhvt' / 'dhvt-tiny-p8_2xb256-coslr-300e_cifar100-32px.py'
    for method in ('dhvt', *tool.METHODS[:3]):
        (tmp_path / method).mkdir()
    text = (FOLDER / 'dhvt/dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px.py').read_text()
    own.write_text(text.replace('-p4_', '-p8_').replace('patches of 4', 'patches of 8'))
    for method in tool.METHODS:
        for path, new in derived_recipes(tmp_path, method):
            path.write_text(new)
    names = {p.stem.partition('_')[0] for p in tmp_path.glob('*/*_dhvt-tiny-p8_*.py')}
    assert names == {'tlalign', 'transmix', 'cutmix'}
    (control,) = (tmp_path / 'cutmix').glob('*.py')
    assert read_header(control).run == [
        f'  bash tools/dist_train.sh configs/cutmix/{control.name} 2 --amp'
    ]
    assert 'patches of 8' in read_header(control).title
    assert '../tlalign/tlalign_dhvt-tiny-p8_' in control.read_text()
    (aligned,) = (tmp_path / 'tlalign').glob('*.py')
    assert 'patch_size=8' in aligned.read_text()


def test_command_says_what_is_not_up_to_date(tmp_path, monkeypatch, capsys):
    file = tmp_path / 'configs' / 'page.md'
    file.parent.mkdir()
    monkeypatch.setattr(tool, 'ROOT', tmp_path)
    monkeypatch.setattr(tool, 'generate', lambda root, count: [(file, 'new')])
    with pytest.raises(SystemExit, match=r'run python tools/configs/generate\.py'):
        tool.main(['--check'])
    assert not file.exists() and 'configs/page.md' in capsys.readouterr().out
    old = tmp_path / 'configs' / 'old.py'
    old.write_text(MARK)  # of a row that is no longer there
    tool.main([])
    assert file.read_text() == 'new' and not old.exists()
    tool.main(['--check'])


# ------------------------------------------------------------------- the headers


@pytest.mark.parametrize('name', RECIPES)
def test_header_has_one_form_and_commands_that_exist(name):
    path = RECIPES[name]
    header = read_header(path)
    text = path.read_text().removeprefix(f'{MARK}\n')
    assert text.startswith(header.render()), 'wrapped otherwise'
    for part in (header.title, header.expected, header.cost, header.source):
        assert part.endswith(('.', ')')), part
    run = '\n'.join(header.run)
    assert f'configs/{name}' in run
    for file in re.findall(r'(?:tools|configs)/[\w./-]+\.(?:py|sh)', run):
        assert (ROOT / file).is_file(), file
    pages = re.findall(r'\(((?:docs/)?\w+\.md)\)', header.measured)
    assert header.measured.startswith('not yet') or (
        pages and 'seed' in header.measured
    )
    assert all((ROOT / page).is_file() for page in pages)


def test_header_of_another_form_is_refused(tmp_path):
    file = tmp_path / 'recipe.py'
    file.write_text("# What.\n#   command\n# Cost: none.\n_base_ = 'other.py'\n")
    with pytest.raises(ValueError, match='instead of title'):
        read_header(file)


def test_header_is_read_as_it_is_written(tmp_path):
    header = Header('What it is.', ['  a', '    b \\'], *['see x; y: z.'] * 5)
    file = tmp_path / 'recipe.py'
    file.write_text(f"{header.render()}_base_ = 'other.py'\n")
    assert read_header(file) == header


# ----------------------------------------------------------- metafiles and pages


def test_index_imports_every_folder_and_each_recipe_once():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert {f.name for f in FOLDERS} == set(COLLECTIONS)
    models = []
    for file in index['Import']:
        contents = yaml.safe_load((ROOT / file).read_text())
        (own,) = contents['Collections']
        assert (ROOT / own['README']).is_file()
        assert {m['In Collection'] for m in contents['Models']} == {own['Name']}
        models += contents['Models']
    assert sorted(m['Config'] for m in models) == sorted(
        f'configs/{n}' for n in RECIPES
    )
    assert len({m['Name'].lower() for m in models}) == len(models)


def test_results_are_those_that_we_measured():
    found = {}
    for folder in FOLDERS:
        for model in yaml.safe_load((folder / 'metafile.yml').read_text())['Models']:
            for result in model.get('Results', []):
                found[model['Name']] = result['Metrics']
    measured = [
        path.stem
        for path in RECIPES.values()
        if not read_header(path).measured.startswith('not yet')
    ]
    assert sorted(found) == sorted(measured)
    assert found['tlalign_swin-mini-p4-w4_imagenette-64px'] == {'Top 1 Accuracy': 45.7}
    assert found['cascade-mask-rcnn_swin-mini-p4-w4_fpn_coco-persons'] == {
        'box AP50': 1.6,
        'mask AP50': 0.4,
    }
