# SPDX-License-Identifier: GPL-2.0
"""What lab/kernel/kernel says of a flavour, for programs that boot it."""

import subprocess
from pathlib import Path

from guest import TOP, Fail


def image_of(flavour):
    """Where a kernel's image is, which has to be built by now."""
    done = subprocess.run([TOP / "lab/kernel/kernel", "--image", flavour], text=True,
                          capture_output=True, check=False)
    if done.returncode:
        raise Fail(done.stderr.strip())
    image = Path(done.stdout.strip())
    if not image.is_file():
        raise Fail(f"{image} does not exist: run lab/kernel/kernel {flavour}")
    return image
