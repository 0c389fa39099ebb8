"""Seeing footage from other places: geometry, rasteriser, filling of holes.

The method is EX-4D's (Hu et al. 2025, "EX-4D: EXtreme Viewpoint 4D Video Synthesis via Depth
Watertight Mesh"): each frame becomes a closed surface, of which the parts that the footage never
showed are drawn as holes. The holes are filled here without a diffusion model.
"""

from __future__ import annotations
