"""Draw what finished training runs learnt, one PNG a run."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmtlalign.engine.console import filter_known_warnings
from tools.experiments.run_figures import draw_run


def main():
    """Draw shares of pretraining, label maps of segmentation, boxes of detection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='folder for <name of the run>.png')
    parser.add_argument('runs', type=Path, nargs='+', help='work directories')
    args = parser.parse_args()
    filter_known_warnings()
    args.out.mkdir(parents=True, exist_ok=True)
    for run in args.runs:
        draw_run(run, args.out / f'{run.resolve().name}.png')


if __name__ == '__main__':
    main()
