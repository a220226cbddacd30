# SPDX-License-Identifier: GPL-2.0
"""How the Python tools end."""

import sys


class Fail(Exception):
    """One line for the user that says what is wrong and what to do."""


def main(name, function, interrupted="interrupted"):
    """Run a tool's main(): its status is the tool's, and what it could not do one line."""
    try:
        sys.exit(function())
    except Fail as why:
        sys.exit(f"{name}: {why}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: {interrupted}")
