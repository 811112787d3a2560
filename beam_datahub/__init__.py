"""A declarative data-integration hub on columnar Apache Beam."""

__version__ = "0.1.0"

# Whether the models of options read their documentation out of their own source when they are defined. A run shows none of it
# and starts a quarter of a second sooner without.
documents_options = True
