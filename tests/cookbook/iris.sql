-- The case's own answer.
-- rows: species
SELECT unnest(c.expected, recursive := true)
FROM (SELECT unnest(checks) AS c FROM read_json('{cases}/iris/expected-aggregates.json',
      columns = {checks: 'STRUCT(name VARCHAR, expected STRUCT(species VARCHAR, n BIGINT, sl DOUBLE, pl DOUBLE, pw_sd DOUBLE)[])[]'}))
WHERE c.name = 'by-species'
