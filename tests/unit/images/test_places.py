"""Built images are kept while they are used; the disk is not filled with old ones."""

import os
from pathlib import Path

from devcluster.images.places import KEPT, Places


def test_the_images_used_last_are_kept_and_others_are_left_alone(tmp_path: Path) -> None:
    places = Places(tmp_path)
    tags = [f"{number:012x}" for number in range(KEPT + 2)]
    layouts = [places.layout(f"localhost/kubedistill/trainer:{tag}") for tag in tags]
    other = places.layout(f"localhost/kubedistill/trainer-dependencies:{tags[0]}")
    for age, layout in enumerate([other, *layouts]):
        layout.mkdir(parents=True)
        os.utime(layout, (age, age))

    places.use(layouts[0])

    left = {path.name for path in (tmp_path / "oci").iterdir()}
    assert left == {other.name, layouts[0].name, *(path.name for path in layouts[-KEPT + 1 :])}
