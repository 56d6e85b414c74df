"""Built images are kept while they are used; the disk is not filled with old ones."""

import os
import threading
from pathlib import Path

from devcluster.images import build, recipe
from devcluster.images.places import KEPT, Places
from distill_api.generate import files


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


def test_an_image_that_is_there_waits_for_nobodys_build(tmp_path: Path) -> None:
    places, image = Places(tmp_path), recipe.named("operator", "cpu")
    there = places.layout(recipe.names(image, files.ROOT).image)
    there.mkdir(parents=True)
    (there / "index.json").write_text("{}")
    found: list[build.Built] = []
    with build.locked(places):
        asking = threading.Thread(
            target=lambda: found.append(build.ensure(image, files.ROOT, places)), daemon=True
        )
        asking.start()
        asking.join(30)
    assert [one.layout for one in found] == [there]
