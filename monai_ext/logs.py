"""One form for what all commands log. ``configs/logging.conf`` of the bundles has the same."""

import logging

FORMAT, TIME = "%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"


def start_logging() -> None:
    """Let this package log what it does, and others only warnings, to the standard error."""
    logging.basicConfig(level=logging.WARNING, format=FORMAT, datefmt=TIME)
    logging.getLogger("monai_ext").setLevel(logging.INFO)
