-- The case's own answer.
-- rows: nations_rows
SELECT * FROM read_csv('{cases}/tpch-sf0.01/answers/q05.psv', delim = '|', header = true)
