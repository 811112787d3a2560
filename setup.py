"""Packages beam-datahub: its code, its content (connectors, transformations, templates) and what it depends on."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "beam_datahub" / "__init__.py").read_text("utf-8"), re.MULTILINE)
assert VERSION is not None

DEPENDENCIES = [
    "grpcio>=1.60",  # asks whether a job server answers; Beam talks to it by the same
    "apache-beam[gcp,aws]==2.77.*",  # the engine under every run: shuffle, checkpoints, runners, filesystems (gs://, s3://)
    "pyarrow>=23,<26",  # the element of every PCollection is an Arrow record batch; CSV, JSON and Parquet readers
    "numpy>=2.1,<3",  # index arithmetic over Arrow columns: splitting a batch by key or partition
    "datasketches>=5.2,<6",  # the sketches of a profile: distinct values, quantiles and frequent values that merge
    "duckdb==2.0.*",  # the kernel that evaluates expressions, joins and aggregates; one version gives one answer
    "sqlglot>=30,<31",  # traces the columns of whole queries: the `sql` transformation's lineage
    "jsonpath-rfc9535>=1,<2",  # parses JSONPath and evaluates what has no SQL: filters and descendants, exactly as RFC 9535 says
    "pydantic>=2.12,<3",  # the typed model of a spec and of every component's options; its JSON Schema
    "orjson>=3.9.7,<4",  # writes the records of XML documents as JSON lines, which become columns from there
    "ruamel.yaml>=0.18.15,<0.20",  # reads YAML with the line of every key, so that errors can name it
    "jsonschema[format-nongpl]>=4.23,<5",  # the `validation` transformation's JSON Schema drafts, formats included
    "jsonschema-specifications>=2024.10",  # the drafts' own documents, so that a schema may refer to them
    "regex>=2024.4",  # patterns of JSON Schemas, with an end to those that would take for ever
    "referencing>=0.35,<1",  # resolves the `$ref`s of a schema, and never over the network
    "fastavro>=1.12,<2",  # Avro files, block by block
    "proto-schema-parser>=2.1,<3",  # reads the text of Protobuf schemas
    "antlr4-python3-runtime>=4.13,<5",  # what proto-schema-parser reports errors of syntax through
    "protobuf>=6.31,<8",  # checks Protobuf schemas and looks up their names
    "cryptography>=44",  # AES-GCM: sealed secrets and encrypted fields
    "jinja2>=3.1.6,<4",  # the HTML report of a run, with everything in it escaped
    "click>=8.1.8,<9",  # the command line
    "packaging>=24",  # tells for `doctor` which required versions are here
    "rich>=14,<16",  # tables, trees and live progress on the terminal
    "sqlalchemy>=2.0.40,<3",  # reflection, DDL and dialects of SQL databases; the store of runs and versions
    "tenacity>=9,<10",  # attempts at what a short outage of a database breaks, with growing pauses
    "pyrate-limiter>=4,<5",  # how many queries a lookup sends in a second
    "alembic>=1.16,<2",  # brings a store of an earlier version up to date
    "google-cloud-pubsub>=2.28,<3",  # Pub/Sub as a source and a destination
    "google-api-core>=2.20,<3",  # the errors of Pub/Sub's client
    "google-auth>=2.30,<3",  # the errors of its logins
    "botocore>=1.40,<2",  # the errors of boto3
    "boto3>=1.40,<2",  # S3, SQS and the other AWS services
]

REDIS = ["redis[hiredis]>=6,<9"]
NATS = ["nats-py[nkeys]>=2.9,<3"]
RABBITMQ = ["pika>=1.3,<2"]
MQTT = ["paho-mqtt>=2.1,<3"]

EXTRAS = {
    # the `normalise` transformation's forms: phone numbers, countries and currencies, e-mail addresses, units
    "normalise": ["phonenumbers>=9,<10", "pycountry>=24.6", "email-validator>=2.2,<3", "pint>=0.25,<0.27"],
    # the `mask` transformation's format-preserving encryption (FF1), and the check digits that personal data is found by
    "protection": ["libffx>=2,<3", "python-stdnum>=2,<3", "phonenumbers>=9,<10"],
    # the forms that the `validity` rule knows: numbers with check digits, phone numbers, countries, currencies, e-mails, URLs
    "quality": ["python-stdnum>=2,<3", "phonenumbers>=9,<10", "pycountry>=24.6", "email-validator>=2.2,<3", "rfc3986-validator"],
    # Avro blocks compressed with snappy, zstandard and LZ4
    "codecs": ["cramjam>=2.9,<3", "backports.zstd>=1,<2; python_version < '3.14'", "lz4>=4.4,<5"],
    # Excel and OpenDocument workbooks: calamine reads all kinds into Arrow columns, xlsxwriter writes .xlsx row by row
    "excel": ["fastexcel>=0.19,<1", "xlsxwriter>=3.2,<4"],
    # OpenLineage events of runs, to a file or a server
    "openlineage": ["openlineage-python>=1.40,<2"],
    # `python` transformations whose functions take pandas frames
    "pandas": ["pandas>=2.2,<4"],
    # PostgreSQL as a source, a destination, and as a store of runs that several machines share; ADBC reads it as Arrow
    "mysql": ["PyMySQL[rsa]>=1.2,<2", "mysql-replication>=1.0.17,<2"],  # the latter reads binary logs
    "postgresql": [
        "psycopg[binary]>=3.2,<4",
        # The wheels of 1.9 and later take more than twice the time to read, as if built without optimisation.
        "adbc-driver-postgresql>=1.8,<1.9",
        "adbc-driver-manager>=1.8,<2",
        "pgpq>=0.12,<1",  # Arrow in the binary form of COPY
    ],
    # Redis: its keys as a source and a destination, and what lookups share their answers in
    "redis": REDIS,
    # Kafka as a source and a destination (librdkafka), and the client of schema registries
    "kafka": ["confluent-kafka[schemaregistry]>=2.11,<3"],
    # HTTP endpoints as a destination; authlib logs in by OAuth2
    "http": ["httpx2>=2.10,<3", "authlib>=1.9,<2"],
    # SQL Server and Oracle through the connector `sql`: clients that need no libraries of the maker's
    "mssql": ["pymssql>=2.3,<3"],
    "oracle": ["oracledb>=2.3"],
    # MongoDB as a source and a destination: its client, and BSON as Arrow columns where that changes no value
    "mongodb": ["pymongo>=4.9,<5", "pymongoarrow>=1.9,<2"],
    # Redis streams as a source and a destination
    "redis_stream": REDIS,
    # NATS JetStream as a source and a destination; nkeys signs the answers of logins by credentials files
    "nats": NATS,
    # RabbitMQ as a source and a destination
    "rabbitmq": RABBITMQ,
    # MQTT brokers as a source and a destination
    "mqtt": MQTT,
    # all queues
    "queues": [*REDIS, *NATS, *RABBITMQ, *MQTT],
    # what run_tests.sh runs; formatters and checkers are pinned, so that a new release cannot fail an old commit
    "test": [
        "pytest>=9,<10",
        "pytest-xdist>=3.8,<4",  # one worker a core
        "pytest-rerunfailures>=16,<17",  # a second try for what runs beside servers and killed processes, and a count of them
        "hypothesis>=6.140,<7",  # properties over generated specs and data
        "ruff==0.17.5",
        "mypy==2.4.1",
        "import-linter==2.16",  # holds the layers of the package
        "kubernetes-validate>=1.34",  # the manifests in deploy/ against the schemas of Kubernetes
        "types-PyMySQL",
        "moto[server]>=5,<6",  # SQS on loopback
        "types-jsonschema",
        "pymongo<4.18",  # later ones ask for what the server of the tests does not speak
        "setuptools>=77,<82",  # builds the wheel whose content is checked
    ],
}

# Folders of content without Python; git keeps no empty folder.
CONTENT = [name for name in ("io", "transforms", "templates") if (ROOT / name).is_dir()]

setup(
    name="beam-datahub",
    version=VERSION.group(1),
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    description="A declarative data-integration hub on columnar Apache Beam",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["beam_datahub", "beam_datahub.*"]), *(f"beam_datahub_content.{name}" for name in CONTENT)],
    package_dir={f"beam_datahub_content.{name}": name for name in CONTENT},
    package_data={
        "beam_datahub": [
            "py.typed",
            "**/*.html",
            "**/*.json",
            "**/*.yaml",
            "**/*.sql",
            "**/*.pom.xml",
            "store/migrations/**/*.py",
            "store/migrations/*.mako",
        ],
        **{f"beam_datahub_content.{name}": ["**/*"] for name in CONTENT},
    },
    install_requires=DEPENDENCIES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["beam-datahub = beam_datahub.cli:program"]},
    zip_safe=False,
)
