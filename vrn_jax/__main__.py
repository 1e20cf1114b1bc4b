"""`python -m vrn_jax` is `vrn`."""

import sys

from vrn_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
