"""Fixtures that these tests share with those of related packages."""

from bundle_fixtures import empty_database, make_bundle, store_uri

__all__ = ["empty_database", "make_bundle", "store_uri"]
