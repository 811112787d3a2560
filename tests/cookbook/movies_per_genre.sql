-- The case's own answer.
-- rows: genres
SELECT unnest(c.expected, recursive := true)
FROM (SELECT unnest(checks) AS c FROM read_json('{cases}/vega-datasets/expected-aggregates.json',
      columns = {checks: 'STRUCT(name VARCHAR, expected STRUCT(genre VARCHAR, n BIGINT)[])[]'}))
WHERE c.name = 'movies-genre'
