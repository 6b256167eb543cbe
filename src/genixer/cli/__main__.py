"""`python -m genixer.cli` is the same as `genixer`."""

from genixer.cli import main

main()
