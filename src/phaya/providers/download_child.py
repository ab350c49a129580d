"""A script, started by `ytdlp.YtDlp` in a child process and in a folder that holds `order.json`.

Raises the bars, then has yt-dlp work behind them. Writes JSON lines: `{"share": 0..1}`, and in the end
`{"found": …}`, `{"file": …}` or `{"failed": …}`.
"""

from __future__ import annotations

import ctypes  # noqa: F401 # pyright: ignore[reportUnusedImport] - yt-dlp needs it; loading a library is barred later
import json
import os
import sys
from pathlib import Path
from typing import Any

# The very code that started us: `-I` keeps the environment's folders off the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.dont_write_bytecode = True
# No plugins, and no HTTP client whose connections and requests raise other events than those that are watched.
os.environ["YTDLP_NO_PLUGINS"] = "1"
for _native in ("curl_cffi", "requests", "websockets"):
    sys.modules[_native] = None  # type: ignore[assignment]

from phaya.providers.download_bars import Bars  # noqa: E402 - the line above comes first


def main() -> None:
    """Carries out the order in the working folder."""
    order: dict[str, Any] = json.loads(Path("order.json").read_bytes())
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is not taken for our lines

    def tell(**values: Any) -> None:
        told.write(json.dumps(values) + "\n")
        told.flush()

    bars = Bars(order, Path.cwd())
    sys.addaudithook(bars)
    from phaya.providers import download_work  # imports yt-dlp, so not before the bars are up

    log = download_work.Log()
    try:
        work = download_work.Work(order, bars, log, tell)
        work.look() if order["look"] else work.load()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
        kind = error.kind if isinstance(error, download_work.Stop) else None
        text = f"{type(error).__name__}: {error}"[:2000]
        tell(failed={"kind": kind, "text": text, "barred": bars.refused[-5:], "warnings": log.warnings[-5:]})


if __name__ == "__main__":
    main()
