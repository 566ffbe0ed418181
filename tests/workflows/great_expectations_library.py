"""Imports Great Expectations as the program does, for processes that are forked."""

from plmsae.quality.gx_internals import import_library

import_library()
