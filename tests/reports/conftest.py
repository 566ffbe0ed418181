"""Fixtures of the bundles and the MLflow store."""

from bundle_fixtures import empty_database, make_bundle, store_uri

__all__ = ["empty_database", "make_bundle", "store_uri"]
