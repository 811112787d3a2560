-- rejected: valid validation_failed 11
-- rows: kinds
SELECT Species, Sex, count(*) AS n, avg("Body Mass (g)") AS mean_mass, stddev("Body Mass (g)") AS spread, median("Body Mass (g)") AS median
FROM read_json('{cases}/vega-datasets/data/penguins.json') WHERE Sex IN ('MALE', 'FEMALE') GROUP BY ALL
