"""Draw one figure for each training run: shares, label maps or boxes, as PNG."""

import argparse
import sys
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> None:
    """Draw a figure of each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'out', type=Path, help='folder for the figures, <name of the run>.png'
    )
    parser.add_argument(
        'runs', type=Path, nargs='+', help='work directories of the runs'
    )
    args = parser.parse_args()
    missing = [str(run) for run in args.runs if not run.is_dir()]
    if missing:
        sys.exit(f'error: {", ".join(missing)} is not a folder; check the path')
    # What imports PyTorch comes after the command line.
    from mmtlalign.engine.console import filter_known_warnings

    filter_known_warnings()
    from mmtlalign.errors import short_errors
    from tools.experiments.run_pictures import draw_run

    args.out.mkdir(parents=True, exist_ok=True)
    for run in args.runs:
        with short_errors(str(run)):
            draw_run(run, args.out / f'{run.resolve().name}.png')


if __name__ == '__main__':
    main()
