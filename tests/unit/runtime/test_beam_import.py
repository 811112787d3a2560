"""Beam's cloud clients are loaded where a spec names files in a cloud, and not for the URL of a database."""

from __future__ import annotations

import subprocess
import sys

import pytest

from beam_datahub.runtime.beam_import import needs_cloud
from beam_datahub.spec import SpecDocument, loads


def spec(source: str, path: str) -> SpecDocument:
    text = f"""
    name: copy
    source: {{connector: postgresql, connection: {{url: "{source}"}}, table: orders}}
    destination: {{connector: parquet, connection: {{path: "{path}"}}}}
    """
    return loads(text)


@pytest.mark.parametrize("url", ["postgresql://db/shop", "postgres://db/shop", "mysql+pymysql://db/shop", "rediss://cache:1"])
def test_the_url_of_a_database_needs_no_cloud(url: str) -> None:
    assert not needs_cloud(spec(url, "out"))


@pytest.mark.parametrize("path", ["s3://lake/orders", "gs://lake/orders", "hdfs://lake/orders", "azfs://lake/orders"])
def test_files_in_a_cloud_need_it_also_beside_a_database(path: str) -> None:
    assert needs_cloud(spec("postgresql://db/shop", path))


def test_a_local_run_loads_no_client_of_http_before_something_is_fetched() -> None:
    asks = (
        "import sys; from beam_datahub.runtime.beam_import import import_beam; import_beam(cloud=False); "
        "print('pyparsing' in sys.modules); from apache_beam.internal.http_client import get_new_http; "
        "print(type(get_new_http()).__name__, 'pyparsing' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", asks], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ["False", "Http True"]
