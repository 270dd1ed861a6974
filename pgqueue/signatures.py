"""The signatures of what users write, whatever their annotations name."""

from __future__ import annotations

import inspect
import sys
from typing import Any

if sys.version_info >= (3, 14):
    from annotationlib import Format

    def signature_of(function: Any) -> inspect.Signature:
        """A function's parameters; an annotation that cannot be read yet stays a reference.

        Raises:
            TypeError: it cannot be called.
            ValueError: it does not say how.
        """
        return inspect.signature(function, annotation_format=Format.FORWARDREF)

else:

    def signature_of(function: Any) -> inspect.Signature:
        """A function's parameters, with its annotations as Python keeps them.

        Raises:
            TypeError: it cannot be called.
            ValueError: it does not say how.
        """
        return inspect.signature(function)
