"""Every scenario there is."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.cli.scenarios import backpressure, fault_isolation, hot_plug, scale_out, soak
from gateway.cli.scenarios.story import Story

STORIES: Mapping[str, Story] = {
    story.name: story
    for story in (hot_plug.STORY, fault_isolation.STORY, scale_out.STORY, backpressure.STORY, soak.STORY)
}
