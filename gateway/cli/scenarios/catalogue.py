"""Every scenario there is."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.cli.scenarios import backpressure, fault_isolation, hot_plug, rolling, scale_out, soak
from gateway.cli.scenarios.story import Story

_ALL = (hot_plug, fault_isolation, scale_out, backpressure, rolling, soak)

STORIES: Mapping[str, Story] = {module.STORY.name: module.STORY for module in _ALL}
