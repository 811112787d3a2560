-- The case's own answer.
-- rows: modes
SELECT * FROM read_csv('{cases}/tpch-sf0.01/answers/q12.psv', delim = '|', header = true)
