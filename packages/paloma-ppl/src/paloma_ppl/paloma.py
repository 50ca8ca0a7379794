"""What the published Paloma releases hold: names of sources, and which aggregates they belong to.

Sources, numbers of domains and exclusions: Paloma (arXiv 2312.10523; the first version of the paper has
18 sources of 585 domains, the second 16 of 546); the eleven sources of the aggregate: OLMo (arXiv 2402.00838).
"""

from __future__ import annotations

FRINGE = frozenset({"manosphere_meta_sep", "gab", "4chan_meta_sep"})
CODE = frozenset({"dolma_100_programing_languages"})
OLMO = frozenset(
    {
        "c4_en",
        "mc4",
        "wikitext_103",
        "ptb",
        "redpajama",
        "falcon-refinedweb",
        "dolma-v1_5",
        "m2d2_s2orc_unsplit",
        "m2d2_wikipedia_unsplit",
        "c4_100_domains",
        "dolma_100_subreddits",
    }
)
RELEASE = OLMO | FRINGE | CODE | {"twitterAAE_HELM_fixed"}  # 16 sources, 546 domains
EARLIER = RELEASE | {"pile", "ice_fixed"}  # 18 sources, 585 domains


def aggregates_of(sources: frozenset[str]) -> dict[str, frozenset[str]]:
    """Members, among ``sources``, of each published aggregate that can be formed; nothing for a suite of one's own.

    ``olmo`` needs all its eleven sources; ``paloma`` takes the sources that Paloma's ordinary perplexity takes.
    """
    if not sources <= EARLIER:
        return {}
    found = {}
    if sources - FRINGE - CODE:
        found["paloma"] = sources - FRINGE - CODE
    if sources >= OLMO:
        found["olmo"] = OLMO
    return found
