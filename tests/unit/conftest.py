"""How Hypothesis looks for examples."""

from __future__ import annotations

import hypothesis

# A busy machine takes longer than 0.2 s for some example: that is no finding.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
