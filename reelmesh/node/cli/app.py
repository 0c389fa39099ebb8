"""The command tree, and what happens to an error that reaches it.

Everything heavy (web3, grpc, torch, libp2p) is imported inside the commands, so that `--help` and
mistakes in a command line answer at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reelmesh import __version__
from reelmesh.errors import ReelmeshError
from reelmesh.node.cli import (
    account,
    contracts,
    coordinator,
    demo,
    devnet,
    doctor,
    job,
    model,
    provider,
    receipt,
)
from reelmesh.node.cli.output import print_defect, print_error

app = typer.Typer(
    name="reelmesh",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="An open market for video generation: post a prompt with its payment locked in a contract,"
    " and machines that are idle bid for the work, do it, and are paid.",
    epilog="Start here: [bold]reelmesh demo[/bold] runs a whole market on this machine."
    " Then: reelmesh doctor, reelmesh job submit --help, reelmesh provider run --help.",
)
app.command("demo", rich_help_panel="Try it")(demo.demo)
app.add_typer(devnet.app, name="devnet", rich_help_panel="Try it")
app.command("doctor", rich_help_panel="Try it")(doctor.doctor)
app.add_typer(job.app, name="job", rich_help_panel="Buy")
app.add_typer(receipt.app, name="receipt", rich_help_panel="Buy")
app.add_typer(coordinator.app, name="coordinator", rich_help_panel="Buy")
app.add_typer(provider.app, name="provider", rich_help_panel="Earn")
app.add_typer(model.app, name="model", rich_help_panel="Earn")
app.add_typer(account.app, name="account", rich_help_panel="Operate")
app.add_typer(contracts.app, name="contracts", rich_help_panel="Operate")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"reelmesh {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of every command."""


def run(arguments: list[str] | None = None) -> None:
    """Run one command line; leaves by SystemExit with the code that its outcome asks for.

    0: done. 1: failed. 2: asked wrongly. 3: a peer, 4: the chain, 5: local state is at fault.
    70: a defect of reelmesh. 130: interrupted.
    """
    sys.exit(outcome(sys.argv[1:] if arguments is None else arguments))


def outcome(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = app(args=arguments, standalone_mode=False, prog_name="reelmesh")
        return code if isinstance(code, int) else 0
    except ReelmeshError as error:
        print_error(error, as_json="--json" in arguments)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence, shown as what it is
        # The parser's own errors (unknown option, missing argument) know how to show themselves.
        if (show := getattr(error, "show", None)) is not None:
            show()
            return int(getattr(error, "exit_code", 2))
        print_defect(error)
        return 70
