-- The case's own answer.
-- rows: revenue
SELECT * FROM read_csv('{cases}/tpch-sf0.01/answers/q06.psv', delim = '|', header = true)
