"""The command line: one command per rule, and a few for people. Heavy imports stay inside the commands."""

from __future__ import annotations

import sys

# importing registers them
from rekon.cli import check, data, estimate, people, reading, reports, runs, status  # noqa: F401
from rekon.cli.app import app
from rekon.errors import UserError


def main() -> None:
    """Entry point: a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"rekon: {error}", file=sys.stderr)
        sys.exit(2)
