"""The fault matrix of rollouts, told as stories on the pure loop."""

from typing import Any

import pytest
import rollout_story


@pytest.mark.parametrize(
    "story", [pytest.param(story, id=name) for name, story in rollout_story.stories()]
)
def test_a_story(story: dict[str, Any]):
    rollout_story.tell(story)
