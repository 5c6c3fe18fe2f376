"""The sites at which a mixer is tried."""

from __future__ import annotations

from mixers.interface import Site

# Even and odd, square and not, one position only; channels that many heads and groups divide and
# some that few do; even and odd occurrences, since windows shift over them. What costs time is
# tried at the first ones.
SITES = (
    Site(
        64,
        14,
        14,
        stage=2,
        block=1,
        occurrence=1,
        drop_path=0.1,
        stage_depth=4,
        network_block=5,
        network_depth=9,
    ),
    Site(48, 9, 6, stage=1, stage_depth=2, network_block=3, network_depth=9),
    Site(32, 8, 8, block=1, occurrence=1),
    Site(96, 7, 7, stage=3, block=2, occurrence=2, stage_depth=3, network_block=11),
    Site(20, 5, 11, block=3, occurrence=3),
    Site(16, 1, 1, stage=3),
)

# Maps on which a receptive field shows; the later ones for mixers that need divisible sides.
LARGE_MAPS = ((29, 31), (28, 28), (32, 32), (48, 48))


def describe(site: Site) -> str:
    return f"{site.channels} channels on a map of {site.height}×{site.width}"
