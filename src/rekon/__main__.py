"""`python -m rekon`."""

from rekon.cli import main

main()
