"""The first benchmark as a Beam pipeline of one dict a row, on the engines of beam-datahub and with its job servers."""

from __future__ import annotations

import sys
import tempfile

from with_beam_rows import build

from beam_datahub.runtime.engines import EngineOptions, Start, engine


def main() -> None:
    """Run the benchmark on the engine, over the orders and to the target that the arguments name."""
    name, orders, target = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, engine(name).started(EngineOptions(), Start(folder, folder)) as pipeline:
        build(pipeline, orders, target)
        pipeline.run().wait_until_finish()


if __name__ == "__main__":
    main()
