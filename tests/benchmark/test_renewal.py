"""Ten minutes of load on workers whose tokens live for a quarter of one: every call has its answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kit.renewal import renewed_under_load

Report = Callable[[dict[str, Any]], None]


async def test_ten_minutes_of_renewals_under_load(tmp_path: Path, report: Report) -> None:
    told = await renewed_under_load(tmp_path, seconds=600, lifetime_s=15)
    report(
        {
            "calls answered": told.answered,
            "calls lost": len(told.lost),
            "connections": sum(told.connections.values()),
            "ends of connections": ", ".join(f"{reason}: {count}" for reason, count in told.ended.items()),
            "workers closed": len(told.closed),
            "longest call, ms": round(told.longest_ms),
        }
    )
