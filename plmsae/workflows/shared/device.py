"""Whether the device that a request names is there."""

from __future__ import annotations


def check_device(device: str) -> None:
    """Refuse a device that is not there, before the input is read or a run is opened.

    Raises
    ------
    InputError
        If torch does not know it or the machine lacks it.
    """
    if device != "auto":  # which takes what there is, and needs no torch yet
        from plmsae.plm.device import choose_device

        choose_device(device)
