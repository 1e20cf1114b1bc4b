"""`python train.py CONFIG [options]` is `vrn train CONFIG [options]`."""

import sys

from vrn_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
