"""`models.ranks` with a fault: FAULT='{"rank": 1, "step": 12, "how": "kill"}', or "how": "slow" for all ranks."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from models import pretraining, ranks

FAULT: dict[str, Any] = json.loads(os.environ.get("FAULT", "{}"))
real = pretraining.step_loss


def step_loss(*arguments: Any) -> Any:
    """The loss, and on the way to it what is to go wrong."""
    how = FAULT.get("how")
    if how == "slow":
        time.sleep(0.15)
    elif int(os.environ["RANK"]) == FAULT.get("rank") and arguments[2].step == FAULT.get("step"):
        if how == "raise":
            raise ValueError("the dog ate this rank's batch")
        if how == "sleep":
            time.sleep(3600)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)


if __name__ == "__main__":
    pretraining.step_loss = step_loss
    status = ranks.main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)
