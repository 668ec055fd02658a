"""What other processes do in tests; apart, so that they load no more than the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from service.store import Analysis, Store, Submission


def lamp(number: int, text: str = "路灯坏了") -> tuple[Submission, Analysis]:
    vector = np.random.default_rng(number).normal(size=8).astype(np.float32)
    analysis = Analysis("model@1", "urban", "roads_municipal", 0.9, "accept", {"primary": "urban"}, vector, ["路灯"])
    return Submission("board", str(number), text), analysis


def store_and_revise(url: str, worker: int) -> None:
    """Opens (and so upgrades) the database; stores 40, of which 20 are others' too; revises the same one 10 times."""
    own = Store(url, "default")
    for number in range(worker * 20, worker * 20 + 40):
        own.add([lamp(number)], "e1", f"w{worker}")
        if number % 4 == 0:
            own.add([lamp(999, f"第{worker}个程序第{number}次")], "e1", f"w{worker}")
    own.close()


def write_until(url: str, stop: Path) -> None:
    """Stores one after another, from number 1000 on, until there is a file ``stop``."""
    own = Store(url, "default")
    number = 1000
    while not stop.exists():
        own.add([lamp(number)], "e1", "writer")
        number += 1
    own.close()
