"""Snakemake that looks at its jobs every two seconds, instead of ten seconds later each time: for tests that wait."""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)
sys.exit(main(sys.argv[1:]))
