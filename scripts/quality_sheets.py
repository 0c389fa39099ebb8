"""Makes the contact sheets of docs/quality: python scripts/quality_sheets.py [clips] [depth] [size]

With `index` it writes the list of pages into docs/quality.md, from their first lines. Every video
is made whole, in this process, by the plan that a buyer's job has, at 256x256 and 2 s (10 s would
need minutes here). clips: text→video and image→video; depth: one seed at each quality;
size: sizes other than square, at their own, and a part of 4K at 1:1 where tiles meet.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages.local import run_plan_locally
from reelmesh.scheduler.sizes import tile_counts, tile_cuts
from reelmesh.scheduler.sources import Picture
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.templates import make_plan
from scripts.contact_sheet import Row, save, sheet, spread
from scripts.eval_image_to_video import cases

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "quality"
BEGIN, END = "<!-- pages -->", "<!-- end of pages -->"
SMALL = {"width": 256, "height": 256, "seconds": 2.0, "seed": 7}
FRAMES = 7

PROMPTS = (
    "a large red star spinning over a light blue background",
    "a small yellow ball bouncing on a dark green background",
    "an orange ring moves in a circle, everything behind it is black",
    "a cat walks along a beach at sunset",
)
SHAPES = (
    ("a big yellow star moving right over a blue background", 3840, 2160),
    ("a large red ball moving left over a gray background", 854, 480),
    ("a small green heart moving up over a black background", 1080, 1920),
)
PICTURES = ("circle-left", "star-up", "photo-right")
QUALITIES = ("fixed", "auto", "draft", "high")


def made(folder: Path, fields: dict[str, object], image: Path | None = None) -> Row:
    """Make one video and take its frames; the caption is the prompt."""
    sources = {}
    if image is not None:
        digest = hashlib.sha256(image.read_bytes()).hexdigest()
        source = Picture.model_validate({"sha256": digest, "size": image.stat().st_size})
        fields = {**fields, "kind": "image_to_video", "image": source.model_dump()}
        sources = {source.sha256: image}
    work = Path(tempfile.mkdtemp(dir=folder))
    video = run_plan_locally(make_plan(parse_spec(fields)), work, sources=sources)
    return Row(str(fields["prompt"]), spread(video, FRAMES))


def clips(folder: Path) -> list[Row]:
    """text→video within and beyond the model's world, then image→video."""
    rows = [made(folder, {**SMALL, "prompt": prompt}) for prompt in PROMPTS]
    rows[-1] = Row(f"beyond its world: {rows[-1].caption}", rows[-1].frames)
    for name in PICTURES:
        picture, prompt = cases()[name]
        file = folder / f"{name}.png"
        file.write_bytes(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())
        row = made(folder, {**SMALL, "prompt": prompt}, file)
        rows.append(Row(f"from a picture ({name}): {prompt}", row.frames))
    return rows


def depth(folder: Path) -> list[Row]:
    """The same prompt and seed at every quality."""
    rows = []
    for prompt in PROMPTS[:2]:
        for quality in QUALITIES:
            row = made(folder, {**SMALL, "prompt": prompt, "quality": quality})
            rows.append(Row(f"{quality}: {prompt}", row.frames))
    return rows


def size(folder: Path) -> list[Row]:
    """Wide, tall and 4K; then what lies where four of its tiles meet, pixel by pixel."""
    rows = []
    short = {"seconds": 1.0, "fps": 12, "seed": 7}
    for prompt, width, height in SHAPES:
        row = made(folder, {**short, "prompt": prompt, "width": width, "height": height})
        rows.append(Row(f"{width}x{height}: {prompt}", row.frames))
    meet = tile_cuts(3840, tile_counts(3840, 2160)[0])[1]
    around = [frame[1080 - 240 : 1080 + 240, meet - 240 : meet + 240] for frame in rows[0].frames]
    at = f"x = {meet}, y = 1080 in the middle"
    return [*rows, Row(f"480x480 pixels of the first, at 1:1, where four tiles meet: {at}", around)]


def index() -> None:
    """Put a line for each page between the marks in docs/quality.md."""
    page = FOLDER.with_suffix(".md")
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [
        f"- [{file.read_text().splitlines()[0].removeprefix('# ')}](quality/{file.name})"
        for file in sorted(FOLDER.glob("*.md"))
    ]
    page.write_text("\n".join([before + BEGIN, *lines, END]) + after)


def main() -> None:
    """Entry point."""
    sheets = {"clips": clips, "depth": depth, "size": size}
    for name in sys.argv[1:] or [*sheets, "index"]:
        if name == "index":
            index()
            continue
        with tempfile.TemporaryDirectory() as folder:
            save(sheet(sheets[name](Path(folder))), FOLDER / f"{name}.jpg")
        print(FOLDER / f"{name}.jpg")


if __name__ == "__main__":
    main()
