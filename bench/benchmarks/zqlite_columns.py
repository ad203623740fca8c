"""COMPRESSED columns: what they save of peer metadata as it lives in a table, and what sealing costs."""

import json
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path
from time import perf_counter

import uvloop

from ghostwire import zqlite

ROWS = 5000
COMPRESSED = "CREATE TABLE peer(id INTEGER PRIMARY KEY, metadata COMPRESSED TEXT)"
ENCRYPTED = "CREATE TABLE peer(id INTEGER PRIMARY KEY, metadata ENCRYPTED COMPRESSED TEXT)"


def metadata(draw: random.Random, number: int) -> str:
    """What a node tells of itself: addresses, ports and latencies are random, as no fleet's are; about 480 bytes."""
    return json.dumps(
        {
            "hostname": f"node-{number}",
            "os": draw.choice(["linux", "darwin", "windows"]),
            "os_version": draw.choice(["6.1.0-18-amd64", "14.4.1", "10.0.22631"]),
            "version": f"1.{draw.randrange(9)}.{draw.randrange(20)}",
            "endpoints": [address(draw) for _ in range(3)],
            "nat": {"mapping": draw.choice(["easy", "hard"]), "hairpin": draw.random() < 0.3, "upnp": False},
            "relay": {"home": draw.randrange(20), "latency_ms": round(draw.random() * 200, 1)},
            "tags": draw.sample(["tag:web", "tag:db", "tag:ci", "tag:prod", "tag:dev"], 2),
            "capabilities": ["netmap-delta", "relay-v2", "disco", "pq-handshake"],
            "services": [{"proto": "tcp", "port": port, "description": "app"} for port in (22, draw.choice([80, 443]))],
        }
    )


def address(draw: random.Random) -> str:
    return ".".join(str(draw.randrange(1, 255)) for _ in range(4)) + f":{draw.randrange(1024, 65536)}"


class Metadata:
    """`track_saved_*`: the part of the plain bytes that the table does not hold, dictionary counted in."""

    timeout = 600

    def setup(self) -> None:
        self.found = measured()

    def track_saved_compressed(self) -> float:
        return self.found["compressed"]

    def track_saved_encrypted_and_compressed(self) -> float:
        return self.found["encrypted"]

    def track_insert_us(self) -> float:
        return self.found["insert_us"]

    def track_read_us(self) -> float:
        return self.found["read_us"]


@cache
def measured() -> dict[str, float]:
    return uvloop.run(measure())


async def measure() -> dict[str, float]:
    found: dict[str, float] = {}
    for name, table in (("compressed", COMPRESSED), ("encrypted", ENCRYPTED)):
        folder = Path(tempfile.mkdtemp())
        async with await zqlite.open(folder / "store.db", key=bytes(32)) as db:
            await db.execute(table)
            draw = random.Random(1)
            rows = [(n, metadata(draw, n)) for n in range(ROWS)]
            await db.executemany("INSERT INTO peer VALUES (?, ?)", rows[:500])
            await db.train()
            started = perf_counter()
            await db.executemany("INSERT INTO peer VALUES (?, ?)", rows[500:])
            found["insert_us"] = (perf_counter() - started) * 1e6 / (ROWS - 500)
            with db.read() as reader:
                started = perf_counter()
                plain = reader.value("SELECT sum(length(metadata)) FROM peer")
                found["read_us"] = (perf_counter() - started) * 1e6 / ROWS
                held = reader.value("SELECT sum(length(metadata)) FROM peer_sealed")
                held += reader.value("SELECT sum(length(data)) FROM zq_dictionary")
            found[name] = 1 - held / plain
        shutil.rmtree(folder)
    return found
