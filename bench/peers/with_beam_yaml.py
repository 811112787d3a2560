"""The first benchmark in Beam YAML, with its Python providers."""

from __future__ import annotations

import json
import sys

import apache_beam as beam
from apache_beam.yaml import main as beam_yaml

PIPELINE = """
pipeline:
  type: chain
  transforms:
    - type: ReadFromCsv
      config: {{path: "{source}"}}
    - type: Filter
      config: {{language: python, keep: "status == 'paid' and amount > 10"}}
    - type: MapToFields
      config:
        language: python
        fields:
          order_id: id
          customer_id: customer_id
          total: {{expression: "round(amount * quantity, 2)", output_type: number}}
          country: {{callable: "lambda row: row.country.upper()", output_type: string}}
          placed_at: created_at
    - type: WriteToParquet
      config: {{path: "{target}/part.parquet"}}
"""


def main() -> None:
    """Run the benchmark that the arguments name, or print versions."""
    if sys.argv[1] == "--versions":
        print(json.dumps({"apache-beam": beam.__version__}))
        return
    _, folder, inputs, _, target = sys.argv[1:]
    beam_yaml.run(["--yaml_pipeline", PIPELINE.format(source=f"{folder}/{inputs}", target=target), "--runner", "FnApiRunner"])


if __name__ == "__main__":
    main()
