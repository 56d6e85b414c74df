"""What `make test` has ready before the first test."""

import os
import subprocess

from devcluster.images import recipe
from distill_api.generate import files


def test_every_image_is_built_beside_the_programs_and_before_the_tests() -> None:
    # Below `make test` itself the variables of that make would be taken for this one's.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", "test"]
    said = subprocess.run(
        command, cwd=files.ROOT, env=alone, capture_output=True, text=True, check=True
    )
    before = said.stdout.partition("-m pytest")[0]
    assert "--jobs=2 programs every-image" in before
    _, _, images = before.partition("-m devcluster.images build ")
    assert set(images.splitlines()[0].split()) == {*recipe.NAMES, *recipe.ON_DEMAND}
