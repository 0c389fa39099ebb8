"""`reelmesh model`: production models on this machine."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmesh.node.cli.home import Home, HomeOption
from reelmesh.node.cli.output import JsonFlag, print_json, table

if TYPE_CHECKING:
    from reelmesh.node.models.shelf import Installed
    from reelmesh.scheduler.models import Model

app = typer.Typer(
    no_args_is_help=True,
    help="Production models: what a provider with a GPU runs beside the built-in ones.",
)
ModelName = Annotated[
    str, typer.Argument(help="A name from `model list`, or owner/name[@revision].")
]

_GIB = 1 << 30


@app.command()
def pull(
    wanted: ModelName,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Take it from this folder, without network.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring a model here: weights and settings alone, every file hashed, no code of its own.

    A pull that was cut off goes on where it stopped. A model that is here already is checked.
    Restart the provider afterwards: it measures the model's stages and offers them.

    [bold]Examples[/bold]
      reelmesh model pull wan-t2v
      reelmesh model pull Wan-AI/Wan2.1-T2V-1.3B-Diffusers@0fad780a534b6463e45facd96134c9f345acfa5b
      reelmesh model pull wan-t2v --from /media/disk/Wan2.1-T2V-1.3B-Diffusers
    """
    from reelmesh.node.models import hub
    from reelmesh.node.models.shelf import Shelf

    model, shelf = _known(wanted), Shelf(Home.at(home).models)
    progress = _Progress()
    if from_ is None:
        found = hub.pull(shelf, model, progress)
    else:
        found = shelf.keep(model, from_.expanduser(), "folder", progress, move=False)
    took = progress.end()
    told = {**_describe(model, found), "seconds": round(took, 1)}
    if as_json:
        print_json(told)
        return
    rate = found.size / max(took, 1e-3) / 1e6
    files = f"{_size(found.size)} in {len(found.manifest.files)} files"
    print(f"{model.name} is here: {files}, {rate:.0f} MB/s")
    print(f"  manifest {told['files_hash']}\n  folder   {found.folder}")
    print("  next     start the provider again: it measures the model and offers it")


@app.command("list")
def list_(home: HomeOption = None, as_json: JsonFlag = False) -> None:
    """List the models that this version knows, and which are on this machine."""
    from reelmesh.node.models.shelf import Shelf
    from reelmesh.scheduler.models import MODELS

    here = {one.model.name: one for one in Shelf(Home.at(home).models).installed()}
    if as_json:
        print_json([_describe(model, here.get(name)) for name, model in MODELS.items()])
        return
    rows = [
        [name, _size(here[name].size) if name in here else "-", model.licence, model.summary]
        for name, model in MODELS.items()
    ]
    table("Models", ["name", ">here", "licence", "what it is"], rows)
    if not here:
        print("\nnone is on this machine; get one: reelmesh model pull wan-t2v")


@app.command()
def show(
    wanted: ModelName,
    check: Annotated[bool, typer.Option("--check", help="Hash every file again.")] = False,
    home: HomeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one model: where it comes from, what it needs, and its files' hashes."""
    from reelmesh.node.models.shelf import Shelf

    model, shelf = _known(wanted), Shelf(Home.at(home).models)
    found = next((one for one in shelf.installed() if one.model is model), None)
    if check:
        found = shelf.get(model.name)
        found.check(told=(progress := _Progress()))
        progress.end()
    told = _describe(model, found)
    if as_json:
        print_json(told)
        return
    print(f"{model.name}: {model.summary}\n  licence    {model.licence}")
    print(f"  from       {model.repository}\n  revision   {model.revision}")
    rate = f", {model.fps} frames a second" if "denoise" in model.stages else ""
    print(f"  native     {model.width}x{model.height}{rate}, {model.dtype}")
    rows = [[stage, f"{mb} MB"] for stage, mb in model.weights_mb.items()]
    table("Weights by stage, as published", ["stage", ">on the device"], rows)
    if found is None:
        print(f"\nnot on this machine; get it: reelmesh model pull {model.name}")
        return
    print(f"\n  folder     {found.folder}\n  manifest   {told['files_hash']}")
    for one in found.manifest.files:
        print(f"  {one.sha256}  {one.size:>12}  {one.path}")


@app.command()
def remove(wanted: ModelName, home: HomeOption = None, as_json: JsonFlag = False) -> None:
    """Delete a model from this machine."""
    from reelmesh.node.models.shelf import Shelf

    model = _known(wanted)
    freed = Shelf(Home.at(home).models).remove(model.name)
    if as_json:
        print_json({"name": model.name, "freed_bytes": freed})
    else:
        print(f"removed {model.name}; {_size(freed)} are free again")


def _known(wanted: str) -> Model:
    """The registry's model. Raises UserError with what there is."""
    from reelmesh.errors import UserError
    from reelmesh.scheduler.models import MODELS, find

    found = find(wanted)
    if found is not None:
        return found
    repository, _, revision = wanted.partition("@")
    known = find(repository)
    if known is not None and revision:
        raise UserError(
            f"this version trades {known.repository} at another revision than {revision[:40]}",
            f"reelmesh model pull {known.pinned}",
        )
    raise UserError(f"no model is named {wanted[:80]!r}", f"there are {', '.join(MODELS)}")


def _describe(model: Model, found: Installed | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": model.name,
        "repository": model.repository,
        "revision": model.revision,
        "kinds": list(model.kinds),
        "stages": list(model.stages),
        "licence": model.licence,
        "dtype": model.dtype,
        "here": found is not None,
    }
    if found is not None:
        told |= {
            "folder": str(found.folder),
            "source": found.manifest.source,
            "bytes": found.size,
            "files": len(found.manifest.files),
            "files_hash": found.manifest.files_hash().hex(),
            "model_hash": found.model_hash(model.dtype).hex(),
        }
    return told


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / (1 << 20):.1f} MiB"


class _Progress:
    """One line on a terminal that says how far it is; silent elsewhere."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = 0.0
        self._live = sys.stderr.isatty()

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if not self._live or now - self._shown < 0.2:
            return
        self._shown = now
        share = f"{done / total:4.0%}" if total else ""
        line = f"{share} {_size(done)} of {_size(total)}  {name}"
        sys.stderr.write("\r" + line[: shutil.get_terminal_size().columns - 1].ljust(78))
        sys.stderr.flush()

    def end(self) -> float:
        """Clear the line; returns the seconds since the start."""
        if self._live and self._shown:
            sys.stderr.write("\r" + " " * 78 + "\r")
        return time.monotonic() - self._began
