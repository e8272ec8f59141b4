"""The `unveil` command: thin over the flows."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows import console, signals
from tasks.environment import workspace
from tasks.errors import ConfigError, UnveilError, one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 usage or config, 3 and 4 gates, 1 anything else."""
    options = _parser().parse_args(arguments)
    console.set_up(debug=options.debug)
    try:
        with signals.listening():
            command: Callable[[argparse.Namespace], int] = options.command
            return command(options)
    except UnveilError as error:
        return _report(error, error.exit_code, options.debug)
    except BrokenPipeError:
        # The reader of our output left; point stdout elsewhere so that closing it does not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except signals.EndedBySignal as ended:
        print(f"unveil: ended by {ended}; run the same command again to go on", file=sys.stderr)
        return int(ended.code or 0)
    except Exception as error:
        return _report(error, 1, options.debug)


def _report(error: Exception, code: int, debug: bool) -> int:
    if debug:
        logging.getLogger(__name__).exception("failed")
    text = str(error) if isinstance(error, UnveilError) else f"{type(error).__name__}: {error}"
    hint = "" if debug or isinstance(error, UnveilError) else " (--debug shows where)"
    print(f"unveil: {one_line(text)}{hint}", file=sys.stderr)
    return code


def _run(options: argparse.Namespace) -> int:
    preset, settings = _described(options)
    from flows.running import configuration

    configuration(preset, settings, options.until)  # Refuse a bad configuration before anything is started.
    from flows.lifecycle import lifecycle

    return console.end_run(lifecycle(preset, settings, options.until), workspace())


def _retrain(options: argparse.Namespace) -> int:
    preset, settings = _described(options)
    from flows.running import configuration

    configuration(preset, settings)
    from flows.retraining import retraining

    return console.end_run(retraining(preset, settings, options.why), workspace())


def _status(options: argparse.Namespace) -> int:
    preset, settings = _described(options)
    from flows.running import configuration, inspect_flow

    config, _ = configuration(preset, settings, options.until)
    from flows.lifecycle import compose

    found = inspect_flow("lifecycle", compose, preset, settings, options.until)
    console.show_status(found, preset, config.model_dump(mode="json"), as_json=options.json)
    return 0


def _generate(options: argparse.Namespace) -> int:
    from flows.writing import write

    write(options)
    return 0


def _explain(options: argparse.Namespace) -> int:
    from flows.explaining import explain

    explain(options)
    return 0


def _representation(options: argparse.Namespace) -> int:
    from flows.representation import show

    show(options)
    return 0


def _plan(options: argparse.Namespace) -> int:
    preset, settings = _described(options)
    from flows.planning import show

    show(preset, settings, as_json=options.json)
    return 0


def _trace(options: argparse.Namespace) -> int:
    from flows.tracing import show

    show(options)
    return 0


def _contracts(options: argparse.Namespace) -> int:
    from flows.contracts import show

    show(options)
    return 0


def _promote(options: argparse.Namespace) -> int:
    from flows.promoting import promote

    return promote(options)


def _rollback(options: argparse.Namespace) -> int:
    from flows.promoting import rollback

    return rollback(options)


def _reconcile(_options: argparse.Namespace) -> int:
    from flows import orchestrated  # noqa: F401 - what is loaded is told, see tasks.orchestration.reconcile
    from tasks.runs import reconcile

    gone = reconcile(workspace())
    print("\n".join(f"{run_id}: marked as failed" for run_id in gone) or "nothing to reconcile")
    return 0


def _ui(options: argparse.Namespace) -> int:
    from flows.ui import serve

    return serve(workspace(), mlflow_port=options.mlflow_port, prefect_port=options.prefect_port)


def _described(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Preset and settings that the command line asks for."""
    from flows import settings as configuration

    settings = configuration.read(Path(options.config)) if options.config else {}
    if options.preset and "extends" in settings and settings["extends"] != options.preset:
        raise ConfigError(
            f"the file extends {settings['extends']!r}",
            where=f"--preset {options.preset}",
            remedy="name only one",
        )
    settings = configuration.override(settings, options.set)
    return str(settings.get("extends") or options.preset or "demo"), settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unveil", description="From text to a language model that can be accounted for."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", help="show tracebacks and the libraries' own messages"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, function: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=[common])
        added.set_defaults(command=function)
        return added

    run = command("run", _run, "run the lifecycle; what has not changed is reused")
    retrain = command("retrain", _retrain, "go on from the champion with what is new, then promote or keep")
    retrain.add_argument("--why", required=True, help="the reason, kept with the run")
    status = command("status", _status, "what is fresh, what would rebuild, and why")
    plan = command("plan", _plan, "what the trainings will take: memory, time, energy, cost; will it fit")
    for added in (run, retrain, status, plan):
        _add_description(added)
    for added in (run, status):
        added.add_argument("--until", metavar="STAGE", help="the last stage to run")
    status.add_argument("--json", action="store_true", help="machine-readable, with the whole configuration")
    plan.add_argument("--json", action="store_true", help="machine-readable")
    trace = command("trace", _trace, "which documents, or labelled rows, one step of a training read")
    trace.add_argument(
        "--run", metavar="ID", default="latest", help="an unveil or MLflow run; default: latest"
    )
    trace.add_argument(
        "--stage",
        metavar="STAGE",
        help="pretraining or finetuning-<task>; default: the one whose MLflow run --run is, else pretraining",
    )
    trace.add_argument("--step", metavar="N", type=int, required=True, help="the step, from 1")
    trace.add_argument("--json", action="store_true", help="machine-readable")
    _add_generation(command("generate", _generate, "continue a text, one token at a time"))
    _add_explanation(
        command("explain", _explain, "which tokens a prediction hangs on, as text and as a page")
    )
    representation = command(
        "representation", _representation, "who the text speaks of, and what changed since the corpus before"
    )
    representation.add_argument("--run", metavar="ID", help="default: the newest run")
    representation.add_argument(
        "--against", metavar="ID", help="default: the corpus before it, of the same preset"
    )
    contracts = command(
        "contracts", _contracts, "what the data contracts found, and what changed since a run"
    )
    contracts.add_argument("--run", metavar="ID", help="default: the newest run")
    contracts.add_argument("--against", metavar="ID", help="default: the run before it, of the same preset")
    promote = command("promote", _promote, "decide again on the newest model: promote, keep or refuse")
    promote.add_argument("--yes", action="store_true", help="promote although the gates are unsure")
    promote.add_argument("--why", help="the reason for --yes, kept with the model")
    rollback = command("rollback", _rollback, "let the previous champion answer again")
    rollback.add_argument("--why", required=True, help="the reason, kept with the model")
    rollback.add_argument("--model", metavar="NAME", help="the registered model; default: the newest run's")
    command("reconcile", _reconcile, "mark runs whose process vanished as failed")
    ui = command("ui", _ui, "open the MLflow and Prefect pages on loopback until interrupted")
    ui.add_argument("--mlflow-port", type=int, default=5000, help="default 5000")
    ui.add_argument("--prefect-port", type=int, default=4200, help="default 4200")
    return parser


def _add_description(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", help="smoke, demo (the default), small or base")
    parser.add_argument("--config", metavar="FILE", help="a YAML file that starts from a preset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="change one setting"
    )


def _add_generation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="the text to continue")
    parser.add_argument("--model", metavar="FOLDER", help="a model folder; default: the newest run's")
    parser.add_argument(
        "--show-steps", action="store_true", help="tokens, candidates and probabilities of each step"
    )
    parser.add_argument("--max-new-tokens", type=int, default=100, help="default 100")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0 always takes the likeliest; default 0.8"
    )
    parser.add_argument("--top-k", type=int, default=0, help="keep the k likeliest tokens; 0 keeps all")
    parser.add_argument(
        "--top-p", type=float, default=0.95, help="keep the likeliest tokens up to this mass; default 0.95"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed writes the same text; default 0")
    parser.add_argument("--stop", action="append", default=[], help="end before this text; may be repeated")


def _add_explanation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", metavar="TEXT", help="the text; of question-answering, where the answer may be"
    )
    parser.add_argument(
        "--task", choices=("sentiment", "question-answering", "next-token"), default="sentiment"
    )
    parser.add_argument("--question", metavar="Q", help="what is asked of the text")
    parser.add_argument("--model", metavar="FOLDER", help="a model folder; default: the newest run's")
    parser.add_argument("--html", metavar="FILE", help="where the page goes; default: the workspace")
    parser.add_argument("--steps", action="store_true", help="show how the scores approach their sum")
    parser.add_argument(
        "--colour", action="store_true", help="colour the tokens although this is no terminal"
    )


if __name__ == "__main__":
    sys.exit(main())
