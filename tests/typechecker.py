"""Runtime type checks as the tests switch them on (see `addopts` in pyproject.toml)."""

from beartype import BeartypeConf, beartype

numeric_tower = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""An int may stand for a float, as static checkers see it too."""
