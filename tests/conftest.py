"""Hypothesis does not shrink what fails, which may take minutes; ``--hypothesis-profile=shrink`` does."""

from hypothesis import Phase, settings

settings.register_profile("shrink")
settings.register_profile("quick", phases=[p for p in Phase if p not in (Phase.shrink, Phase.explain)])
settings.load_profile("quick")
