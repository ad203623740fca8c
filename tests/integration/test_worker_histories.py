"""Random histories over real worker processes, with whatever is killed, cut off or stands still meanwhile.

`GHOSTWIRE_HISTORIES=N` plays so many of them.
"""

import os
import random

import pytest

from tests.integration.worker_story import ACTS, FAULTS, Act, Story
from tests.integration.workers import serving

pytestmark = pytest.mark.integration

HISTORIES = int(os.environ.get("GHOSTWIRE_HISTORIES", "2"))
NODES = 24
QUIET = 2
"""Acts one by one, each told before the next."""
PAUSE_S = 3.0


def half_of_the_faults(seed: int) -> list[Act]:
    """In an order of its own; the next seed takes the others."""
    return random.Random(seed // 2).sample(FAULTS, len(FAULTS))[seed % 2 :: 2]


@pytest.mark.parametrize("seed", range(HISTORIES))
async def test_every_agent_ends_with_its_fresh_map_and_only_the_affected_are_told(seed: int) -> None:
    draw = random.Random(seed)
    config = "limits:\n  handshakes_per_address: 512\n"
    with serving("--workers", "3", config=config) as server:
        story = Story(server, seed)
        try:
            await story.join_many(NODES)
            await story.settle()
            for act in draw.sample(ACTS, QUIET):
                await act(story)
                await story.settle()
            for fault in half_of_the_faults(seed):
                await fault(story)
                for act in draw.choices(ACTS, k=3):
                    await act(story)
                    await story.look()
                await story.heal(PAUSE_S)
                await story.settle()
            await story.finish()
        finally:
            await story.end()
