"""Run recbole_mm from a checkout: ``python run_recbole_mm.py --model=CMC --dataset=ml-100k``."""

from recbole_mm.cli import main

if __name__ == "__main__":
    raise SystemExit(main(run_by_default=True))
