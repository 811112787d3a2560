"""A declarative data-integration hub on columnar Apache Beam."""

__version__ = "0.1.0"
