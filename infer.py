"""`python infer.py [PHOTO] [options]` is `vrn reconstruct [PHOTO] [options]`."""

import sys

from vrn_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["reconstruct", *sys.argv[1:]]))
