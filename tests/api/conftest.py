"""Fixtures that these tests share with those of related packages."""

from bundle_fixtures import make_bundle

__all__ = ["make_bundle"]
