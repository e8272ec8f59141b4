"""The one place that sets the process environment, before any heavy library is imported.

Telemetry of every embedded library off, listeners on loopback, no pickle, no model hub unless a source
asks for it, and every store of Prefect, MLflow and Hugging Face inside the workspace. Imported first by
``flows`` and ``tasks``, so that a deployed run, a test and the command line all start from the same ground.
"""

from __future__ import annotations

import os
from pathlib import Path

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "true",  # MLflow compares with the word "true"; "1" leaves its telemetry on.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
LOOPBACK_ONLY = {
    "PREFECT_SERVER_API_HOST": "127.0.0.1",
    "RAY_AUTH_MODE": "token",
}
SAFE_DEFAULTS = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    # The temporary server of a run without PREFECT_API_URL; the default of 20 s is short on a busy laptop.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks,models",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # cuBLAS is only deterministic with a fixed workspace; harmless where there is no GPU.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


def workspace() -> Path:
    """Absolute path of the workspace (``UNVEIL_HOME``, default ``.unveil`` in the current folder).

    Links are followed as far as they lead; whether a workspace may be there, `tasks.places` says.
    """
    return Path(os.path.realpath(os.path.expanduser(os.environ.get("UNVEIL_HOME") or ".unveil")))  # noqa: PTH111 - raises nothing


def prepare() -> None:
    """Set every variable the project relies on; what the user already set in the environment wins.

    Switches that protect the user (telemetry, pickle) are not defaults but law, and are always set.
    """
    home = workspace()
    os.environ.update(TELEMETRY_OFF)
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    stores = {
        "UNVEIL_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "HF_DATASETS_CACHE": str(home / "cache" / "datasets"),
        "HF_HUB_CACHE": str(home / "cache" / "hub"),
        "HF_XET_CACHE": str(home / "cache" / "xet"),
        "MPLCONFIGDIR": str(home / "cache" / "matplotlib"),
        "MPLBACKEND": "agg",
    }
    for name, value in (LOOPBACK_ONLY | SAFE_DEFAULTS | stores).items():
        os.environ.setdefault(name, value)


prepare()
