"""Open a registered model so that the PLM's predictions can be steered through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plmsae.registry.models import resolve_exactly

if TYPE_CHECKING:
    from plmsae.bundle.reading import Bundle
    from plmsae.encode import Encoder


def open_steered_model(model: str, device: str) -> tuple[Bundle, str, Encoder]:
    """Return the bundle, its exact address, and its encoder, the PLM with its head.

    Raises
    ------
    InputError
        If there is no such model, its PLM cannot be opened, or it cannot be steered.
    """
    from plmsae.scoring.encoding import load_encoder
    from plmsae.steering.prompt import check_encoder

    bundle, uri = resolve_exactly(model)
    on: Any = device
    encoder = load_encoder(bundle, device=on, head=True)
    check_encoder(encoder)
    return bundle, uri, encoder
